#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "runtime/formats/onnx/import_math.h"

// Reductions over axes. What is not one op of ours is a composition of scalar functions and sums.

namespace facet::onnx_import {
namespace {

Value reduce(NodeReader& node, std::string_view op, Value x, const Ints& axes, bool keepdims) {
  if (axes.empty()) return x;
  return node.make(op, {x}, {{"axes", axes}, {"keepdims", keepdims}});
}

bool keeps(const NodeReader& node) { return node.flag("keepdims", true); }

template <const char* const& op>
void plain(NodeReader& node) {
  const Ints axes = reduced_axes(node);
  node.set(reduce(node, op, node.input(0), axes, keeps(node)));
}

constexpr const char* kMax = "reduce_max";
constexpr const char* kMean = "reduce_mean";
constexpr const char* kMin = "reduce_min";
constexpr const char* kProd = "reduce_prod";
constexpr const char* kSum = "reduce_sum";

Value square(NodeReader& node, Value x) {
  return is_float(x.dtype()) ? node.make("square", {x}) : node.make("mul", {x, x});
}

void import_l1(NodeReader& node) {
  const Ints axes = reduced_axes(node);
  node.set(reduce(node, kSum, node.make("abs", {node.input(0)}), axes, keeps(node)));
}

void import_sum_square(NodeReader& node) {
  const Ints axes = reduced_axes(node);
  node.set(reduce(node, kSum, square(node, node.input(0)), axes, keeps(node)));
}

/// The input in a float type: roots and logarithms of whole numbers are taken in f64.
Value as_float(NodeReader& node) {
  const Value x = node.input(0);
  return is_float(x.dtype()) ? x : node.cast(x, DType::f64);
}

void import_l2(NodeReader& node) {
  const Ints axes = reduced_axes(node);
  const Value sum = reduce(node, kSum, square(node, as_float(node)), axes, keeps(node));
  node.set(node.cast(node.make("sqrt", {sum}), node.type(0).dtype));
}

void import_log_sum(NodeReader& node) {
  const Ints axes = reduced_axes(node);
  const Value sum = reduce(node, kSum, as_float(node), axes, keeps(node));
  node.set(node.cast(node.make("log", {sum}), node.type(0).dtype));
}

/// m + ln(sum(e^(x - m))), m the largest element, or 0 where that is infinite.
void import_log_sum_exp(NodeReader& node) {
  const Ints axes = reduced_axes(node);
  const Value x = as_float(node);
  const Value most = reduce(node, kMax, x, axes, true);
  const Value finite = node.make("equal", {node.make("sub", {most, most}), node.scalar(0, x)});
  const Value m = node.make("where", {finite, most, node.scalar(0, x)});
  const Value e = node.make("exp", {node.make("sub", {x, m})});
  Value y = node.make("add", {m, node.make("log", {reduce(node, kSum, e, axes, true)})});
  if (!keeps(node)) {
    Shape shape = y.shape();
    for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) shape.erase(shape.begin() + *axis);
    y = node.reshape(y, shape);
  }
  node.set(node.cast(y, node.type(0).dtype));
}

/// (x - mean) / (standard deviation + 1e-9) over the axes.
void import_mean_variance(NodeReader& node) {
  const Value x = node.input(0);
  const Ints axes = node.ints("axes", {0, 2, 3});
  const Value centred = node.make("sub", {x, reduce(node, kMean, x, axes, true)});
  const Value variance = reduce(node, kMean, square(node, centred), axes, true);
  const Value deviation = node.make("add", {node.make("sqrt", {variance}), node.scalar(1e-9, x)});
  node.set(node.make("div", {centred, deviation}));
}

}  // namespace

Ints reduced_axes(NodeReader& node) {
  const std::int64_t rank = node.rank(0);
  Ints axes = node.integers("axes", 1).value_or(Ints{});
  if (axes.empty() && !node.flag("noop_with_empty_axes", false)) {
    axes.resize(static_cast<std::size_t>(rank));
    std::iota(axes.begin(), axes.end(), std::int64_t{0});
  }
  for (std::int64_t& axis : axes) {
    if (axis < -rank || axis >= rank) {
      node.unsupported(fmt::format("axis {} is outside a value of rank {}", axis, rank));
    }
    axis += axis < 0 ? rank : 0;
  }
  std::sort(axes.begin(), axes.end());
  axes.erase(std::unique(axes.begin(), axes.end()), axes.end());
  return axes;
}

void add_reduction_handlers(HandlerTable& table) {
  table.add("ReduceMax", plain<kMax>);
  table.add("ReduceMean", plain<kMean>);
  table.add("ReduceMin", plain<kMin>);
  table.add("ReduceProd", plain<kProd>);
  table.add("ReduceSum", plain<kSum>);
  table.add("ReduceL1", import_l1);
  table.add("ReduceL2", import_l2);
  table.add("ReduceLogSum", import_log_sum);
  table.add("ReduceLogSumExp", import_log_sum_exp);
  table.add("ReduceSumSquare", import_sum_square);
  table.add("MeanVarianceNormalization", import_mean_variance);
}

}  // namespace facet::onnx_import
