#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <vector>

#include "backends/backend.h"
#include "ir/graph.h"
#include "ir/host_tensor.h"
#include "ir/op.h"
#include "passes/pass.h"

/// Runs graphs on a backend node by node, without any of the passes: what the CPU tests compare
/// with the oracle.
namespace facet::testing {

/// Bytes, 64-byte aligned, behind which nothing may be written: `intact` checks a guard.
class Bytes {
 public:
  explicit Bytes(std::size_t count)
      : count_(count), data_(static_cast<std::byte*>(::operator new(count + kGuard, kAlignment))) {
    std::memset(data_, 0, count);
    std::memset(data_ + count, 0x5A, kGuard);
  }
  ~Bytes() { ::operator delete(data_, kAlignment); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  std::byte* data() { return data_; }
  bool intact() const {
    for (std::size_t i = 0; i < kGuard; ++i) {
      if (data_[count_ + i] != std::byte{0x5A}) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kGuard = 64;
  static constexpr std::align_val_t kAlignment{64};
  std::size_t count_;
  std::byte* data_;
};

/// A value in memory without blocks. Gaps of a strided view hold a pattern that `read` ignores.
struct Memory {
  View view;
  std::shared_ptr<Bytes> bytes;

  std::byte* data() const { return bytes->data(); }
};

inline std::size_t span_bytes(const View& view) {
  if (is_blocked(view.type.layout)) return static_cast<std::size_t>(byte_size(view.type));
  const auto extents = static_extents(view.type.shape);
  std::int64_t last = 0;
  for (std::size_t i = 0; i < extents.size(); ++i) last += (extents[i] - 1) * view.strides[i];
  return static_cast<std::size_t>((last + 1) * size_of(view.type.dtype));
}

inline Memory allocate(const View& view) {
  return {view, std::make_shared<Bytes>(span_bytes(view))};
}

/// Calls f(row-major index, element offset) for every element of a view.
template <class Function>
void for_each_element(const View& view, const Function& f) {
  const auto extents = static_extents(view.type.shape);
  const std::int64_t count = element_count(extents);
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t rest = i;
    std::int64_t offset = 0;
    for (std::size_t axis = extents.size(); axis-- > 0;) {
      offset += rest % extents[axis] * view.strides[axis];
      rest /= extents[axis];
    }
    f(i, offset);
  }
}

inline Memory store(const HostTensor& tensor, const View& view) {
  Memory memory = allocate(view);
  const HostTensor values = tensor.cast(view.type.dtype);
  const auto size = static_cast<std::size_t>(size_of(view.type.dtype));
  for_each_element(view, [&](std::int64_t i, std::int64_t offset) {
    std::memcpy(memory.data() + static_cast<std::size_t>(offset) * size,
                values.data() + static_cast<std::size_t>(i) * size, size);
  });
  return memory;
}

inline HostTensor load(const Memory& memory) {
  const Type& type = memory.view.type;
  HostTensor result(type.dtype, static_extents(type.shape));
  const auto size = static_cast<std::size_t>(size_of(type.dtype));
  for_each_element(memory.view, [&](std::int64_t i, std::int64_t offset) {
    std::memcpy(result.mutable_data() + static_cast<std::size_t>(i) * size,
                memory.data() + static_cast<std::size_t>(offset) * size, size);
  });
  return result;
}

/// Lowers `node` for these views and runs it once. Throws std::runtime_error if it wrote behind its
/// scratch or its result.
inline std::string run_kernel(const Backend& backend, const Node& node,
                              std::span<const Memory> operands, std::span<const Memory> results) {
  std::vector<View> views;
  std::vector<std::byte*> addresses;
  for (const Memory& operand : operands) {
    views.push_back(operand.view);
    addresses.push_back(operand.data());
  }
  std::vector<View> result_views;
  std::vector<std::byte*> result_addresses;
  for (const Memory& result : results) {
    result_views.push_back(result.view);
    result_addresses.push_back(result.data());
  }
  const std::unique_ptr<Kernel> kernel = backend.lower(node, views, result_views);
  Bytes scratch(kernel->scratch_bytes());
  kernel->bind(*host_queue(), addresses, result_addresses, scratch.data())();
  if (!scratch.intact()) throw std::runtime_error("the kernel wrote behind its scratch");
  for (const Memory& result : results) {
    if (!result.bytes->intact()) throw std::runtime_error("the kernel wrote behind its result");
  }
  return kernel->implementation();
}

inline std::string run_kernel(const Backend& backend, const Node& node,
                              std::span<const Memory> operands, const Memory& result) {
  return run_kernel(backend, node, operands, std::span(&result, 1));
}

inline Type with_layout(Type type, Layout layout) {
  type.layout = std::move(layout);
  return type;
}

/// The value in another layout, by the backend's own `reorder`.
inline Memory reordered(const Backend& backend, const Memory& memory, const Layout& layout) {
  if (memory.view.type.layout == layout) return memory;
  Graph graph;
  Node* input = graph.create("input", {},
                             {{"name", std::string("x")}, {"type", to_string(memory.view.type)}});
  Node* node = graph.create("reorder", {input->result()}, {{"layout", layout}});
  const Memory result = allocate(dense_view(with_layout(memory.view.type, layout)));
  run_kernel(backend, *node, std::span(&memory, 1), result);
  return result;
}

enum class Layouts {
  row_major,      ///< everything row-major, whatever the backend would like
  chosen,         ///< compute nodes get what they choose, others row-major
  channels_last,  ///< the same, and images lie in NHWC where the op can take it
};

struct NodeRun {
  std::map<std::string, HostTensor> outputs;
  std::vector<std::string> implementations;
};

inline Layout preferred_layout(const Node& node, const Type& type, Layouts layouts) {
  const LayoutRole role = node.op().layout;
  const bool follows = role == LayoutRole::follow || role == LayoutRole::axis_aware;
  return layouts == Layouts::channels_last && follows && type.rank() == 4 ? "acdb" : "";
}

/// Runs the graph's nodes in order; between nodes values are row-major. A node the backend does not
/// support is decomposed or widened first; Error(failure) names one that is still not supported.
inline NodeRun run_graph(const Backend& backend, Graph& graph, const TensorMap& inputs,
                         Layouts layouts) {
  PassContext context;
  context.target = &backend;
  decompose_unsupported(graph, context);
  std::map<Value, Memory> values;
  NodeRun run;
  for (Node* node : graph.node_list()) {
    const Value result = node->result();
    const View dense = dense_view(with_layout(result.type(), ""));
    if (node->is("input") || node->is("constant")) {
      const HostTensor& tensor = node->is("input") ? inputs.at(node->attributes().text("name"))
                                                   : node->attributes().tensor("value");
      values[result] = store(tensor, dense);
      continue;
    }
    LayoutChoice choice;
    // Branches run in the layouts of their one kernel or not at all.
    const bool chooses = layouts != Layouts::row_major || node->is("conv_branches");
    if (node->op().layout == LayoutRole::compute && chooses) {
      choice = backend.choose_layouts(*node);
    } else {
      for (const Value& operand : node->operands()) {
        choice.operands.push_back(preferred_layout(*node, operand.type(), layouts));
      }
      for (const Type& type : node->result_types()) {
        choice.results.push_back(preferred_layout(*node, type, layouts));
      }
      if (node->is("reorder")) choice = {{""}, {result.type().layout}};
    }
    std::vector<Memory> operands;
    for (int i = 0; i < node->operand_count(); ++i) {
      operands.push_back(reordered(backend, values.at(node->operand(i)),
                                   choice.operands[static_cast<std::size_t>(i)]));
    }
    std::vector<Memory> made;
    for (int i = 0; i < node->result_count(); ++i) {
      made.push_back(allocate(dense_view(
          with_layout(node->result(i).type(), choice.results[static_cast<std::size_t>(i)]))));
    }
    run.implementations.push_back(run_kernel(backend, *node, operands, made));
    for (int i = 0; i < node->result_count(); ++i) {
      values[node->result(i)] = reordered(backend, made[static_cast<std::size_t>(i)], "");
    }
  }
  for (const Output& output : graph.outputs()) {
    run.outputs[output.name] = load(values.at(output.value));
  }
  return run;
}

/// ||a - b|| / ||b|| over all elements; infinite when shapes differ or a value is NaN in one only.
inline double relative_l2(const HostTensor& a, const HostTensor& b) {
  constexpr double kWrong = std::numeric_limits<double>::infinity();
  if (a.shape() != b.shape()) return kWrong;
  double difference = 0;
  double norm = 0;
  for (std::int64_t i = 0; i < b.element_count(); ++i) {
    const double x = a.at(i);
    const double y = b.at(i);
    if (x == y || (std::isnan(x) && std::isnan(y))) {
      norm += std::isfinite(y) ? y * y : 0;
      continue;
    }
    difference += (x - y) * (x - y);
    norm += y * y;
  }
  if (std::isnan(difference)) return kWrong;
  return difference == 0 ? 0 : std::sqrt(difference / (norm > 0 ? norm : 1));
}

}  // namespace facet::testing
