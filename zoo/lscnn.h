#pragma once

#include <string>

#include "ir/dsl.h"

namespace facet::zoo {

struct LsCnnOptions {
  std::string name = "lscnn";
  std::int64_t num_classes = 10559;
  std::int64_t growth = 48;  ///< channels each dense layer adds
  Ints layers = {3, 3, 5};   ///< dense layers of the blocks; three, or two in the small network
  /// Height and width of the image, pixels. 127 to 142: the last map must be 7x7.
  std::int64_t input_size = 128;
  std::int64_t stem = 48;  ///< channels of the first two convolutions; the next have twice
  std::int64_t embedding_size = 512;
  /// 0: the published network. Otherwise the small one for small images, and the stride of its
  /// first convolution: two dense blocks, no pool behind the stem's last convolutions, any image
  /// that leaves the second block a map.
  std::int64_t small_stride = 0;
};

/// LS-CNN (Wang and Guo, "LS-CNN: Characterizing Local Patches at Multiple Scales for Face
/// Recognition", IEEE TIFS 15, 2020) with the widths of the published code: a stem of four
/// convolutions, three dense blocks with dual face attention, a 512-d embedding.
///
/// input [N, 3, S, S] -> embedding [N, embedding_size], logits [N, num_classes].
/// Throws Error(usage) when options are out of range.
Graph lscnn(const LsCnnOptions& options = {});

}  // namespace facet::zoo
