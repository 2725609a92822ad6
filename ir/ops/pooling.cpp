#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"

namespace facet::ops {
namespace {

std::vector<Type> infer_pool(const InferContext& context) {
  const Type& x = context.operand(0);
  const Ints& kernel = context.attributes.ints("kernel");
  const Ints& strides = context.attributes.ints("strides");
  const Ints& pads = context.attributes.ints("pads");
  if (x.rank() != 4 || kernel.size() != 2 || strides.size() != 2 || pads.size() != 4) {
    throw usage_error("pooling takes x [N, C, H, W], 2 kernel extents, 2 strides and 4 pads");
  }
  Type result = x;
  for (std::size_t i = 0; i < 2; ++i) {
    const Dim& extent = x.shape[i + 2];
    if (!extent.is_static()) throw usage_error("a spatial extent cannot be symbolic");
    require_extent("extent of the image", extent.factor, 0);
    require_extent("kernel", kernel[i], 1);
    require_extent("stride", strides[i], 1);
    for (const std::int64_t pad : {pads[i], pads[i + 2]}) {
      require_extent("padding", pad, 0);
      if (pad >= kernel[i]) throw usage_error("pooling takes pads smaller than the kernel");
    }
    const std::int64_t span = extent.factor + pads[i] + pads[i + 2] - kernel[i];
    if (span < 0) {
      throw usage_error(fmt::format("a {}-wide pooling window does not fit into {}", kernel[i],
                                    to_string(x)));
    }
    result.shape[i + 2] = span / strides[i] + 1;
  }
  return {result};
}

double window_flops(const Node& node) {
  const Ints& kernel = node.attributes().ints("kernel");
  return result_elements(node) * static_cast<double>(kernel[0] * kernel[1]);
}

std::vector<Sample> pool_samples() {
  const Type x = f32({2, 16, 9, 7});
  const auto attributes = [](Ints kernel, Ints strides, Ints pads) {
    return Attributes{{"kernel", std::move(kernel)},
                      {"strides", std::move(strides)},
                      {"pads", std::move(pads)}};
  };
  return {{{x}, attributes({2, 2}, {2, 2}, {0, 0, 0, 0})},
          {{x}, attributes({3, 3}, {2, 2}, {0, 0, 0, 0})},
          {{x}, attributes({3, 3}, {2, 2}, {1, 1, 1, 1})},
          {{f32({1, 5, 7, 7})}, attributes({7, 7}, {1, 1}, {0, 0, 0, 0})},
          {{x}, attributes({3, 2}, {1, 2}, {1, 0, 0, 1})}};
}

OpDef pooling(std::string_view name, std::string_view doc, Gradient::Rule gradient,
              std::string_view onnx) {
  return OpDef{
      .name = name,
      .doc = doc,
      .signature = Signature({"x"}, {"y"}),
      .attributes = {{"kernel", Ints{2, 2}}, {"strides", Ints{2, 2}}, {"pads", Ints{0, 0, 0, 0}}},
      .infer = infer_pool,
      .gradient = Gradient::rule(gradient),
      .layout = LayoutRole::axis_aware,
      .aliasing = Aliasing::fresh,
      .precision = PrecisionPolicy::follow,
      .decomposition = Decomposition::primitive(),
      .cost = Cost::memory(window_flops),
      .onnx = OnnxMapping::op(onnx, 7),
      .samples = Samples::cases(pool_samples)};
}

}  // namespace

std::vector<OpDef> pooling_ops() {
  std::vector<OpDef> list;
  list.push_back(pooling("max_pool",
                         "Largest element of each window; padding never wins; the last "
                         "partial window is dropped (floor mode).",
                         max_pool_gradient, "MaxPool"));
  list.push_back(pooling("avg_pool", "Mean of each window; padding counts as zeros.",
                         avg_pool_gradient, "AveragePool"));
  return list;
}

}  // namespace facet::ops
