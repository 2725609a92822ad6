#pragma once

#include <optional>

#include "ir/dsl.h"

namespace facet::zoo {

/// Layer normalisation over the last axis (Ba et al., "Layer Normalization", 2016):
/// (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * weight + bias.
///
/// x [..., C] -> [..., C]. Parameters: `weight`, `bias` [C].
Tensor layer_norm(Scope scope, Tensor x, double epsilon = 1e-6);

/// Multi-head self-attention (Vaswani et al., "Attention Is All You Need", 2017). With
/// [q, k, v] = qkv(x) in `heads` heads of d = C / heads channels each,
///
///   y = proj(concat over heads of softmax_j(q[i] . k[j] / sqrt(d) + mask[i, j]) v[j])
///
/// x [N, K, C] -> [N, K, C]; K must be fixed. `mask` broadcasts to [N, heads, K, K]; it is added,
/// so a large negative number hides a key. Parameters: `qkv.{weight,bias}`, rows ordered q, k, v,
/// then head; `proj.{weight,bias}`. Throws Error(usage) when C does not divide into heads.
Tensor multi_head_attention(Scope scope, Tensor x, std::int64_t heads,
                            std::optional<Tensor> mask = std::nullopt);

struct TransformerOptions {
  std::int64_t heads = 8;
  std::int64_t mlp_ratio = 4;  ///< hidden width of the MLP over C
  double epsilon = 1e-6;       ///< of the normalisations
};

/// The block of a vision transformer (Dosovitskiy et al., "An Image Is Worth 16x16 Words", 2021),
/// normalisation first:
///
///   x = x + attn(norm1(x));  y = x + mlp.fc2(gelu(mlp.fc1(norm2(x))))
///
/// x [N, K, C] -> [N, K, C]. Parameters: `norm1`, `attn.{qkv,proj}`, `norm2`, `mlp.{fc1,fc2}`.
Tensor transformer_block(Scope scope, Tensor x, const TransformerOptions& options = {});

}  // namespace facet::zoo
