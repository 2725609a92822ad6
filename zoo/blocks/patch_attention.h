#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// Options of `patch_attention`.
struct PatchAttentionOptions {
  std::int64_t channels = 512;  ///< width of the tokens and of the result
  std::int64_t patch = 16;      ///< side of the square patches, pixels
  std::int64_t keys = 64;       ///< width of queries and keys
  /// true: energies are clamped to [-1, 1] and not scaled, as published code does; the attention is
  /// then near uniform and has no gradient where clamped. false: energies are divided by
  /// sqrt(keys), as in Vaswani et al., "Attention Is All You Need", 2017.
  bool clamp = true;
};

/// MLA's side branch: self-attention over patches of the image itself. Single head, no residual, no
/// position. With t = conv16x16/16(image), tokens i, j in row-major order, and q, k, v 1x1
/// convolutions of t with bias:
///
///   E[i, j] = sum_c q[c, i] k[c, j];  A = softmax over j of clamp(E, -1, 1)
///   y[c, i] = sum_j v[c, j] A[i, j]
///
/// image [N, 3, H, W] -> [N, channels, H / patch, W / patch].
/// Parameters: `conv1_.weight`, `{query,key,value}_conv.{weight,bias}`.
Tensor patch_attention(Scope scope, Tensor image, const PatchAttentionOptions& options = {});

}  // namespace facet::zoo
