#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

struct LsCnnOptions {
  std::int64_t num_classes = 10559;
  std::int64_t growth = 48;  ///< channels each dense layer adds
  Ints layers = {3, 3, 5};   ///< dense layers of the three blocks
  /// Height and width of the image, pixels. 127 to 142: the last map must be 7x7.
  std::int64_t input_size = 128;
};

/// LS-CNN (Wang and Guo, "LS-CNN: Characterizing Local Patches at Multiple Scales for Face
/// Recognition", IEEE TIFS 15, 2020) with the widths of the published code: a stem of four
/// convolutions, three dense blocks with dual face attention, a 512-d embedding.
///
/// input [N, 3, S, S] -> embedding [N, 512], logits [N, num_classes].
/// Throws Error(usage) when options are out of range.
Graph lscnn(const LsCnnOptions& options = {});

}  // namespace facet::zoo
