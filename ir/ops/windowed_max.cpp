#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"
#include "ir/ops/window.h"

// Maxima of dilated windows, and where maxima stand. Undilated windows on images have `max_pool`.

namespace facet::ops {
namespace {

/// Extents behind the window of x [N, C, spatial...].
Shape pooled_shape(const InferContext& context, const Type& x) {
  const Ints& kernel = context.attributes.ints("kernel");
  if (x.shape.size() != kernel.size() + 2 || (kernel.size() != 2 && kernel.size() != 3)) {
    throw usage_error(
        fmt::format("'{}' takes a window of two or three extents on x [N, C, "
                    "spatial...], not {} on {}",
                    context.op.name, kernel.size(), to_string(x)));
  }
  const Sliding window(context, kernel.size());
  Shape result{x.shape[0], x.shape[1]};
  for (std::size_t i = 0; i < kernel.size(); ++i) {
    const Dim count = window.places(i, x.shape[i + 2], kernel[i]);
    for (const std::int64_t pad : {window.pads[i], window.pads[i + kernel.size()]}) {
      if (pad >= window.span(i, kernel[i])) {
        throw usage_error("pooling takes pads smaller than the window");
      }
    }
    result.push_back(count);
  }
  return result;
}

std::vector<Type> infer_max(const InferContext& context) {
  const Type& x = context.operand(0);
  return {Type{x.dtype, pooled_shape(context, x), {}}};
}

std::vector<Type> infer_bwd(const InferContext& context) {
  const Type& dy = context.operand(0);
  const Type& x = context.operand(1);
  const Shape y = pooled_shape(context, x);
  if (!(dy.shape == y)) {
    throw usage_error(
        fmt::format("the cotangent {} does not fit the maxima {}", to_string(dy), to_string(y)));
  }
  return {Type{dy.dtype, x.shape, {}}};
}

std::vector<Type> infer_indices(const InferContext& context) {
  return {Type{DType::i64, pooled_shape(context, context.operand(0)), {}}};
}

Values dilated_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("max_pool_dilated_bwd", {cotangents[0], node.operand(0)}, node.attributes())};
}

double window_flops(const Node& node) {
  double taps = 1;
  for (const std::int64_t extent : node.attributes().ints("kernel")) {
    taps *= static_cast<double>(extent);
  }
  return result_elements(node) * taps;
}

struct Case {
  Shape x, y;
  Attributes attributes;
};

std::vector<Case> cases() {
  const auto window = [](Ints kernel, Ints strides, Ints pads, Ints dilations) {
    return Attributes{{"kernel", std::move(kernel)},
                      {"strides", std::move(strides)},
                      {"pads", std::move(pads)},
                      {"dilations", std::move(dilations)}};
  };
  return {{{2, 3, 9, 7}, {2, 3, 7, 5}, window({2, 2}, {1, 1}, {0, 0, 0, 0}, {2, 2})},
          {{2, 3, 9, 7}, {2, 3, 4, 6}, window({3, 2}, {2, 1}, {1, 1, 1, 1}, {2, 3})},
          {{1, 2, 5, 4, 6},
           {1, 2, 3, 2, 2},
           window({2, 2, 3}, {1, 1, 1}, {0, 0, 0, 0, 0, 0}, {2, 2, 2})}};
}

std::vector<Sample> max_samples() {
  std::vector<Sample> samples;
  for (const Case& c : cases()) samples.push_back({{f32(c.x)}, c.attributes});
  return samples;
}
std::vector<Sample> bwd_samples() {
  std::vector<Sample> samples;
  for (const Case& c : cases()) samples.push_back({{f32(c.y), f32(c.x)}, c.attributes});
  return samples;
}
std::vector<Sample> indices_samples() {
  std::vector<Sample> samples = max_samples();
  samples.push_back(samples[1]);
  samples.back().attributes.set("column_major", true);
  return samples;
}

OpDef pooling(std::string_view name, std::string_view doc, Signature signature,
              std::vector<Type> (*infer)(const InferContext&), Gradient gradient, OnnxMapping onnx,
              Samples::Make samples) {
  return OpDef{.name = name,
               .doc = doc,
               .signature = std::move(signature),
               .attributes = {{"kernel", Ints{2, 2}, true},
                              {"strides", Ints{1, 1}},
                              {"pads", Ints{0, 0, 0, 0}},
                              {"dilations", Ints{1, 1}, true}},
               .infer = infer,
               .gradient = gradient,
               .layout = LayoutRole::plain,
               .aliasing = Aliasing::fresh,
               .precision = PrecisionPolicy::follow,
               .decomposition = Decomposition::primitive(),
               .cost = Cost::memory(window_flops),
               .onnx = onnx,
               .samples = Samples::cases(samples)};
}

}  // namespace

std::vector<OpDef> windowed_max_ops() {
  std::vector<OpDef> list;
  list.push_back(
      pooling("max_pool_dilated",
              "Largest element of each window of x [N, C, spatial...], whose taps lie "
              "`dilations` apart; padding never wins, and a window without taps on x gives "
              "-infinity.",
              Signature({"x"}, {"y"}), infer_max, Gradient::rule(dilated_gradient),
              OnnxMapping::op("MaxPool", 10), max_samples));
  list.push_back(pooling("max_pool_dilated_bwd",
                         "dy goes to the first largest element of its window, in row-major order.",
                         Signature({"dy", "x"}, {"dx"}), infer_bwd,
                         Gradient::none("second derivatives are not supported"),
                         OnnxMapping::none("training steps are not exported"), bwd_samples));
  list.push_back(
      pooling("max_pool_indices",
              "Where the first largest element of each window stands among all elements of "
              "x: i64, counted row-major, or with the spatial axes in the opposite order; -1 "
              "without taps on x.",
              Signature({"x"}, {"indices"}), infer_indices, Gradient::none("integer output"),
              OnnxMapping::op("MaxPool", 10), indices_samples));
  list.back().attributes.push_back({"column_major", false});
  return list;
}

}  // namespace facet::ops
