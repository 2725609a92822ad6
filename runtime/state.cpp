#include "runtime/state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "ir/error.h"

namespace facet {

State::State(const Graph& graph, const TensorMap& tensors, bool float64)
    : queue_(host_queue()) {
  adopt(graph, tensors, float64, /*copies=*/true);
}

State::State(const Graph& graph, TensorMap&& tensors, std::shared_ptr<DeviceQueue> queue)
    : queue_(std::move(queue)) {
  adopt(graph, tensors, /*float64=*/false, /*copies=*/false);
  tensors.clear();
}

void State::adopt(const Graph& graph, const TensorMap& tensors, bool float64, bool copies) {
  std::string problems;
  for (const Output& update : graph.updates()) {
    const Parameter* parameter = graph.find_parameter(update.name);
    const std::vector<std::int64_t> wanted = static_extents(parameter->type.shape);
    const auto it = tensors.find(update.name);
    if (it == tensors.end()) {
      problems += fmt::format("\n  missing: {} [{}]", update.name, fmt::join(wanted, ", "));
    } else if (it->second.shape() != wanted) {
      problems += fmt::format("\n  {} is [{}], expected [{}]", update.name,
                              fmt::join(it->second.shape(), ", "), fmt::join(wanted, ", "));
    }
  }
  if (!problems.empty()) {
    throw usage_error(
        fmt::format("the state does not fit network '{}':{}", graph.name(), problems));
  }
  for (const Output& update : graph.updates()) {
    const DType declared = graph.find_parameter(update.name)->type.dtype;
    const HostTensor given = tensors.at(update.name).cast(float64 ? DType::f64 : declared);
    const auto tensor = std::make_shared<HostTensor>(copies ? given.clone() : given);
    const std::shared_ptr<const std::byte> bytes(tensor, tensor->data());
    tensors_[update.name] = {tensor->dtype(), tensor->shape(), tensor->byte_count(),
                             std::const_pointer_cast<std::byte>(
                                 queue_->place(bytes, tensor->byte_count(), "state"))};
  }
}

const State::Tensor& State::find(const std::string& key) const {
  const auto it = tensors_.find(key);
  if (it == tensors_.end())
    throw failure(fmt::format("the program updates '{}', which the state lacks", key));
  return it->second;
}

std::vector<std::string> State::keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, tensor] : tensors_) keys.push_back(key);
  return keys;
}

std::int64_t State::byte_count() const {
  std::int64_t bytes = 0;
  for (const auto& [key, tensor] : tensors_) bytes += tensor.byte_count;
  return bytes;
}

HostTensor State::tensor(const std::string& key) const {
  const Tensor& found = find(key);
  const std::shared_ptr<const std::byte> bytes = queue_->fetch(found.bytes, found.byte_count);
  return {found.dtype, found.shape, bytes.get(), bytes};
}

TensorMap State::tensors() const {
  TensorMap all;
  for (const auto& [key, tensor] : tensors_) all.emplace(key, this->tensor(key));
  return all;
}

TensorMap State::snapshot() const {
  TensorMap copy;
  for (const auto& [key, from] : tensors_) {
    HostTensor tensor(from.dtype, from.shape);
    queue_->read(tensor.mutable_data(), from.bytes.get(), from.byte_count);
    copy.emplace(key, std::move(tensor));
  }
  return copy;
}

void State::assign(const TensorMap& tensors) {
  for (const auto& [key, tensor] : tensors) {
    const auto it = tensors_.find(key);
    if (it == tensors_.end()) throw usage_error(fmt::format("there is no state '{}'", key));
    if (it->second.shape == tensor.shape()) continue;
    throw usage_error(fmt::format("state '{}' is [{}], not [{}]", key,
                                  fmt::join(it->second.shape, ", "),
                                  fmt::join(tensor.shape(), ", ")));
  }
  for (const auto& [key, tensor] : tensors) {
    const Tensor& to = tensors_.at(key);
    queue_->write(to.bytes.get(), tensor.cast(to.dtype).data(), to.byte_count);
  }
  queue_->wait();
}

void State::clear(const std::string& key) {
  const Tensor& found = find(key);
  const std::shared_ptr<std::byte> zeros = allocate_host_bytes(found.byte_count);
  queue_->write(found.bytes.get(), zeros.get(), found.byte_count);
  queue_->wait();
}

std::byte* State::bytes(const std::string& key) const { return find(key).bytes.get(); }

}  // namespace facet
