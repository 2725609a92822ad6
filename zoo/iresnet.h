#pragma once

#include <string>

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
  std::string name = {};     ///< of the graph; empty: family and depth
  std::int64_t depth = 100;  ///< 18, 34, 50, 100 or 200
  Ints blocks = {};          ///< of the stages, any number of them; empty: the four that depth says
  std::int64_t width = 64;   ///< channels of the first stage; every other one doubles them
  std::int64_t input_size = 112;  ///< height and width of the image, pixels
  std::int64_t stem_stride = 1;   ///< of the first convolution
  std::int64_t embedding_size = 512;
  std::int64_t num_classes = 0;  ///< of a linear classifier on the embedding, `logits`; 0: none
  ZeroInit zero_init_residual = ZeroInit::none;
  /// MLA only. true: one BN normalises side branch, trunk and their sum, as published code does, so
  /// its running statistics are a mix of three. false: `bn_side`, `bn_trunk` and `bn2`.
  bool shared_bn = true;
  /// MLA only. See PatchAttentionOptions::clamp.
  bool clamp = true;
  /// MLA only. Side of the side branch's patches, pixels: there must be as many as places in the
  /// trunk's last map.
  std::int64_t patch = 16;
};

/// The improved ResNet of ArcFace (Deng et al., "ArcFace: Additive Angular Margin Loss for Deep
/// Face Recognition", 2019).
///
/// input [N, 3, S, S] -> embedding [N, embedding_size], not normalised, and logits [N, num_classes]
/// if there are classes. Throws Error(usage) for an unknown depth or a stage without blocks.
Graph arcface_iresnet(const IResNetOptions& options = {});

/// MLA-ArcFace: the same network with channel and spatial attention in every block, a ReLU after
/// every block, and a side branch that attends over patches of the image. With bn = bn2:
///
///   f = bn(bn(last layer) + gamma * bn(side branch))
///
/// Shapes and errors as `arcface_iresnet`.
Graph mla_iresnet(const IResNetOptions& options = {});

}  // namespace facet::zoo
