#include "runtime/formats/onnx/import_math.h"

#include <algorithm>
#include <array>
#include <limits>

// Arithmetic of numbers: functions of one value, of two, of many; casts and clips.

namespace facet::onnx_import {
namespace {

/// Names of operators that are one op of ours with the same operands.
struct Same {
  const char* onnx;
  const char* op;
};
constexpr std::array<Same, 30> kSame{
    {{"Abs", "abs"},   {"Acos", "acos"},   {"Acosh", "acosh"},     {"Add", "add"},
     {"Asin", "asin"}, {"Asinh", "asinh"}, {"Atan", "atan"},       {"Atanh", "atanh"},
     {"Ceil", "ceil"}, {"Cos", "cos"},     {"Cosh", "cosh"},       {"Det", "det"},
     {"Div", "div"},   {"Erf", "erf"},     {"Exp", "exp"},         {"Floor", "floor"},
     {"Log", "log"},   {"Mul", "mul"},     {"Neg", "neg"},         {"Reciprocal", "reciprocal"},
     {"Relu", "relu"}, {"Round", "round"}, {"Sigmoid", "sigmoid"}, {"Sign", "sign"},
     {"Sin", "sin"},   {"Sinh", "sinh"},   {"Sqrt", "sqrt"},       {"Sub", "sub"},
     {"Tan", "tan"},   {"Tanh", "tanh"}}};

void same(NodeReader& node) {
  const auto* found = std::find_if(kSame.begin(), kSame.end(),
                                   [&](const Same& entry) { return node.op() == entry.onnx; });
  node.set(node.make(found->op, node.inputs()));
}

template <const char* const& op>
Value folded(NodeReader& node) {
  std::vector<Value> values = node.inputs();
  if (values.empty()) node.unsupported("it has no inputs");
  Value result = values[0];
  for (std::size_t i = 1; i < values.size(); ++i) result = node.make(op, {result, values[i]});
  return result;
}

constexpr const char* kAdd = "add";
constexpr const char* kMaximum = "maximum";
constexpr const char* kMinimum = "minimum";

void import_max(NodeReader& node) { node.set(folded<kMaximum>(node)); }
void import_min(NodeReader& node) { node.set(folded<kMinimum>(node)); }
void import_sum(NodeReader& node) { node.set(folded<kAdd>(node)); }
void import_mean(NodeReader& node) {
  const Value sum = folded<kAdd>(node);
  const auto count = static_cast<double>(node.inputs().size());
  node.set(count == 1 ? sum : node.make("div", {sum, node.scalar(count, sum)}));
}

void import_mod(NodeReader& node) {
  node.set(
      node.make("mod", {node.input(0), node.input(1)}, {{"truncated", node.flag("fmod", false)}}));
}

/// The result has the base's dtype, whatever the exponent's.
void import_pow(NodeReader& node) {
  Value base = node.input(0), exponent = node.input(1);
  const DType dtype = base.dtype();
  if (is_float(dtype)) {
    const bool keeps_shape = exponent.type().rank() <= base.type().rank();
    const double number = keeps_shape ? constant_number(exponent).value_or(0) : 0;
    if (number == 1) return node.pass_through(0, 0);
    if (number == 2) return node.set(node.make("square", {base}));
    if (number == 3) return node.set(node.make("mul", {node.make("square", {base}), base}));
    if (number == 0.5) return node.set(node.make("sqrt", {base}));
    exponent = node.cast(exponent, dtype);
  } else if (is_float(exponent.dtype())) {
    base = node.cast(base, DType::f64);
    exponent = node.cast(exponent, DType::f64);
  } else {
    exponent = node.cast(exponent, dtype);
  }
  node.set(node.cast(node.make("pow", {base, exponent}), dtype));
}

void bits(NodeReader& node, const char* function) {
  node.set(
      node.make("bitwise", {node.input(0), node.input(1)}, {{"function", std::string(function)}}));
}
void import_bitwise_and(NodeReader& node) { bits(node, "and"); }
void import_bitwise_or(NodeReader& node) { bits(node, "or"); }
void import_bitwise_xor(NodeReader& node) { bits(node, "xor"); }
void import_bitwise_not(NodeReader& node) {
  const Value x = node.input(0);
  const double ones = x.dtype() == DType::u8 ? 255 : x.dtype() == DType::boolean ? 1 : -1;
  node.set(node.make("bitwise", {x, node.scalar(ones, x)}, {{"function", std::string("xor")}}));
}
void import_bit_shift(NodeReader& node) {
  const std::string direction = node.text("direction", "");
  if (direction != "LEFT" && direction != "RIGHT") node.unsupported("it has no direction");
  bits(node, direction == "LEFT" ? "shift_left" : "shift_right");
}

/// A bound as input (opset 11 on) or attribute; null if there is none.
Value clip_bound(NodeReader& node, int input, const char* attribute, Value x) {
  if (node.has_input(input)) return node.input(input);
  return node.has(attribute) ? node.scalar(node.number(attribute, 0), x) : Value{};
}

void import_clip(NodeReader& node) {
  Value x = node.input(0);
  const Value least = clip_bound(node, 1, "min", x), most = clip_bound(node, 2, "max", x);
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  // Bounds in single precision mean the decimals that were written: 0.7, not 0.699999988.
  const auto bound = [&](Value value) {
    const double number = value ? constant_number(value).value_or(nan) : nan;
    return x.dtype() == DType::f32 ? NodeReader::decimal(static_cast<float>(number)) : number;
  };
  const double lo = bound(least);
  const double hi = bound(most);
  if (is_float(x.dtype()) && lo <= hi) {
    return node.set(node.make("clamp", {x}, {{"min", lo}, {"max", hi}}));
  }
  if (least) x = node.make("maximum", {x, least});
  if (most) x = node.make("minimum", {x, most});
  if (!least && !most) return node.pass_through(0, 0);
  node.set(x);
}

void cast_to(NodeReader& node, DType dtype) {
  if (node.type(0).dtype == dtype) return node.pass_through(0, 0);
  node.set(as_number(node, node.input(0), dtype));
}
void import_cast(NodeReader& node) { cast_to(node, NodeReader::dtype(node.integer("to", 0))); }
void import_cast_like(NodeReader& node) { cast_to(node, node.type(1).dtype); }

}  // namespace

std::optional<double> constant_number(Value value) {
  if (!value.node->is("constant")) return std::nullopt;
  const HostTensor& tensor = value.node->attributes().tensor("value");
  if (tensor.element_count() != 1) return std::nullopt;
  return tensor.at(0);
}

void add_math_handlers(HandlerTable& table) {
  for (const Same& entry : kSame) table.add(entry.onnx, same);
  table.add("Max", import_max);
  table.add("Min", import_min);
  table.add("Sum", import_sum);
  table.add("Mean", import_mean);
  table.add("Mod", import_mod);
  table.add("Pow", import_pow);
  table.add("BitwiseAnd", import_bitwise_and);
  table.add("BitwiseOr", import_bitwise_or);
  table.add("BitwiseXor", import_bitwise_xor);
  table.add("BitwiseNot", import_bitwise_not);
  table.add("BitShift", import_bit_shift);
  table.add("Clip", import_clip);
  table.add("Cast", import_cast);
  table.add("CastLike", import_cast_like);
}

void add_arithmetic_handlers(HandlerTable& table) {
  for (auto* family :
       {add_math_handlers, add_logic_handlers, add_activation_handlers, add_reduction_handlers,
        add_line_handlers, add_product_handlers, add_einsum_handlers, add_loss_handlers,
        add_quantization_handlers, add_generated_handlers}) {
    family(table);
  }
}

}  // namespace facet::onnx_import
