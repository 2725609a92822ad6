#pragma once

#include "ir/dsl.h"
#include "zoo/blocks/lesa_layer.h"
#include "zoo/blocks/resnet_stem.h"

namespace facet::zoo {

/// Options of `lesa_resnet`. The lists have an entry for each of the stages.
struct LesaResNetOptions {
  std::string name = "lesa_resnet50";
  std::size_t stages = 4;
  ResNetStem stem = {};  ///< its width is the planes of the first stage
  std::int64_t base_width =
      64;  ///< 64, or 128 for the wide network; inner width planes * base / 64
  std::int64_t num_classes = 1000;
  std::int64_t input_size = 224;        ///< height and width of the image, pixels
  Ints layers = {3, 4, 6, 3};           ///< blocks of the stages
  Ints strides = {1, 2, 2, 1};          ///< of the first block of the stages
  bool lesa = true;                     ///< false: a plain ResNet with these strides
  Ints stage_with_lesa = {0, 0, 1, 1};  ///< 1: the stage's 3x3 convolutions become LESA layers
  Ints stage_with_first_conv = {1, 1, 1, 0};  ///< 1: but not in the stage's first block
  Ints stage_spatial_res = {56, 28, 14, 14};  ///< side of the stages' results, for the tables
  LesaOptions layer = {};                     ///< of every LESA layer; the stride is the block's
  bool embedding = false;  ///< the classifier's input is an output too, `embedding`
};

/// ResNet with LESA layers (Yang et al., "Locally Enhanced Self-Attention", 2021) and bottleneck
/// blocks with the stride on the 3x3 convolution. A LESA layer stands for that
/// convolution and its batch norm. With the default strides both late stages see maps of 14x14.
///
/// input [N, 3, S, S] -> logits [N, num_classes].
/// Throws Error(usage) when options are out of range or a stage's maps have another side than
/// `stage_spatial_res` says.
Graph lesa_resnet(const LesaResNetOptions& options = {});

}  // namespace facet::zoo
