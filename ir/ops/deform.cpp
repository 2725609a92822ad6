#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"
#include "ir/ops/window.h"

// Sampling for deformable convolution (Dai et al., Deformable Convolutional Networks, section 2.1):
// the convolution itself is a pointwise one on the samples.

namespace facet::ops {
namespace {

/// The type of the samples; checks that `offset` fits.
Type sampled(const InferContext& context, const Type& x, const Type& offset) {
  const Ints& kernel = context.attributes.ints("kernel");
  const std::int64_t groups = context.attributes.integer("offset_groups");
  if (x.rank() != 4 || kernel.size() != 2) {
    throw usage_error(fmt::format("'{}' takes x [N, C, H, W] and a window of two extents, not {}",
                                  context.op.name, to_string(x)));
  }
  require_floats(context);
  require_extent("offset groups", groups, 1);
  const Sliding window(context, 2);
  const Dim h = window.places(0, x.shape[2], kernel[0]);
  const Dim w = window.places(1, x.shape[3], kernel[1]);
  const std::int64_t taps = kernel[0] * kernel[1];
  require_extent("taps", taps, 1);
  const Dim& channels = x.shape[1];
  if (!channels.is_static() || channels.factor % groups != 0) {
    throw usage_error(fmt::format("{} channels do not split into {} groups of one offset",
                                  to_string(channels), groups));
  }
  const Shape expected{x.shape[0], 2 * groups * taps, h, w};
  if (!(offset.shape == expected)) {
    throw usage_error(
        fmt::format("the offsets are {} where [N, 2 * groups * kh * kw, H', W'] = {} is "
                    "needed",
                    to_string(offset), to_string(expected)));
  }
  return Type{x.dtype, {x.shape[0], channels.factor * taps, h, w}, {}};
}

std::vector<Type> infer_sample(const InferContext& context) {
  return {sampled(context, context.operand(0), context.operand(1))};
}

std::vector<Type> infer_bwd(const InferContext& context) {
  const Type& dy = context.operand(0);
  const Type y = sampled(context, context.operand(1), context.operand(2));
  if (!(dy.shape == y.shape)) {
    throw usage_error(
        fmt::format("the cotangent {} does not fit the samples {}", to_string(dy), to_string(y)));
  }
  return {Type{dy.dtype, context.operand(1).shape, {}},
          Type{dy.dtype, context.operand(2).shape, {}}};
}

Values sample_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value x = node.operand(0), offset = node.operand(1);
  Node* both = build.node("deform_sample_bwd", {cotangents[0], x, offset}, node.attributes());
  return {cast_like(build, both->result(0), x), cast_like(build, both->result(1), offset)};
}

double sample_flops(const Node& node) { return 8 * result_elements(node); }
double bwd_flops(const Node& node) { return 16 * operand_elements(node); }

struct Case {
  Shape x, offset, y;
  Attributes attributes;
};

std::vector<Case> cases() {
  return {{{2, 4, 5, 6}, {2, 8, 4, 5}, {2, 16, 4, 5}, {{"kernel", Ints{2, 2}}}},
          {{1, 4, 6, 5},
           {1, 24, 3, 3},
           {1, 24, 3, 3},
           {{"kernel", Ints{3, 2}},
            {"strides", Ints{2, 2}},
            {"pads", Ints{1, 1, 1, 1}},
            {"dilations", Ints{1, 2}},
            {"offset_groups", std::int64_t{2}}}}};
}

std::vector<Sample> sample_samples() {
  std::vector<Sample> samples;
  for (const Case& c : cases()) samples.push_back({{f32(c.x), f32(c.offset)}, c.attributes});
  return samples;
}
std::vector<Sample> bwd_samples() {
  std::vector<Sample> samples;
  for (const Case& c : cases()) {
    samples.push_back({{f32(c.y), f32(c.x), f32(c.offset)}, c.attributes});
  }
  return samples;
}

OpDef deform_op(std::string_view name, std::string_view doc, Signature signature,
                std::vector<Type> (*infer)(const InferContext&), Gradient gradient, Cost cost,
                OnnxMapping onnx, Samples::Make samples) {
  return OpDef{.name = name,
               .doc = doc,
               .signature = std::move(signature),
               .attributes = {{"kernel", Ints{}, true},
                              {"strides", Ints{1, 1}},
                              {"pads", Ints{0, 0, 0, 0}},
                              {"dilations", Ints{1, 1}},
                              {"offset_groups", std::int64_t{1}}},
               .infer = infer,
               .gradient = gradient,
               .layout = LayoutRole::plain,
               .aliasing = Aliasing::fresh,
               .precision = PrecisionPolicy::f32,
               .decomposition = Decomposition::primitive(),
               .cost = cost,
               .onnx = onnx,
               .samples = Samples::cases(samples)};
}

}  // namespace

std::vector<OpDef> deform_ops() {
  std::vector<OpDef> list;
  list.push_back(
      deform_op("deform_sample",
                "The elements of x [N, C, H, W] that each window of a convolution would read, "
                "moved by an offset "
                "of their own: y [N, C * kh * kw, H', W'], bilinear, zero outside. offset [N, "
                "groups * kh * kw * "
                "2, H', W'] holds rows, then columns, for each tap of each group of channels.",
                Signature({"x", "offset"}, {"y"}), infer_sample, Gradient::rule(sample_gradient),
                Cost::memory(sample_flops), OnnxMapping::op("DeformConv", 19), sample_samples));
  list.push_back(deform_op("deform_sample_bwd", "The gradients of deform_sample's x and offset.",
                           Signature({"dy", "x", "offset"}, {"dx", "doffset"}), infer_bwd,
                           Gradient::none("second derivatives are not supported"),
                           Cost::memory(bwd_flops),
                           OnnxMapping::none("training steps are not exported"), bwd_samples));
  return list;
}

}  // namespace facet::ops
