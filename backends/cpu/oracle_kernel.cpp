#include "backends/cpu/oracle_kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "backends/reference/evaluators.h"
#include "ir/epilogue.h"
#include "ir/error.h"
#include "ir/op.h"

namespace facet::cpu {
namespace {

/// Calls copy(row-major byte offset, byte offset in the view) for every element.
template <class Copy>
void for_each_element(const View& view, const Copy& copy) {
  const std::vector<std::int64_t> extents = static_extents(view.type.shape);
  const std::int64_t size = size_of(view.type.dtype);
  const std::int64_t count = element_count(view.type.shape).factor;
  std::vector<std::int64_t> at(extents.size(), 0);
  std::int64_t offset = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    copy(i * size, offset * size);
    for (std::size_t axis = extents.size(); axis-- > 0;) {
      offset += view.strides[axis];
      if (++at[axis] < extents[axis]) break;
      offset -= at[axis] * view.strides[axis];
      at[axis] = 0;
    }
  }
}

bool is_row_major(const View& view) {
  const Type plain{view.type.dtype, view.type.shape, {}};
  return same_strides(static_extents(plain.shape), view.strides, dense_strides(plain));
}

HostTensor read(const View& view, const std::byte* bytes) {
  HostTensor tensor(view.type.dtype, static_extents(view.type.shape));
  const auto size = static_cast<std::size_t>(size_of(view.type.dtype));
  if (is_row_major(view)) {
    std::memcpy(tensor.mutable_data(), bytes, static_cast<std::size_t>(tensor.byte_count()));
  } else {
    for_each_element(view, [&](std::int64_t dense, std::int64_t strided) {
      std::memcpy(tensor.mutable_data() + dense, bytes + strided, size);
    });
  }
  return tensor.cast(DType::f64);
}

void write(const HostTensor& value, const View& view, std::byte* bytes) {
  const HostTensor tensor = value.cast(view.type.dtype);
  const auto size = static_cast<std::size_t>(size_of(view.type.dtype));
  if (is_row_major(view)) {
    std::memcpy(bytes, tensor.data(), static_cast<std::size_t>(tensor.byte_count()));
  } else {
    for_each_element(view, [&](std::int64_t dense, std::int64_t strided) {
      std::memcpy(bytes + strided, tensor.data() + dense, size);
    });
  }
}

/// A node in a graph of its own, so that the kernel outlives the graph it was lowered from.
class OracleKernel final : public Kernel {
 public:
  OracleKernel(const Node& node, std::span<const View> operands, std::span<const View> results)
      : operands_(operands.begin(), operands.end()), results_(results.begin(), results.end()) {
    std::vector<Value> values;
    for (const View& view : operands_) {
      const Type type{view.type.dtype, view.type.shape, {}};
      values.push_back(
          graph_
              .create("input", {},
                      {{"name", fmt::format("x{}", values.size())}, {"type", to_string(type)}})
              ->result());
    }
    node_ = graph_.create(node.op(), std::move(values), node.attributes(), node.provenance());
    evaluator_ = reference::evaluators().at(node.kind());
  }

  std::string implementation() const override { return "oracle"; }

  std::function<void()> bind(DeviceQueue&, std::span<std::byte* const> operands,
                             std::span<std::byte* const> results, std::byte*) const override {
    return
        [this, reads = std::vector<std::byte*>(operands.begin(), operands.end()),
         writes = std::vector<std::byte*>(results.begin(), results.end())] { run(reads, writes); };
  }

 private:
  void run(const std::vector<std::byte*>& reads, const std::vector<std::byte*>& writes) const {
    static const TensorMap kNone;
    reference::Call call{*node_, {}, {}, kNone, kNone};
    for (std::size_t i = 0; i < reads.size(); ++i) {
      call.operands.push_back(read(operands_[i], reads[i]));
    }
    for (const View& view : results_) call.result_shapes.push_back(static_extents(view.type.shape));
    const std::vector<HostTensor> values = evaluator_(call);
    for (std::size_t i = 0; i < writes.size(); ++i) write(values[i], results_[i], writes[i]);
  }

  std::vector<View> operands_, results_;
  Graph graph_;
  const Node* node_ = nullptr;
  reference::Evaluator evaluator_ = nullptr;
};

/// No decomposition, or one that would change nothing.
bool is_plain_op(const Node& node) {
  if (node.op().decomposition.function() == nullptr) return true;
  return node.attributes().has("epilogue") && epilogue_of(node).empty();
}

}  // namespace

bool takes_oracle(const Node& node) {
  const auto is_plain = [](const Type& type) { return !is_blocked(type.layout); };
  const auto operands = node.operands();
  const auto results = node.result_types();
  return is_plain_op(node) && reference::evaluators().contains(node.kind()) &&
         std::all_of(operands.begin(), operands.end(),
                     [&](const Value& value) { return is_plain(value.type()); }) &&
         std::all_of(results.begin(), results.end(), is_plain);
}

std::unique_ptr<Kernel> lower_oracle(const Node& node, std::span<const View> operands,
                                     std::span<const View> results) {
  const auto check = [&](const View& view) {
    if (!is_blocked(view.type.layout)) return;
    throw failure(fmt::format(
        "{} '{}' ({}) has no kernel for its types and cannot read {} in blocks", node.kind(),
        node.provenance().scope, node.provenance().location, to_string(view.type)));
  };
  std::for_each(operands.begin(), operands.end(), check);
  std::for_each(results.begin(), results.end(), check);
  return std::make_unique<OracleKernel>(node, operands, results);
}

}  // namespace facet::cpu
