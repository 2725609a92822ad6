#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients_math.h"

// Rounding, trigonometric and hyperbolic functions, comparisons, remainders and operations on bits.
// A comparison gives 1 or 0 in the dtype of its operands, so that it joins chains of arithmetic.

namespace facet::ops {
namespace {

constexpr std::array<std::string_view, 5> kBitFunctions{"and", "or", "xor", "shift_left",
                                                        "shift_right"};

std::vector<Type> infer_function(const InferContext& context) {
  require_floats(context);
  return {context.operand(0)};
}

/// Whole numbers round to themselves and have a sign.
std::vector<Type> infer_any(const InferContext& context) { return {context.operand(0)}; }

std::vector<Type> infer_pair(const InferContext& context) {
  const Type& a = context.operand(0);
  return {Type{result_dtype(context), broadcast(a.shape, context.operand(1).shape), {}}};
}

std::vector<Type> infer_bitwise(const InferContext& context) {
  const std::string& function = context.attributes.text("function");
  if (std::find(kBitFunctions.begin(), kBitFunctions.end(), function) == kBitFunctions.end()) {
    throw usage_error(
        fmt::format("bitwise has no function '{}'; it has and, or, xor, shift_left and "
                    "shift_right",
                    function));
  }
  for (const Type& type : context.operands) {
    if (!is_float(type.dtype)) continue;
    throw usage_error(fmt::format("bitwise takes whole numbers, not {}", to_string(type)));
  }
  return infer_pair(context);
}

double one_per_element(const Node& node) { return result_elements(node); }

std::vector<Sample> cases(double lo, double hi) {
  return {{{f32({2, 3, 5, 7})}, {}, lo, hi},
          {{f32({33})}, {}, lo, hi},
          {{f32({2, 16, 4, 4})}, {}, lo, hi}};
}
std::vector<Sample> wide_samples() { return cases(-4, 4); }
std::vector<Sample> unit_samples() { return cases(-0.9, 0.9); }
std::vector<Sample> above_one_samples() { return cases(1.1, 4); }
std::vector<Sample> sign_samples() {
  std::vector<Sample> samples = wide_samples();
  samples.push_back({{Type{DType::i32, {3, 5}, {}}}, {}, -4, 4});
  return samples;
}

Type whole(Shape shape) { return Type{DType::i64, std::move(shape), {}}; }

std::vector<Sample> comparison_samples() {
  const Type x = f32({2, 16, 5, 3});
  return {{{x, x}, {}},
          {{x, f32({16, 1, 1})}, {}},
          {{f32({4, 1}), f32({3})}, {}},
          {{whole({2, 9}), whole({2, 9})}, {}, 0, 3},
          {{whole({4, 1}), whole({7})}, {}, 0, 4}};
}
std::vector<Sample> mod_samples() {
  const Type x = f32({2, 16, 5, 3});
  return {{{x, x}, {{"truncated", true}}, 0.5, 4},
          {{x, f32({16, 1, 1})}, {}, 0.5, 4},
          {{whole({3, 7}), whole({7})}, {}, 1, 9},
          {{whole({3, 7}), whole({7})}, {{"truncated", true}}, 1, 9}};
}
std::vector<Sample> bitwise_samples() {
  std::vector<Sample> samples;
  const Type bytes{DType::u8, {4, 6}, {}};
  for (const std::string_view function : kBitFunctions) {
    samples.push_back(
        {{bytes, Type{DType::u8, {6}, {}}}, {{"function", std::string(function)}}, 0, 8});
  }
  samples.push_back({{whole({2, 9}), whole({2, 1})}, {{"function", std::string("xor")}}, -99, 99});
  return samples;
}

struct Function {
  std::string_view name, doc;
  Gradient::Rule gradient;
  std::string_view onnx;
  int since;
  Samples::Make samples;
  std::vector<Type> (*infer)(const InferContext&) = infer_function;
};

OpDef scalar_op(const Function& function, Signature signature) {
  return OpDef{.name = function.name,
               .doc = function.doc,
               .signature = std::move(signature),
               .attributes = {},
               .infer = function.infer,
               .gradient = Gradient::rule(function.gradient),
               .layout = LayoutRole::follow,
               .aliasing = Aliasing::in_place,
               .precision = PrecisionPolicy::follow,
               .decomposition = Decomposition::primitive(),
               .cost = Cost::memory(one_per_element),
               .onnx = OnnxMapping::op(function.onnx, function.since),
               .samples = Samples::cases(function.samples)};
}

/// Ops outside of elementwise programs: what they do is rarely asked for.
OpDef plain_pair(std::string_view name, std::string_view doc, AttributeSpec attribute,
                 std::vector<Type> (*infer)(const InferContext&), Gradient gradient,
                 OnnxMapping onnx, Samples::Make samples) {
  return OpDef{.name = name,
               .doc = doc,
               .signature = Signature({"a", "b"}, {"y"}),
               .attributes = {std::move(attribute)},
               .infer = infer,
               .gradient = gradient,
               .layout = LayoutRole::plain,
               .aliasing = Aliasing::fresh,
               .precision = PrecisionPolicy::f32,
               .decomposition = Decomposition::primitive(),
               .cost = Cost::memory(one_per_element),
               .onnx = onnx,
               .samples = Samples::cases(samples)};
}

}  // namespace

std::vector<OpDef> math_ops() {
  std::vector<OpDef> list;
  for (const Function& function : std::initializer_list<Function>{
           {"floor", "The largest whole number <= x.", zero_gradient, "Floor", 6, wide_samples},
           {"ceil", "The smallest whole number >= x.", zero_gradient, "Ceil", 6, wide_samples},
           {"round", "The nearest whole number, halves to the even one.", zero_gradient, "Round",
            11, wide_samples},
           {"sign", "1, 0 or -1; NaN stays.", zero_gradient, "Sign", 9, sign_samples, infer_any},
           {"sin", "sin(x)", sin_gradient, "Sin", 7, wide_samples},
           {"cos", "cos(x)", cos_gradient, "Cos", 7, wide_samples},
           {"tan", "tan(x)", tan_gradient, "Tan", 7, unit_samples},
           {"asin", "arcsin(x), in [-pi/2, pi/2]", asin_gradient, "Asin", 7, unit_samples},
           {"acos", "arccos(x), in [0, pi]", acos_gradient, "Acos", 7, unit_samples},
           {"atan", "arctan(x), in [-pi/2, pi/2]", atan_gradient, "Atan", 7, wide_samples},
           {"sinh", "(e^x - e^-x) / 2", sinh_gradient, "Sinh", 9, wide_samples},
           {"cosh", "(e^x + e^-x) / 2", cosh_gradient, "Cosh", 9, wide_samples},
           {"asinh", "ln(x + sqrt(x^2 + 1))", asinh_gradient, "Asinh", 9, wide_samples},
           {"acosh", "ln(x + sqrt(x^2 - 1)), x >= 1", acosh_gradient, "Acosh", 9,
            above_one_samples},
           {"atanh", "ln((1 + x) / (1 - x)) / 2", atanh_gradient, "Atanh", 9, unit_samples}}) {
    list.push_back(scalar_op(function, Signature({"x"}, {"y"})));
  }
  for (const Function& function : std::initializer_list<Function>{
           {"equal", "1 where a = b, else 0, in the operands' dtype.", zero_gradient, "Equal", 13,
            comparison_samples, infer_pair},
           {"greater_equal", "1 where a >= b, else 0, in the operands' dtype.", zero_gradient,
            "GreaterOrEqual", 12, comparison_samples, infer_pair}}) {
    list.push_back(scalar_op(function, Signature({"a", "b"}, {"y"})));
  }
  list.push_back(
      plain_pair("mod",
                 "a - q * b, q = a / b rounded down, or towards 0 when truncated. A whole "
                 "number modulo 0 is 0.",
                 {"truncated", false}, infer_pair, Gradient::rule(mod_gradient),
                 OnnxMapping::op("Mod", 13), mod_samples));
  list.push_back(plain_pair(
      "bitwise", "and, or, xor, shift_left or shift_right of whole numbers and booleans.",
      {"function", std::string(), true}, infer_bitwise, Gradient::none("bits have no derivative"),
      OnnxMapping::op("BitwiseAnd", 18), bitwise_samples));
  return list;
}

}  // namespace facet::ops
