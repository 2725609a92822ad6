#include <fmt/format.h>

#include <numeric>

#include "runtime/formats/onnx/node_reader.h"
#include "runtime/formats/onnx/windows.h"

// Elementwise arithmetic, pooling over whole windows, softmax and layer normalisation of floats.

namespace facet::onnx_import {
namespace {

std::string_view op_of(const std::string& onnx) {
  static const std::map<std::string_view, std::string_view> names = {
      {"Relu", "relu"}, {"Sigmoid", "sigmoid"},
      {"Tanh", "tanh"}, {"Exp", "exp"},
      {"Log", "log"},   {"Sqrt", "sqrt"},
      {"Neg", "neg"},   {"Abs", "abs"},
      {"Erf", "erf"},   {"Reciprocal", "reciprocal"},
      {"Add", "add"},   {"Sub", "sub"},
      {"Mul", "mul"},   {"Div", "div"}};
  return names.at(onnx);
}

void import_unary(NodeReader& node) { node.set(node.make(op_of(node.op()), {node.input(0)})); }

void import_binary(NodeReader& node) {
  node.set(node.make(op_of(node.op()), {node.input(0), node.input(1)}));
}

/// The usual exponents have ops of their own, which are cheaper.
void import_pow(NodeReader& node) {
  const Value x = node.input(0);
  const std::optional<HostTensor> exponent = node.known(1);
  if (is_float(x.dtype()) && exponent && exponent->element_count() == 1 &&
      exponent->rank() <= x.type().rank()) {
    if (exponent->at(0) == 2) return node.set(node.make("square", {x}));
    if (exponent->at(0) == 0.5) return node.set(node.make("sqrt", {x}));
    if (exponent->at(0) == 1) return node.pass_through(0, 0);
  }
  node.set(node.make("pow", {x, node.cast(node.input(1), x.dtype())}));
}

/// A bound that is a number, an attribute in old opsets; nothing if it is not given.
std::optional<double> bound(NodeReader& node, std::string_view attribute, int i) {
  if (node.has(attribute)) return node.number(attribute, 0);
  if (const std::optional<HostTensor> known = node.known(i)) return known->at(0);
  return std::nullopt;
}

void import_clip(NodeReader& node) {
  Value x = node.input(0);
  const std::optional<double> lo = bound(node, "min", 1);
  const std::optional<double> hi = bound(node, "max", 2);
  const bool both = lo && hi && *lo <= *hi;
  if (both && is_float(x.dtype()))
    return node.set(node.make("clamp", {x}, {{"min", *lo}, {"max", *hi}}));
  if (lo || node.has_input(1)) {
    x = node.make("maximum", {x, lo ? node.scalar(*lo, x) : node.input(1)});
  }
  if (hi || node.has_input(2)) {
    x = node.make("minimum", {x, hi ? node.scalar(*hi, x) : node.input(2)});
  }
  if (x == node.input(0)) return node.pass_through(0, 0);
  node.set(x);
}

/// All axes behind the channels.
Ints spatial_axes(const NodeReader& node) {
  if (node.rank(0) < 3)
    node.unsupported("its input must be [N, C, ...], not " + to_string(node.type(0)));
  Ints axes(static_cast<std::size_t>(node.rank(0) - 2));
  std::iota(axes.begin(), axes.end(), std::int64_t{2});
  return axes;
}

void import_global_pool(NodeReader& node) {
  const char* const op = node.op() == "GlobalMaxPool" ? "reduce_max" : "reduce_mean";
  node.set(node.make(op, {node.input(0)}, {{"axes", spatial_axes(node)}}));
}

/// Up to opset 12 the softmax is over all axes from `axis` on together.
void import_softmax(NodeReader& node) {
  const Value x = node.input(0);
  const std::int64_t rank = x.type().rank();
  if (node.opset() >= 13) {
    return node.set(node.make("softmax", {x}, {{"axis", node.axis("axis", -1, rank)}}));
  }
  const std::int64_t axis = node.axis("axis", 1, rank);
  if (axis == rank - 1) return node.set(node.make("softmax", {x}, {{"axis", axis}}));
  Shape flat(x.shape().begin(), x.shape().begin() + axis);
  flat.push_back(element_count(Shape(x.shape().begin() + axis, x.shape().end())));
  const Value y = node.make("softmax", {node.reshape(x, flat)}, {{"axis", axis}});
  node.set(node.reshape(y, x.shape()));
}

/// (x - mean) / sqrt(variance + epsilon) * scale + bias over the axes from `axis` on, in f32 at
/// least.
void import_layer_normalization(NodeReader& node) {
  const Value given = node.input(0);
  const std::int64_t rank = given.type().rank();
  const bool wide = given.dtype() == DType::f64 || given.dtype() == DType::f32;
  const Value x = wide ? given : node.cast(given, DType::f32);
  Ints axes;
  for (std::int64_t i = node.axis("axis", -1, rank); i < rank; ++i) axes.push_back(i);
  const auto mean_of = [&](Value v) { return node.make("reduce_mean", {v}, {{"axes", axes}}); };
  const Value mean = mean_of(x);
  const Value centred = node.make("sub", {x, mean});
  const Value variance = mean_of(node.make("square", {centred}));
  const Value deviation = node.make(
      "rsqrt", {node.make("add", {variance, node.scalar(node.number("epsilon", 1e-5), x)})});
  Value y = node.make("mul", {centred, deviation});
  y = node.make("mul", {node.cast(y, given.dtype()), node.input(1, ParameterRole::bn_weight)});
  if (node.has_input(2)) y = node.make("add", {y, node.input(2, ParameterRole::bn_bias)});
  node.set(0, y);
  node.set(1, mean);
  node.set(2, deviation);
}

void import_cast(NodeReader& node) {
  const DType to = node.dtype(node.integer("to", 0));
  if (to == node.type(0).dtype) return node.pass_through(0, 0);
  node.set(node.cast(node.input(0), to));
}

/// Windows that lie within a padded image, without dilation.
void import_pool(NodeReader& node) {
  const Windows windows = read_windows(node);
  const bool average = node.op() == "AveragePool";
  if (windows.kernel.size() != 2)
    node.unsupported(fmt::format("{} spatial axes", windows.kernel.size()));
  if (node.flag("ceil_mode", false)) node.unsupported("ceil_mode = 1");
  if (windows.dilations != Ints{1, 1}) node.unsupported("dilations");
  if (average && windows.is_padded() && !node.flag("count_include_pad", false)) {
    node.unsupported("count_include_pad = 0 with padding");
  }
  if (!average) node.refuse_output(1, "Indices");
  node.set(node.make(
      average ? "avg_pool" : "max_pool", {node.input(0)},
      {{"kernel", windows.kernel}, {"strides", windows.strides}, {"pads", windows.pads()}}));
}

}  // namespace

void add_core_handlers(HandlerTable& table) {
  for (const char* op :
       {"Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Neg", "Abs", "Erf", "Reciprocal"}) {
    table.add(op, import_unary);
  }
  for (const char* op : {"Add", "Sub", "Mul", "Div"}) table.add(op, import_binary);
  table.add("Pow", import_pow);
  table.add("Clip", import_clip);
  table.add("GlobalAveragePool", import_global_pool);
  table.add("GlobalMaxPool", import_global_pool);
  table.add("MaxPool", import_pool);
  table.add("AveragePool", import_pool);
  table.add("Softmax", import_softmax);
  table.add("LayerNormalization", import_layer_normalization);
  table.add("Cast", import_cast);
}

}  // namespace facet::onnx_import
