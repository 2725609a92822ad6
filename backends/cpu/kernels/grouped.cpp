#include "backends/cpu/kernels/grouped.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/direct_convolution.h"
#include "backends/cpu/kernels/weights_products.h"
#include "backends/cpu/kernels/winograd.h"
#include "ir/layout.h"
#include "ir/op.h"

namespace facet::cpu {
namespace {

/// The convolution of the first group, and how far the others' values lie behind its own.
struct Group {
  Graph graph;
  Node* node = nullptr;
  std::vector<View> operands, results;
  std::vector<std::int64_t> operand_steps, result_steps;  ///< bytes
};

/// The axis that groups cut: of images the channels, of weights the first one.
std::size_t group_axis(const Node& node, bool is_result, std::size_t i) {
  if (node.is("conv_bwd_weights")) return is_result ? 0 : 1;
  return !is_result && i == 1 ? 0 : 1;
}

View cut(const View& view, std::size_t axis, std::int64_t groups, std::int64_t& step) {
  View part = view;
  Dim& extent = part.type.shape[axis];
  extent = extent.factor / groups;
  step = extent.factor * view.strides[axis] * static_cast<std::int64_t>(size_of(view.type.dtype));
  return part;
}

/// A value of the type, behind a parameter that runs change where weights are trained.
Value source(Graph& graph, const Type& type, std::size_t number, bool is_trained) {
  const std::string name = fmt::format("x{}", number);
  if (!is_trained) {
    return graph.create("input", {}, {{"name", name}, {"type", to_string(type)}})->result();
  }
  const Type kept{DType::f32, type.shape, {}};
  graph.parameters().push_back({name, kept, ParameterRole::weight, {}, true, {}});
  const Value parameter =
      graph.create("parameter", {}, {{"key", name}, {"mutable", true}, {"type", to_string(kept)}})
          ->result();
  if (type.dtype == DType::f32) return parameter;
  const std::string dtype(to_string(type.dtype));
  return graph.create("cast", {parameter}, {{"dtype", dtype}})->result();
}

bool is_convolution(const Node& node) {
  return node.is("conv") || node.is("conv_bwd_data") || node.is("conv_bwd_weights");
}

/// Of a convolution of groups whose views have strides.
Group group_of(const Node& node, std::span<const View> operands, std::span<const View> results) {
  const std::int64_t groups = node.attributes().integer("groups");
  Group group;
  std::vector<Value> values;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    std::int64_t step = 0;
    group.operands.push_back(cut(operands[i], group_axis(node, false, i), groups, step));
    group.operand_steps.push_back(step);
    Type type = group.operands.back().type;
    type.layout = {};
    const bool is_weight = i == 1 && !node.is("conv_bwd_weights");
    values.push_back(source(group.graph, type, i, is_weight && reads_trained_weights(node)));
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    std::int64_t step = 0;
    group.results.push_back(cut(results[i], group_axis(node, true, i), groups, step));
    group.result_steps.push_back(step);
  }
  Attributes attributes = node.attributes();
  attributes.set("groups", std::int64_t{1});
  group.node =
      group.graph.create(node.op(), std::move(values), std::move(attributes), node.provenance());
  return group;
}

std::unique_ptr<Kernel> lower_group(const Group& group) {
  const Node& node = *group.node;
  if (node.is("conv")) return lower_direct(node, group.operands, group.results);
  if (node.is("conv_bwd_data")) {
    return lower_winograd_gradient(node, group.operands, group.results[0]);
  }
  return lower_weights_products(node, group.operands, group.results[0]);
}

/// One kernel, run for each group.
class GroupedKernel : public Kernel {
 public:
  GroupedKernel(std::unique_ptr<Kernel> kernel, std::int64_t groups, const Group& group)
      : kernel_(std::move(kernel)),
        groups_(groups),
        operand_steps_(group.operand_steps),
        result_steps_(group.result_steps) {}

  std::string implementation() const override { return "grouped+" + kernel_->implementation(); }
  std::size_t scratch_bytes() const override { return kernel_->scratch_bytes(); }
  std::function<void()> bind(DeviceQueue& queue, std::span<std::byte* const> operands,
                             std::span<std::byte* const> results,
                             std::byte* scratch) const override {
    std::vector<std::function<void()>> calls;
    for (std::int64_t group = 0; group < groups_; ++group) {
      const auto moved = [&](std::span<std::byte* const> from,
                             const std::vector<std::int64_t>& steps) {
        std::vector<std::byte*> to(from.begin(), from.end());
        for (std::size_t i = 0; i < to.size(); ++i) to[i] += group * steps[i];
        return to;
      };
      calls.push_back(kernel_->bind(queue, moved(operands, operand_steps_),
                                    moved(results, result_steps_), scratch));
    }
    return [calls = std::move(calls)] {
      for (const auto& call : calls) call();
    };
  }

 private:
  std::unique_ptr<Kernel> kernel_;
  std::int64_t groups_;
  std::vector<std::int64_t> operand_steps_, result_steps_;
};

}  // namespace

bool takes_grouped(const Node& node) {
  if (!is_convolution(node) || node.attributes().integer("groups") == 1) return false;
  const bool is_conv = node.is("conv");
  if (node.operand_count() != 2 || node.result_count() != 1) return false;
  if (is_conv &&
      (!reads_trained_weights(node) || node.result_types()[0].dtype != node.operand(0).dtype())) {
    return false;
  }
  std::vector<View> operands, results;
  for (const Value& operand : node.operands()) {
    if (!is_static(operand.type().shape)) return false;
    operands.push_back(dense_view({operand.dtype(), operand.shape(), {}}));
  }
  const Type& result = node.result_types()[0];
  if (!is_static(result.shape)) return false;
  results.push_back(dense_view({result.dtype, result.shape, {}}));
  const Group group = group_of(node, operands, results);
  if (is_conv) return takes_direct(*group.node) && suits_winograd_training(*group.node);
  return node.is("conv_bwd_data") ? suits_winograd_gradient(*group.node)
                                  : suits_winograd_weights(*group.node);
}

LayoutChoice grouped_layouts(const Node& node) {
  if (node.is("conv_bwd_weights")) return {{"acdb", "acdb"}, {""}};
  return {{"acdb", ""}, {"acdb"}};
}

std::unique_ptr<Kernel> lower_grouped(const Node& node, std::span<const View> operands,
                                      std::span<const View> results) {
  if (!takes_grouped(node)) return nullptr;
  for (const std::span<const View> views : {operands, results}) {
    for (const View& view : views) {
      if (view.strides.size() != view.type.shape.size()) return nullptr;  // blocked
    }
  }
  const Group group = group_of(node, operands, results);
  std::unique_ptr<Kernel> kernel = lower_group(group);
  if (kernel == nullptr) return nullptr;
  return std::make_unique<GroupedKernel>(std::move(kernel), node.attributes().integer("groups"),
                                         group);
}

}  // namespace facet::cpu
