#include "zoo/blocks/transformer_block.h"

#include <fmt/format.h>

#include <cmath>

#include "ir/error.h"
#include "zoo/blocks/activations.h"

namespace facet::zoo {

Tensor layer_norm(Scope scope, Tensor x, double epsilon) {
  const auto part = [&](std::string_view name, double value, ParameterRole role) {
    return scope.parameter(name, {x.extent(-1)}, {Initializer::Kind::constant, value, 0}, role);
  };
  const Tensor weight = part("weight", 1, ParameterRole::bn_weight);
  const Tensor bias = part("bias", 0, ParameterRole::bn_bias);
  const Tensor centred = x - mean(x, {-1});
  const Tensor y = centred * rsqrt(mean(square(centred), {-1}) + epsilon);
  return scope.output(y * weight + bias);
}

Tensor multi_head_attention(Scope scope, Tensor x, std::int64_t heads, std::optional<Tensor> mask) {
  const std::int64_t tokens = x.extent(1);
  const std::int64_t channels = x.extent(2);
  if (heads < 1 || channels % heads != 0) {
    throw usage_error(fmt::format("attention '{}': {} channels do not divide into {} heads",
                                  scope.path(), channels, heads));
  }
  const std::int64_t width = channels / heads;
  Tensor qkv = scope.linear("qkv", x, {.out = 3 * channels});
  qkv = transpose(reshape(qkv, {0, tokens, 3, heads, width}), {2, 0, 3, 1, 4});
  const auto part = [&](std::int64_t i) {
    return reshape(slice(qkv, 0, i, i + 1), {-1, heads, tokens, width});
  };
  Tensor scores = matmul_transposed(part(0), false, part(1), true);
  scores = scores * (1 / std::sqrt(static_cast<double>(width)));
  if (mask) scores = scores + *mask;
  const Tensor y = transpose(matmul(softmax(scores, -1), part(2)), {0, 2, 1, 3});
  return scope.output(scope.linear("proj", reshape(y, {0, tokens, channels}), {.out = channels}));
}

Tensor transformer_block(Scope scope, Tensor x, const TransformerOptions& options) {
  const std::int64_t channels = x.extent(2);
  Tensor y = layer_norm(scope / "norm1", x, options.epsilon);
  x = x + multi_head_attention(scope / "attn", y, options.heads);
  y = layer_norm(scope / "norm2", x, options.epsilon);
  const Scope mlp = scope / "mlp";
  y = gelu(mlp.linear("fc1", y, {.out = options.mlp_ratio * channels}));
  return scope.output(x + mlp.output(mlp.linear("fc2", y, {.out = channels})));
}

}  // namespace facet::zoo
