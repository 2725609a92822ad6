#include <fmt/format.h>

#include <array>

#include "ir/epilogue.h"
#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"

namespace facet {

bool epilogue_reads_operand(std::string_view entry) {
  return entry == "bias" || entry == "add" || entry == "mul" || entry == "prelu";
}

bool is_epilogue_entry(std::string_view entry) {
  return epilogue_reads_operand(entry) || entry == "relu" || entry == "sigmoid";
}

std::vector<EpilogueEntry> epilogue_of(const Node& node) {
  std::vector<EpilogueEntry> entries;
  int next = kEpilogueStart;
  for (const std::string& name : node.attributes().strings("epilogue")) {
    entries.push_back({name, epilogue_reads_operand(name) ? next++ : -1});
  }
  return entries;
}

namespace ops {
namespace {

/// A slope, bias or gate must broadcast onto the result without changing its shape.
void check_epilogue(const InferContext& context, const Shape& result, std::size_t channel_axis) {
  std::size_t next = kEpilogueStart;
  const Dim& channels = result[channel_axis];
  for (const std::string& entry : context.attributes.strings("epilogue")) {
    if (!is_epilogue_entry(entry)) throw usage_error("unknown epilogue entry '" + entry + "'");
    if (!epilogue_reads_operand(entry)) continue;
    if (next >= context.operands.size()) {
      throw usage_error("epilogue entry '" + entry + "' has no operand");
    }
    const Shape& shape = context.operand(next++).shape;
    const bool is_scalar_slope = entry == "prelu" && shape == Shape{1};
    const bool fits = entry == "add"                        ? shape == result
                      : entry == "mul"                      ? broadcast(result, shape) == result
                      : shape == Shape{channels} || is_scalar_slope;
    if (!fits) {
      throw usage_error(fmt::format("epilogue entry '{}' of shape {} does not fit the result {}",
                                    entry, to_string(shape), to_string(result)));
    }
  }
  if (next != context.operands.size()) {
    throw usage_error(fmt::format("{} operands are not read by the epilogue",
                                  context.operands.size() - next));
  }
}

Dim window_count(const Dim& in, std::int64_t pad, std::int64_t kernel, std::int64_t stride,
                 std::int64_t dilation) {
  if (!in.is_static()) throw usage_error("a spatial extent cannot be symbolic: " + to_string(in));
  require_extent("extent of the image", in.factor, 0);
  const std::int64_t span = in.factor + pad - (dilation * (kernel - 1) + 1);
  if (span < 0) {
    throw usage_error(fmt::format("a window of {} does not fit into an extent of {} with {} padding",
                                  dilation * (kernel - 1) + 1, in.factor, pad));
  }
  return span / stride + 1;
}

}  // namespace

Type infer_convolution(const InferContext& context) {
  const Type& x = context.operand(0);
  const Type& weight = context.operand(1);
  const Attributes& a = context.attributes;
  const Ints& strides = a.ints("strides");
  const Ints& pads = a.ints("pads");
  const Ints& dilations = a.ints("dilations");
  const std::int64_t groups = a.integer("groups");
  if (x.rank() != 4 || weight.rank() != 4) {
    throw usage_error(fmt::format("conv takes x [N, C, H, W] and weight [O, C/groups, kh, kw], not {} "
                                  "and {}", to_string(x), to_string(weight)));
  }
  require_floats(context);
  if (strides.size() != 2 || pads.size() != 4 || dilations.size() != 2) {
    throw usage_error("conv takes 2 strides, 4 pads and 2 dilations");
  }
  for (const std::int64_t stride : strides) require_extent("stride", stride, 1);
  for (const std::int64_t pad : pads) require_extent("padding", pad, 0);
  for (const std::int64_t dilation : dilations) require_extent("dilation", dilation, 1);
  require_extent("groups", groups, 1);
  const std::vector<std::int64_t> w = static_extents(weight.shape);
  for (const std::int64_t extent : w) require_extent("extent of the weight", extent, 1);
  if (!(x.shape[1] == Dim(w[1] * groups)) || w[0] % groups != 0) {
    throw usage_error(fmt::format("x has {} channels, but weight {} with {} groups reads {}",
                                  to_string(x.shape[1]), to_string(weight.shape), groups,
                                  w[1] * groups));
  }
  const Dim h = window_count(x.shape[2], pads[0] + pads[2], w[2], strides[0], dilations[0]);
  const Dim v = window_count(x.shape[3], pads[1] + pads[3], w[3], strides[1], dilations[1]);
  Type result{x.dtype, {x.shape[0], w[0], h, v}, {}};
  check_epilogue(context, result.shape, 1);
  return result;
}

namespace {

std::vector<Type> infer_conv(const InferContext& context) { return {infer_convolution(context)}; }

std::vector<Type> infer_linear(const InferContext& context) {
  const Type& x = context.operand(0);
  const Type& weight = context.operand(1);
  require_floats(context);
  if (x.rank() < 1 || weight.rank() != 2 || !(x.shape.back() == weight.shape[1])) {
    throw usage_error(fmt::format("linear takes x [..., in] and weight [out, in], not {} and {}",
                                  to_string(x), to_string(weight)));
  }
  Type result{x.dtype, x.shape, {}};
  result.shape.back() = weight.shape[0];
  check_epilogue(context, result.shape, result.shape.size() - 1);
  return {result};
}

std::vector<Type> infer_matmul(const InferContext& context) {
  Shape a = context.operand(0).shape;
  Shape b = context.operand(1).shape;
  if (a.size() < 2 || b.size() < 2) throw usage_error("matmul takes operands of rank 2 or more");
  if (context.attributes.boolean("transpose_a")) std::swap(a.end()[-1], a.end()[-2]);
  if (context.attributes.boolean("transpose_b")) std::swap(b.end()[-1], b.end()[-2]);
  if (!(a.back() == b.end()[-2])) {
    throw usage_error(fmt::format("matmul contracts {} with {}: the inner extents differ",
                                  to_string(a), to_string(b)));
  }
  Shape result = broadcast(Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2));
  result.push_back(a.end()[-2]);
  result.push_back(b.back());
  return {Type{result_dtype(context), result, {}}};
}

double conv_flops(const Node& node) {
  const auto w = static_extents(node.operand(1).shape());
  return 2.0 * result_elements(node) * static_cast<double>(w[1] * w[2] * w[3]);
}

double linear_flops(const Node& node) {
  return 2.0 * result_elements(node) * static_cast<double>(node.operand(1).shape()[1].factor);
}

double matmul_flops(const Node& node) {
  const Shape& a = node.operand(0).shape();
  const Dim& inner = node.attributes().boolean("transpose_a") ? a.end()[-2] : a.back();
  return 2.0 * result_elements(node) * static_cast<double>(inner.factor);
}

/// Plain op, then one op per epilogue entry; per-channel operands get a shape that broadcasts.
std::vector<Value> apply_epilogue(Builder& build, Node& node, bool channels_last) {
  Attributes attributes = node.attributes();
  const std::vector<EpilogueEntry> entries = epilogue_of(node);
  if (entries.empty()) return {};
  attributes.set("epilogue", Strings{});
  Value value = build(node.kind(), {node.operand(0), node.operand(1)}, attributes);
  for (const EpilogueEntry& entry : entries) {
    if (entry.operand < 0) {
      value = build(entry.name, {value});
      continue;
    }
    Value extra = node.operand(entry.operand);
    if (entry.name == "prelu" && channels_last) {  // axis 1 is not the channel axis here
      const Value positive = build("relu", {value});
      const Value negative = build("minimum", {value, build.scalar(0)});
      value = build("add", {positive, build("mul", {negative, extra})});
    } else if (entry.name == "bias") {
      if (!channels_last) extra = build("reshape", {extra}, {{"shape", Ints{1, -1, 1, 1}}});
      value = build("add", {value, extra});
    } else {
      value = build(entry.name, {value, extra});
    }
  }
  return {as_result(build, node, value)};
}

std::vector<Value> decompose_conv(Builder& build, Node& node) {
  return apply_epilogue(build, node, false);
}
std::vector<Value> decompose_linear(Builder& build, Node& node) {
  return apply_epilogue(build, node, true);
}

Attributes conv_attributes(Ints strides, Ints pads, Ints dilations, std::int64_t groups,
                           Strings epilogue = {}) {
  return {{"strides", std::move(strides)},
          {"pads", std::move(pads)},
          {"dilations", std::move(dilations)},
          {"groups", groups},
          {"epilogue", std::move(epilogue)}};
}

std::vector<Sample> conv_samples() {
  const Type x = f32({2, 16, 9, 7});
  const Type y = f32({2, 24, 9, 7});
  const Ints one{1, 1};
  const Ints same{1, 1, 1, 1};
  return {
      {{x, f32({24, 16, 1, 1})}, conv_attributes(one, {0, 0, 0, 0}, one, 1)},
      {{x, f32({24, 16, 3, 3})}, conv_attributes({2, 2}, same, one, 1)},
      {{x, f32({5, 16, 3, 2})}, conv_attributes({2, 1}, {1, 0, 0, 1}, one, 1)},
      {{x, f32({24, 16, 3, 3})}, conv_attributes(one, {2, 2, 2, 2}, {2, 2}, 1)},
      {{x, f32({16, 4, 3, 3})}, conv_attributes(one, same, one, 4)},
      {{x, f32({16, 1, 3, 3})}, conv_attributes(one, same, one, 16)},
      {{f32({1, 3, 12, 12}), f32({8, 3, 7, 7})}, conv_attributes({2, 2}, {3, 3, 3, 3}, one, 1)},
      {{f32({1, 2, 8, 8}), f32({1, 2, 7, 7})}, conv_attributes(one, {3, 3, 3, 3}, one, 1)},
      {{x, f32({24, 16, 3, 3}), f32({24})}, conv_attributes(one, same, one, 1, {"bias"})},
      {{x, f32({24, 16, 3, 3}), f32({24})}, conv_attributes(one, same, one, 1, {"bias", "relu"})},
      {{x, f32({24, 16, 3, 3}), f32({24}), f32({24})},
       conv_attributes(one, same, one, 1, {"bias", "prelu"})},
      {{x, f32({24, 16, 3, 3}), f32({24}), f32({1})},
       conv_attributes(one, same, one, 1, {"bias", "prelu"})},
      {{x, f32({24, 16, 1, 1}), f32({24}), y},
       conv_attributes(one, {0, 0, 0, 0}, one, 1, {"bias", "add", "relu"})},
      {{x, f32({24, 16, 1, 1}), y}, conv_attributes(one, {0, 0, 0, 0}, one, 1, {"sigmoid", "mul"})},
      {{x, f32({24, 16, 1, 1}), f32({24}), y, f32({24})},
       conv_attributes(one, {0, 0, 0, 0}, one, 1, {"bias", "add", "prelu"})},
  };
}

std::vector<Sample> linear_samples() {
  return {{{f32({3, 20}), f32({12, 20})}, {}},
          {{f32({2, 5, 20}), f32({12, 20})}, {}},
          {{f32({3, 20}), f32({12, 20}), f32({12})}, {{"epilogue", Strings{"bias"}}}},
          {{f32({3, 20}), f32({12, 20}), f32({12}), f32({12})},
           {{"epilogue", Strings{"bias", "prelu"}}}},
          {{f32({3, 20}), f32({12, 20}), f32({1})}, {{"epilogue", Strings{"prelu"}}}},
          {{f32({3, 20}), f32({12, 20}), f32({12}), f32({3, 12})},
           {{"epilogue", Strings{"bias", "add", "relu"}}}},
          {{f32({3, 20}), f32({12, 20})}, {{"epilogue", Strings{"sigmoid"}}}}};
}

std::vector<Sample> matmul_samples() {
  return {{{f32({4, 6}), f32({6, 5})}, {}},
          {{f32({2, 4, 6}), f32({2, 6, 5})}, {}},
          {{f32({2, 3, 4, 6}), f32({1, 3, 5, 6})}, {{"transpose_b", true}}},
          {{f32({2, 6, 4}), f32({6, 5})}, {{"transpose_a", true}}},
          {{f32({2, 6, 4}), f32({2, 5, 6})}, {{"transpose_a", true}, {"transpose_b", true}}}};
}

}  // namespace

std::vector<OpDef> compute_ops() {
  std::vector<OpDef> list;
  list.push_back(OpDef{
      .name = "conv",
      .doc = "Cross-correlation of x [N, C, H, W] with weight [O, C/groups, kh, kw], then the "
             "epilogue on f32 accumulators. pads = [top, left, bottom, right].",
      .signature = Signature({"x", "weight", "extras..."}, {"y"}),
      .attributes = {{"strides", Ints{1, 1}},
                     {"pads", Ints{0, 0, 0, 0}},
                     {"dilations", Ints{1, 1}},
                     {"groups", std::int64_t{1}},
                     {"epilogue", Strings{}}},
      .infer = infer_conv,
      .gradient = Gradient::rule(conv_gradient),
      .layout = LayoutRole::compute,
      .aliasing = Aliasing::fresh,
      .precision = PrecisionPolicy::low,
      .decomposition = Decomposition::rule(decompose_conv),
      .cost = Cost::compute(conv_flops),
      .onnx = OnnxMapping::op("Conv", 1),
      .samples = Samples::cases(conv_samples)});
  list.push_back(conv_branches_op());
  list.push_back(conv_transpose_op());
  list.push_back(OpDef{.name = "linear",
                       .doc = "x [..., in] times weight [out, in] transposed, then the epilogue.",
                       .signature = Signature({"x", "weight", "extras..."}, {"y"}),
                       .attributes = {{"epilogue", Strings{}}},
                       .infer = infer_linear,
                       .gradient = Gradient::rule(linear_gradient),
                       .layout = LayoutRole::compute,
                       .aliasing = Aliasing::fresh,
                       .precision = PrecisionPolicy::low,
                       .decomposition = Decomposition::rule(decompose_linear),
                       .cost = Cost::compute(linear_flops),
                       .onnx = OnnxMapping::op("Gemm", 7),
                       .samples = Samples::cases(linear_samples)});
  list.push_back(OpDef{.name = "matmul",
                       .doc = "[..., m, k] x [..., k, n]; leading axes broadcast; a transposed "
                              "operand swaps its last two axes first.",
                       .signature = Signature({"a", "b"}, {"y"}),
                       .attributes = {{"transpose_a", false},
                                      {"transpose_b", false},
                                      // Stays f32 where the program is bf16: scaled cosines, say.
                                      {"full_precision", false}},
                       .infer = infer_matmul,
                       .gradient = Gradient::rule(matmul_gradient),
                       .layout = LayoutRole::plain,
                       .aliasing = Aliasing::fresh,
                       .precision = PrecisionPolicy::low,
                       .decomposition = Decomposition::primitive(),
                       .cost = Cost::compute(matmul_flops),
                       .onnx = OnnxMapping::op("MatMul", 1),
                       .samples = Samples::cases(matmul_samples)});
  return list;
}

}  // namespace ops
}  // namespace facet
