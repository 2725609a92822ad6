#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"

// Batch normalisation in training: statistics of the batch, and the gradient through them.

namespace facet::ops {
namespace {

/// Operands first.. must be f32 [C] for x [N, C, ...].
void require_channels(const InferContext& context, const Type& x, std::size_t first) {
  require_floats(context);
  if (x.rank() < 2) throw usage_error("batch normalisation takes x [N, C, ...]");
  for (std::size_t i = first; i < context.operands.size(); ++i) {
    if (context.operand(i).shape == Shape{x.shape[1]}) continue;
    throw usage_error(fmt::format("batch normalisation over {} channels got an operand of shape {}",
                                  to_string(x.shape[1]), to_string(context.operand(i).shape)));
  }
}

std::vector<Type> infer_train(const InferContext& context) {
  const Type& x = context.operand(0);
  require_channels(context, x, 1);
  const Type channels = f32({x.shape[1]});
  return {x, channels, channels, channels, channels};
}

std::vector<Type> infer_bwd(const InferContext& context) {
  const Type& dy = context.operand(0);
  const Type& x = context.operand(1);
  if (!(dy.shape == x.shape)) {
    throw usage_error(fmt::format("the cotangent {} does not fit x {}", to_string(dy), to_string(x)));
  }
  require_channels(context, x, 2);
  const Type channels = f32({x.shape[1]});
  return {dy, channels, channels};
}

double five_per_element(const Node& node) { return 5 * operand_elements(node); }

std::vector<Sample> train_samples() {
  const Type c = f32({6});
  return {{{f32({2, 6, 4, 3}), c, c, c, c}, {}, 0.1, 1.5},
          {{f32({2, 16, 9, 7}), f32({16}), f32({16}), f32({16}), f32({16})}, {{"momentum", 0.3}}},
          {{f32({5, 6}), c, c, c, c}, {{"epsilon", 1e-3}}}};
}
std::vector<Sample> bwd_samples() {
  const Type c = f32({6});
  const Type x = f32({2, 6, 4, 3});
  const Type wide = f32({2, 16, 9, 7});
  return {{{x, x, c, c, c}, {}, 0.1, 1.5},
          {{wide, wide, f32({16}), f32({16}), f32({16})}, {}},
          {{f32({5, 6}), f32({5, 6}), c, c, c}, {}}};
}

}  // namespace

std::vector<OpDef> normalization_ops() {
  std::vector<OpDef> list;
  list.push_back(OpDef{
      .name = "batch_norm_train",
      .doc = "(x - mean) * inv_std * scale + bias over axis 1 with the batch's mean and biased "
             "variance; running statistics move by `momentum` towards the mean and the unbiased "
             "variance. Statistics are f32.",
      .signature = Signature({"x", "scale", "bias", "running_mean", "running_var"},
                             {"y", "mean", "inv_std", "new_running_mean", "new_running_var"}),
      .attributes = {{"epsilon", 1e-5}, {"momentum", 0.1}},
      .infer = infer_train,
      .gradient = Gradient::rule(batch_norm_train_gradient),
      .layout = LayoutRole::follow,
      .aliasing = Aliasing::in_place,
      .precision = PrecisionPolicy::follow,
      .decomposition = Decomposition::primitive(),
      .cost = Cost::memory(five_per_element),
      .onnx = OnnxMapping::none("training steps are not exported"),
      .samples = Samples::cases(train_samples)});
  list.push_back(OpDef{
      .name = "batch_norm_bwd",
      .doc = "The gradient of batch_norm_train: dbias = sum(dy), dscale = sum(dy * xhat), dx = scale * "
             "inv_std * (dy - mean(dy) - xhat * mean(dy * xhat)), xhat = (x - mean) * inv_std.",
      .signature = Signature({"dy", "x", "scale", "mean", "inv_std"}, {"dx", "dscale", "dbias"}),
      .attributes = {},
      .infer = infer_bwd,
      .gradient = Gradient::none("second derivatives are not supported"),
      .layout = LayoutRole::follow,
      .aliasing = Aliasing::in_place,
      .precision = PrecisionPolicy::follow,
      .decomposition = Decomposition::primitive(),
      .cost = Cost::memory(five_per_element),
      .onnx = OnnxMapping::none("training steps are not exported"),
      .samples = Samples::cases(bwd_samples)});
  return list;
}

}  // namespace facet::ops
