#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// Which normalisation weight at the middle or end of each residual starts at zero, so that a fresh
/// block is its shortcut.
enum class ZeroInit {
  none,
  bn2,  ///< the middle one, as published code does when asked
  bn3   ///< the last one, which silences the residual
};

struct IResNetOptions {
  std::int64_t depth = 100;  ///< 18, 34, 50, 100 or 200
  std::int64_t embedding_size = 512;
  ZeroInit zero_init_residual = ZeroInit::none;
  /// MLA only. true: one BN normalises side branch, trunk and their sum, as published code does, so
  /// its running statistics are a mix of three. false: `bn_side`, `bn_trunk` and `bn2`.
  bool shared_bn = true;
  /// MLA only. See PatchAttentionOptions::clamp.
  bool clamp = true;
};

/// The improved ResNet of ArcFace (Deng et al., "ArcFace: Additive Angular Margin Loss for Deep
/// Face Recognition", 2019).
///
/// input [N, 3, 112, 112] -> embedding [N, embedding_size], not normalised.
/// Throws Error(usage) for an unknown depth.
Graph arcface_iresnet(const IResNetOptions& options = {});

/// MLA-ArcFace: the same network with channel and spatial attention in every block, a ReLU after
/// every block, and a side branch that attends over 16x16 patches of the image. With bn = bn2:
///
///   f = bn(bn(layer4) + gamma * bn(side branch))
///
/// Shapes and errors as `arcface_iresnet`.
Graph mla_iresnet(const IResNetOptions& options = {});

}  // namespace facet::zoo
