#include <fmt/format.h>

#include "ir/elementwise_program.h"
#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"

namespace facet::ops {
namespace {

std::vector<Type> infer_unary(const InferContext& context) {
  require_floats(context);
  return {context.operand(0)};
}

/// Negation and magnitude are for whole numbers too, but not for what has no sign.
std::vector<Type> infer_numbers(const InferContext& context) {
  if (context.operand(0).dtype == DType::boolean) {
    throw usage_error(fmt::format("op '{}' takes numbers, not {}", context.op.name,
                                  to_string(context.operand(0))));
  }
  return {context.operand(0)};
}

std::vector<Type> infer_clamp(const InferContext& context) {
  if (context.attributes.number("min") > context.attributes.number("max")) {
    throw usage_error("clamp has min above max");
  }
  return infer_unary(context);
}

std::vector<Type> infer_binary(const InferContext& context) {
  return {Type{result_dtype(context), broadcast(context.operand(0).shape, context.operand(1).shape), {}}};
}

std::vector<Type> infer_where(const InferContext& context) {
  Shape shape = broadcast(context.operand(1).shape, context.operand(2).shape);
  return {Type{result_dtype(context), broadcast(context.operand(0).shape, shape), {}}};
}

std::vector<Type> infer_prelu(const InferContext& context) {
  const Type& x = context.operand(0);
  const Shape& slope = context.operand(1).shape;
  require_floats(context);
  const bool per_channel = x.rank() >= 2 && slope == Shape{x.shape[1]};
  if (!per_channel && slope != Shape{1}) {
    throw usage_error(fmt::format("prelu takes a slope [1] or one per channel (axis 1) of {}, not {}",
                                  to_string(x), to_string(slope)));
  }
  return {Type{x.dtype, x.shape, {}}};
}

std::vector<Type> infer_cast(const InferContext& context) {
  return {Type{parse_dtype(context.attributes.text("dtype")), context.operand(0).shape, {}}};
}

std::vector<Type> infer_batch_norm(const InferContext& context) {
  const Type& x = context.operand(0);
  require_floats(context);
  if (x.rank() < 2) throw usage_error("batch_norm takes x [N, C, ...]");
  for (std::size_t i = 1; i < 5; ++i) {
    if (context.operand(i).shape != Shape{x.shape[1]}) {
      throw usage_error(fmt::format("batch_norm over {} channels got a statistic of shape {}",
                                    to_string(x.shape[1]), to_string(context.operand(i).shape)));
    }
  }
  return {x};
}

std::vector<Type> infer_elementwise(const InferContext& context) {
  const Strings& program = context.attributes.strings("program");
  require_floats(context);
  if (program.empty()) throw usage_error("an elementwise program has at least one line");
  const auto instructions = parse_elementwise(program, context.operands.size());
  std::vector<Shape> shapes;
  for (const Type& type : context.operands) shapes.push_back(type.shape);
  for (const ElementwiseInstruction& instruction : instructions) {
    Shape shape;
    for (const ElementwiseArgument& argument : instruction.arguments) {
      if (!argument.is_literal) shape = broadcast(shape, shapes[argument.value]);
    }
    shapes.push_back(shape);
  }
  const std::string& dtype = context.attributes.text("dtype");
  return {Type{dtype.empty() ? result_dtype(context) : parse_dtype(dtype), shapes.back(), {}}};
}

double one_per_element(const Node& node) { return result_elements(node); }
double two_per_element(const Node& node) { return 2 * result_elements(node); }
double program_flops(const Node& node) {
  return result_elements(node) *
         static_cast<double>(node.attributes().strings("program").size());
}

std::vector<Value> decompose_rsqrt(Builder& build, Node& node) {
  return {build("reciprocal", {build("sqrt", {node.operand(0)})})};
}

std::vector<Value> decompose_square(Builder& build, Node& node) {
  return {build("mul", {node.operand(0), node.operand(0)})};
}

std::vector<Value> decompose_batch_norm(Builder& build, Node& node) {
  Ints shape(static_cast<std::size_t>(node.operand(0).type().rank()), 1);
  shape[1] = -1;
  const auto per_channel = [&](Value v) { return build("reshape", {v}, {{"shape", shape}}); };
  const Value variance =
      build("add", {node.operand(4), build.scalar(node.attributes().number("epsilon"))});
  const Value scale = build("mul", {node.operand(1), build("rsqrt", {variance})});
  const Value centred = build("sub", {node.operand(0), per_channel(node.operand(3))});
  const Value scaled = build("mul", {centred, per_channel(scale)});
  return {as_result(build, node, build("add", {scaled, per_channel(node.operand(2))}))};
}

std::vector<Value> decompose_prelu(Builder& build, Node& node) {
  Value slope = node.operand(1);
  Ints shape(static_cast<std::size_t>(node.operand(0).type().rank()), 1);
  if (shape.size() >= 2) shape[1] = -1;
  slope = build("reshape", {slope}, {{"shape", shape}});
  const Value negative = build("minimum", {node.operand(0), build.scalar(0)});
  const Value positive = build("relu", {node.operand(0)});
  return {as_result(build, node, build("add", {positive, build("mul", {negative, slope})}))};
}

/// One op per instruction. "prelu x s" broadcasts its slope, unlike the prelu op.
std::vector<Value> decompose_elementwise(Builder& build, Node& node) {
  std::vector<Value> values(node.operands().begin(), node.operands().end());
  const auto program = parse_elementwise(node.attributes().strings("program"), values.size());
  for (const auto& [op, arguments] : program) {
    std::vector<Value> operands;
    const bool clamps_to_numbers =
        op == "clamp" && arguments[1].is_literal && arguments[2].is_literal &&
        arguments[1].literal <= arguments[2].literal;
    for (const ElementwiseArgument& argument : arguments) {
      if (clamps_to_numbers && operands.size() == 1) break;  // the bounds become attributes
      operands.push_back(argument.is_literal ? build.scalar(argument.literal)
                                             : values[argument.value]);
    }
    Value value;
    if (op == "prelu") {
      const Value negative = build("minimum", {operands[0], build.scalar(0)});
      value = build("add", {build("relu", {operands[0]}), build("mul", {negative, operands[1]})});
    } else if (clamps_to_numbers) {
      value = build("clamp", operands, {{"min", arguments[1].literal}, {"max", arguments[2].literal}});
    } else if (op == "clamp") {
      value = build("minimum", {build("maximum", {operands[0], operands[1]}), operands[2]});
    } else {
      value = build(op, operands);
    }
    values.push_back(value);
  }
  return {as_result(build, node, values.back())};
}

std::vector<Sample> unary_samples() {
  return {{{f32({2, 3, 5, 7})}, {}}, {{f32({33})}, {}}, {{f32({2, 16, 4, 4})}, {}, -4, 4}};
}
std::vector<Sample> positive_samples() { return {{{f32({2, 3, 5, 7})}, {}, 0.1, 2}}; }
std::vector<Sample> nonzero_samples() { return {{{f32({2, 3, 5, 7})}, {}, 0.5, 2}}; }
std::vector<Sample> clamp_samples() {
  return {{{f32({2, 3, 5})}, {{"min", -0.5}, {"max", 0.25}}}};
}
std::vector<Sample> binary_samples() {
  const Type x = f32({2, 16, 5, 3});
  return {{{x, x}, {}},
          {{x, f32({2, 16, 1, 1})}, {}},
          {{x, f32({2, 1, 5, 3})}, {}},
          {{f32({16, 1, 1}), x}, {}},
          {{x, f32({1})}, {}},
          {{f32({4, 1}), f32({3})}, {}},
          {{f32({2, 5, 8}), f32({8})}, {}}};
}
std::vector<Sample> positive_binary_samples() {
  std::vector<Sample> samples = binary_samples();
  for (Sample& sample : samples) sample.lo = 0.25;
  return samples;
}
std::vector<Sample> where_samples() {
  const Type x = f32({2, 16, 5, 3});
  return {{{x, x, x}, {}}, {{x, f32({2, 16, 1, 1}), f32({1})}, {}}, {{f32({3, 1}), f32({3, 8}), f32({8})}, {}}};
}
std::vector<Sample> prelu_samples() {
  return {{{f32({2, 16, 5, 3}), f32({16})}, {}},
          {{f32({2, 7, 5, 3}), f32({1})}, {}},
          {{f32({3, 8}), f32({8})}, {}}};
}
std::vector<Sample> cast_samples() {
  return {{{f32({2, 3, 5})}, {{"dtype", std::string("bf16")}}},
          {{f32({2, 3, 5})}, {{"dtype", std::string("f32")}}}};
}
std::vector<Sample> batch_norm_samples() {
  const Type c = f32({6});
  return {{{f32({2, 6, 4, 3}), c, c, c, c}, {}, 0.1, 1.5},
          {{f32({5, 6}), c, c, c, c}, {{"epsilon", 1e-3}}, 0.1, 1.5}};
}
std::vector<Sample> elementwise_samples() {
  const Type x = f32({2, 16, 5, 3});
  return {{{x, f32({2, 1, 5, 3})}, {{"program", Strings{"sigmoid 1", "mul 0 2"}}}},
          {{x, f32({16, 1, 1}), f32({16, 1, 1})},
           {{"program", Strings{"mul 0 1", "add 3 2", "relu 4"}}}},
          {{x, x, f32({16, 1, 1})},
           {{"program", Strings{"add 0 1", "prelu 3 2", "clamp 4 #-0.5 #0.75", "mul 5 #2.0"}}}},
          {{f32({3, 40}), f32({40})}, {{"program", Strings{"sub 0 1", "square 2"}}}}};
}

struct UnaryOp {
  std::string_view name, doc;
  Gradient::Rule gradient;
  OnnxMapping onnx;
  Samples::Make samples;
  Decomposition decomposition = Decomposition::primitive();
  std::vector<Type> (*infer)(const InferContext&) = infer_unary;
};

OpDef unary(const UnaryOp& op) {
  return OpDef{.name = op.name,
               .doc = op.doc,
               .signature = Signature({"x"}, {"y"}),
               .attributes = {},
               .infer = op.infer,
               .gradient = Gradient::rule(op.gradient),
               .layout = LayoutRole::follow,
               .aliasing = Aliasing::in_place,
               .precision = PrecisionPolicy::follow,
               .decomposition = op.decomposition,
               .cost = Cost::memory(one_per_element),
               .onnx = op.onnx,
               .samples = Samples::cases(op.samples)};
}

OpDef binary(std::string_view name, Gradient::Rule gradient, std::string_view onnx, int since,
             Samples::Make samples) {
  return OpDef{.name = name,
               .doc = "Elementwise with NumPy broadcasting.",
               .signature = Signature({"a", "b"}, {"y"}),
               .attributes = {},
               .infer = infer_binary,
               .gradient = Gradient::rule(gradient),
               .layout = LayoutRole::follow,
               .aliasing = Aliasing::in_place,
               .precision = PrecisionPolicy::follow,
               .decomposition = Decomposition::primitive(),
               .cost = Cost::memory(one_per_element),
               .onnx = OnnxMapping::op(onnx, since),
               .samples = Samples::cases(samples)};
}

OpDef like_unary(std::string_view name, std::string_view doc, Signature signature,
                 std::vector<AttributeSpec> attributes,
                 std::vector<Type> (*infer)(const InferContext&), Gradient gradient, Cost cost,
                 Decomposition decomposition, OnnxMapping onnx, Samples::Make samples) {
  return OpDef{.name = name,
               .doc = doc,
               .signature = std::move(signature),
               .attributes = std::move(attributes),
               .infer = infer,
               .gradient = gradient,
               .layout = LayoutRole::follow,
               .aliasing = Aliasing::in_place,
               .precision = PrecisionPolicy::follow,
               .decomposition = decomposition,
               .cost = cost,
               .onnx = onnx,
               .samples = Samples::cases(samples)};
}

}  // namespace

std::vector<OpDef> elementwise_ops() {
  std::vector<OpDef> list;
  for (const UnaryOp& op : std::initializer_list<UnaryOp>{
           {"relu", "max(x, 0)", relu_gradient, OnnxMapping::op("Relu", 6), unary_samples,
            Decomposition::primitive(), infer_numbers},
           {"sigmoid", "1 / (1 + exp(-x))", sigmoid_gradient, OnnxMapping::op("Sigmoid", 6),
            unary_samples},
           {"tanh", "tanh(x)", tanh_gradient, OnnxMapping::op("Tanh", 6), unary_samples},
           {"exp", "e^x", exp_gradient, OnnxMapping::op("Exp", 6), unary_samples},
           {"log", "ln(x)", log_gradient, OnnxMapping::op("Log", 6), positive_samples},
           {"sqrt", "x^(1/2)", sqrt_gradient, OnnxMapping::op("Sqrt", 6), positive_samples},
           {"rsqrt", "x^(-1/2)", rsqrt_gradient, OnnxMapping::decomposed(), positive_samples,
            Decomposition::rule(decompose_rsqrt)},
           {"reciprocal", "1 / x", reciprocal_gradient, OnnxMapping::op("Reciprocal", 6),
            nonzero_samples},
           {"neg", "-x", neg_gradient, OnnxMapping::op("Neg", 6), unary_samples,
            Decomposition::primitive(), infer_numbers},
           {"abs", "|x|", abs_gradient, OnnxMapping::op("Abs", 6), unary_samples,
            Decomposition::primitive(), infer_numbers},
           {"square", "x^2", square_gradient, OnnxMapping::decomposed(), unary_samples,
            Decomposition::rule(decompose_square)},
           {"erf", "2/sqrt(pi) * integral of exp(-t^2) from 0 to x", erf_gradient,
            OnnxMapping::op("Erf", 9), unary_samples}}) {
    list.push_back(unary(op));
  }
  list.push_back(binary("add", add_gradient, "Add", 7, binary_samples));
  list.push_back(binary("sub", sub_gradient, "Sub", 7, binary_samples));
  list.push_back(binary("mul", mul_gradient, "Mul", 7, binary_samples));
  list.push_back(binary("div", div_gradient, "Div", 7, positive_binary_samples));
  list.push_back(binary("maximum", maximum_gradient, "Max", 8, binary_samples));
  list.push_back(binary("minimum", minimum_gradient, "Min", 8, binary_samples));
  list.push_back(binary("pow", pow_gradient, "Pow", 7, positive_binary_samples));
  list.push_back(binary("greater", zero_gradient, "Greater", 13, binary_samples));
  list.push_back(like_unary("where", "a where the condition is not 0, else b; the three broadcast.",
                            Signature({"condition", "a", "b"}, {"y"}), {}, infer_where,
                            Gradient::rule(where_gradient), Cost::memory(one_per_element),
                            Decomposition::primitive(), OnnxMapping::op("Where", 9),
                            where_samples));
  list.push_back(like_unary("clamp", "min(max(x, min), max)", Signature({"x"}, {"y"}),
                            {{"min", 0.0, true}, {"max", 0.0, true}}, infer_clamp,
                            Gradient::rule(clamp_gradient), Cost::memory(one_per_element),
                            Decomposition::primitive(), OnnxMapping::op("Clip", 6), clamp_samples));
  list.push_back(like_unary("prelu", "max(x, 0) + slope * min(x, 0), one slope or one per channel.",
                            Signature({"x", "slope"}, {"y"}), {}, infer_prelu,
                            Gradient::rule(prelu_gradient), Cost::memory(two_per_element),
                            Decomposition::rule(decompose_prelu), OnnxMapping::op("PRelu", 7),
                            prelu_samples));
  list.push_back(like_unary("cast", "x in another dtype, rounded to nearest even.",
                            Signature({"x"}, {"y"}), {{"dtype", std::string(), true}}, infer_cast,
                            Gradient::rule(cast_gradient), Cost::memory(one_per_element),
                            Decomposition::primitive(), OnnxMapping::op("Cast", 6), cast_samples));
  list.push_back(
      like_unary("batch_norm",
                 "(x - mean) / sqrt(var + epsilon) * scale + bias over axis 1, with given "
                 "statistics. `momentum` counts in training only.",
                 Signature({"x", "scale", "bias", "mean", "var"}, {"y"}),
                 {{"epsilon", 1e-5}, {"momentum", 0.1}}, infer_batch_norm, Gradient::decomposed(),
                 Cost::memory(two_per_element), Decomposition::rule(decompose_batch_norm),
                 OnnxMapping::op("BatchNormalization", 7), batch_norm_samples));
  list.push_back(like_unary("elementwise", "A chain of scalar functions in one pass over memory.",
                            Signature({"x", "others..."}, {"y"}),
                            {{"program", Strings{}, true}, {"dtype", std::string()}},
                            infer_elementwise, Gradient::decomposed(), Cost::memory(program_flops),
                            Decomposition::rule(decompose_elementwise), OnnxMapping::decomposed(),
                            elementwise_samples));
  return list;
}

}  // namespace facet::ops
