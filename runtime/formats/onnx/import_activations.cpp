#include <cmath>
#include <numbers>

#include "runtime/formats/onnx/import_math.h"

// Activations, as compositions of scalar functions: passes make one kernel of them. None overflows
// where its operator does not, and no gradient has an infinity times 0 in it.

namespace facet::onnx_import {
namespace {

/// Scalar functions of values of one dtype, written as formulas.
class Formula {
 public:
  Formula(NodeReader& node, DType dtype) : node_(node), dtype_(dtype) {}

  Value number(double value) const { return node_.scalar(value, dtype_); }
  Value operator()(std::string_view op, Value x) const { return node_.make(op, {x}); }
  Value operator()(std::string_view op, Value a, Value b) const { return node_.make(op, {a, b}); }
  Value operator()(std::string_view op, Value a, double b) const {
    return node_.make(op, {a, number(b)});
  }
  Value times(Value x, double factor) const { return factor == 1 ? x : (*this)("mul", x, factor); }
  Value plus(Value x, double term) const { return term == 0 ? x : (*this)("add", x, term); }
  Value clamp(Value x, double lo, double hi) const {
    return node_.make("clamp", {x}, {{"min", lo}, {"max", hi}});
  }
  Value where(Value condition, Value a, Value b) const {
    return node_.make("where", {condition, a, b});
  }
  /// e^min(x / scale, 0) - 1.
  Value below_zero(Value x, double scale) const {
    const Value least = (*this)("minimum", x, 0.0);
    const Value scaled = scale == 1 ? least : (*this)("div", least, scale);
    return (*this)("sub", (*this)("exp", scaled), 1.0);
  }
  /// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|).
  Value softplus(Value x) const {
    const Value e = (*this)("exp", (*this)("neg", (*this)("abs", x)));
    return (*this)("add", (*this)("relu", x), (*this)("log", plus(e, 1)));
  }

 private:
  NodeReader& node_;
  DType dtype_;
};

Formula formula(NodeReader& node, Value x) { return {node, x.dtype()}; }

void import_elu(NodeReader& node) {
  const Value x = node.input(0);
  const Formula f = formula(node, x);
  node.set(f("add", f("relu", x), f.times(f.below_zero(x, 1), node.number("alpha", 1))));
}

void import_celu(NodeReader& node) {
  const Value x = node.input(0);
  const Formula f = formula(node, x);
  const double alpha = node.number("alpha", 1);
  if (!(alpha > 0)) node.unsupported("its alpha is not above 0");
  node.set(f("add", f("relu", x), f.times(f.below_zero(x, alpha), alpha)));
}

void import_selu(NodeReader& node) {
  const Value x = node.input(0);
  const Formula f = formula(node, x);
  const double alpha = node.number("alpha", 1.67326319217681884765625);
  const double gamma = node.number("gamma", 1.05070102214813232421875);
  node.set(f.times(f("add", f("relu", x), f.times(f.below_zero(x, 1), alpha)), gamma));
}

void import_gelu(NodeReader& node) {
  const Value x = node.input(0);
  const Formula f = formula(node, x);
  const std::string kind = node.text("approximate", "none");
  Value share;
  if (kind == "tanh") {
    const Value cube = f("mul", x, f("square", x));
    const Value inside = f("add", x, f.times(cube, 0.044715));
    share = f("tanh", f.times(inside, std::sqrt(2 / std::numbers::pi)));
  } else if (kind == "none") {
    share = f("erf", f("div", x, std::numbers::sqrt2));
  } else {
    node.unsupported("its approximate is neither none nor tanh");
  }
  node.set(f("mul", f.times(x, 0.5), f.plus(share, 1)));
}

void import_hard_sigmoid(NodeReader& node) {
  const Value x = node.input(0);
  const Formula f = formula(node, x);
  const Value line = f.plus(f.times(x, node.number("alpha", 0.2)), node.number("beta", 0.5));
  node.set(f.clamp(line, 0, 1));
}

void import_hard_swish(NodeReader& node) {
  const Value x = node.input(0);
  const Formula f = formula(node, x);
  node.set(f("mul", x, f.clamp(f.plus(f("div", x, 6.0), 0.5), 0, 1)));
}

/// One constant slope for all: it fuses as a learnt one does.
void import_leaky_relu(NodeReader& node) {
  const Value x = node.input(0);
  const HostTensor slope = HostTensor::scalar(x.dtype(), node.number("alpha", 0.01)).reshaped({1});
  node.set(node.make("prelu", {x, node.constant(slope)}));
}

void import_mish(NodeReader& node) {
  const Value x = node.input(0);
  const Formula f = formula(node, x);
  node.set(f("mul", x, f("tanh", f.softplus(x))));
}

/// The slope as a vector along axis 1 (or [1]) where it is one; null otherwise.
Value channel_slope(NodeReader& node, Value x, Value slope) {
  if (!is_float(x.dtype())) return {};
  const Dim count = element_count(slope.shape());
  if (count == Dim(1)) return node.reshape(slope, {1});
  const auto axis = static_cast<std::size_t>(x.type().rank() - slope.type().rank());
  if (x.type().rank() < 2 || axis > 1) return {};
  if (!(slope.shape()[1 - axis] == count) || !(x.shape()[1] == count)) return {};
  return node.reshape(slope, {count});
}

/// Before opset 7 a vector of slopes ran along axis 1, not along the last.
bool is_old_slope(const NodeReader& node, const Shape& x, const Shape& slope) {
  if (x.size() < 2 || slope.size() != 1 || !(x[1] == slope[0])) return false;
  return node.opset() < 7 || !(x.back() == slope[0]);
}

void import_prelu(NodeReader& node) {
  const Value x = node.input(0), slope = node.input(1, ParameterRole::prelu_slope);
  if (is_old_slope(node, x.shape(), slope.shape())) {
    return node.set(node.make("prelu", {x, slope}));
  }
  if (!(broadcast(x.shape(), slope.shape()) == x.shape())) {
    node.unsupported("its slope does not broadcast to its input");
  }
  if (const Value vector = channel_slope(node, x, slope)) {
    return node.set(node.make("prelu", {x, vector}));
  }
  const Formula f = formula(node, x);
  node.set(f("add", f("relu", x), f("mul", f("minimum", x, 0.0), slope)));
}

/// Whole numbers are shrunk as floats, since their limits need not be whole.
void import_shrink(NodeReader& node) {
  const DType dtype = node.type(0).dtype;
  const Value x = is_float(dtype) ? node.input(0) : node.cast(node.input(0), DType::f64);
  const Formula f = formula(node, x);
  const double limit = node.number("lambd", 0.5), bias = node.number("bias", 0);
  const Value above = f("greater", x, limit);
  const Value below = f("greater", f.number(-limit), x);
  const Value y = f.where(above, f.plus(x, -bias), f.where(below, f.plus(x, bias), f.number(0)));
  node.set(node.cast(y, dtype));
}

void import_softplus(NodeReader& node) {
  const Value x = node.input(0);
  node.set(formula(node, x).softplus(x));
}

void import_softsign(NodeReader& node) {
  const Value x = node.input(0);
  const Formula f = formula(node, x);
  node.set(f("div", x, f.plus(f("abs", x), 1)));
}

void import_swish(NodeReader& node) {
  const Value x = node.input(0);
  const Formula f = formula(node, x);
  node.set(f("mul", x, f("sigmoid", f.times(x, node.number("alpha", 1)))));
}

void import_thresholded_relu(NodeReader& node) {
  const Value x = node.input(0);
  const Formula f = formula(node, x);
  node.set(f.where(f("greater", x, node.number("alpha", 1)), x, f.number(0)));
}

}  // namespace

void add_activation_handlers(HandlerTable& table) {
  table.add("Elu", import_elu);
  table.add("Celu", import_celu);
  table.add("Selu", import_selu);
  table.add("Gelu", import_gelu);
  table.add("HardSigmoid", import_hard_sigmoid);
  table.add("HardSwish", import_hard_swish);
  table.add("LeakyRelu", import_leaky_relu);
  table.add("Mish", import_mish);
  table.add("PRelu", import_prelu);
  table.add("Shrink", import_shrink);
  table.add("Softplus", import_softplus);
  table.add("Softsign", import_softsign);
  table.add("Swish", import_swish);
  table.add("ThresholdedRelu", import_thresholded_relu);
}

}  // namespace facet::onnx_import
