#include "runtime/prepared_weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>
#include <utility>

#include "ir/error.h"
#include "ir/hash.h"
#include "ir/op.h"

namespace facet {
namespace {

/// Hash of the expression that makes each value: ops, attributes, types and parameter keys, so that
/// equal expressions of different programs share one evaluation.
std::map<Value, std::uint64_t> expression_hashes(std::span<Node* const> prepared) {
  std::map<Value, std::uint64_t> hashes;
  for (Node* node : prepared) {
    Hasher hasher;
    hasher.text(node->kind());
    for (const Value& value : node->operands()) hasher.number(hashes.at(value));
    for (const auto& [name, value] : node->attributes()) {
      hasher.text(name);
      const auto* tensor = std::get_if<HostTensor>(&value);
      tensor != nullptr ? hasher.number(hash(*tensor)) : hasher.text(to_string(value));
    }
    for (int i = 0; i < node->result_count(); ++i) {
      Hasher result = hasher;
      result.number(static_cast<std::uint64_t>(i));
      result.text(to_string(node->result_types()[static_cast<std::size_t>(i)]));
      hashes.emplace(node->result(i), result.value());
    }
  }
  return hashes;
}

/// Prepared nodes that the unknown roots need, in order.
std::vector<Node*> needed_nodes(std::span<Node* const> prepared, std::span<const Value> roots,
                                const std::map<Value, std::uint64_t>& hashes,
                                const std::map<std::uint64_t, PreparedValue>& known) {
  std::set<const Node*> wanted;
  for (const Value& root : roots) {
    if (!known.contains(hashes.at(root))) wanted.insert(root.node);
  }
  std::vector<Node*> reversed;
  for (auto it = prepared.rbegin(); it != prepared.rend(); ++it) {
    if (!wanted.contains(*it)) continue;
    reversed.push_back(*it);
    for (const Value& value : (*it)->operands()) wanted.insert(value.node);
  }
  return {reversed.rbegin(), reversed.rend()};
}

PreparedValue evaluate_node(const Node& node, const std::map<Value, PreparedValue>& values,
                            const Backend& host) {
  std::vector<View> operands;
  std::vector<std::byte*> addresses;
  for (const Value& value : node.operands()) {
    operands.push_back(dense_view(value.type()));
    // Kernels take mutable addresses for results and operands alike; they only read operands.
    addresses.push_back(const_cast<std::byte*>(values.at(value).bytes.get()));
  }
  const Type& type = node.result_types()[0];
  const std::vector<View> results{dense_view(type)};
  const std::unique_ptr<Kernel> kernel = host.lower(node, operands, results);
  PreparedValue made{nullptr, byte_size(type)};
  const std::shared_ptr<std::byte> bytes = allocate_host_bytes(made.size);
  const auto scratch = allocate_host_bytes(static_cast<std::int64_t>(kernel->scratch_bytes()));
  std::byte* const result = bytes.get();
  kernel->bind(*host_queue(), addresses, std::span(&result, 1), scratch.get())();
  made.bytes = bytes;
  return made;
}

PreparedValue from_tensor(const HostTensor& tensor) {
  auto holder = std::make_shared<const HostTensor>(tensor);
  return {std::shared_ptr<const std::byte>(holder, holder->data()), tensor.byte_count()};
}

}  // namespace

WeightStore::WeightStore(const Graph& graph, TensorMap weights, std::shared_ptr<DeviceQueue> queue)
    : weights_(std::move(weights)), queue_(std::move(queue)) {
  std::string problems;
  for (const auto& node : graph.nodes()) {
    if (!node->is("parameter")) continue;
    const std::string& key = node->attributes().text("key");
    const std::vector<std::int64_t> wanted = static_extents(node->result_types()[0].shape);
    const auto it = weights_.find(key);
    if (it == weights_.end()) {
      problems += fmt::format("\n  missing: {} [{}]", key, fmt::join(wanted, ", "));
    } else if (it->second.shape() != wanted) {
      problems += fmt::format("\n  {} is [{}], expected [{}]", key,
                              fmt::join(it->second.shape(), ", "), fmt::join(wanted, ", "));
    }
  }
  if (!problems.empty()) {
    throw usage_error(
        fmt::format("the weights do not fit network '{}':{}", graph.name(), problems));
  }
  for (const Output& update : graph.updates()) weights_.erase(update.name);  // the State has them
}

PreparedValue WeightStore::parameter(const Node& node) const {
  const HostTensor& tensor = weights_.at(node.attributes().text("key"));
  return from_tensor(tensor.cast(node.result_types()[0].dtype));
}

std::vector<PreparedValue> WeightStore::prepare(std::span<Node* const> prepared,
                                                std::span<const Value> roots,
                                                const Backend& host) {
  const std::lock_guard lock(mutex_);
  const std::map<Value, std::uint64_t> hashes = expression_hashes(prepared);
  const std::vector<Node*> nodes = needed_nodes(prepared, roots, hashes, known_);
  const std::set<Value> root_set(roots.begin(), roots.end());
  std::map<Value, int> readers;  // how many of `nodes` still read a value
  for (const Node* node : nodes) {
    for (const Value& value : node->operands()) ++readers[value];
  }
  std::map<Value, PreparedValue> values;
  for (Node* node : nodes) {
    const Value result = node->result();
    const auto it = known_.find(hashes.at(result));
    if (it != known_.end()) {
      values[result] = {queue_->fetch(it->second.bytes, it->second.size), it->second.size};
    } else if (node->is("parameter")) {
      values[result] = parameter(*node);
    } else if (node->is("constant")) {
      values[result] = from_tensor(node->attributes().tensor("value"));
    } else if (node->is("reshape")) {
      values[result] = values.at(node->operand(0));  // row-major bytes are the same
    } else {
      values[result] = evaluate_node(*node, values, host);
    }
    if (root_set.contains(result) && it == known_.end()) {
      const PreparedValue& made = values[result];
      known_[hashes.at(result)] = {queue_->place(made.bytes, made.size, "weights"), made.size};
    }
    for (const Value& value : node->operands()) {
      if (--readers[value] == 0 && !root_set.contains(value)) values.erase(value);
    }
  }
  std::vector<PreparedValue> found;
  for (const Value& root : roots) found.push_back(known_.at(hashes.at(root)));
  return found;
}

}  // namespace facet
