#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "backends/cuda/kernels/attention_places.h"
#include "backends/cuda/kernels/kernel_source.h"
#include "backends/cuda/kernels/parameters.h"
#include "ir/sdpa.h"

/// The kernels of attention's gradient, one for each side of the scores: 16 of a side's tokens, a
/// block's own, meet all others, a stretch of them after the other.
namespace facet::cuda {

/// Sums over the tokens of blocks, in scratch, of which the last kernel makes a table's gradient:
/// tiles of 16 places and 8 channels, four numbers a lane.
struct TableSums {
  PlaceTable table;
  int term = -1;               ///< of score_scale; -1 for none
  std::int64_t scratch = 0;    ///< of block 0
  std::int64_t size = 0;       ///< floats of a block
  std::int64_t row_first = 0;  ///< the row of place 0 is row_first + row_step * tile
  std::int64_t row_step = 0;
};

/// Blocks are numbered slice by slice, head by head, tile by tile.
struct SideSums {
  std::int64_t tiles = 0;  ///< of 16 own tokens
  std::vector<TableSums> tables;
  std::int64_t scales = -1;      ///< the sums for score_scale [blocks, terms here]
  std::vector<int> scale_terms;  ///< terms whose sums these are
};

/// What both sides share.
struct GradientPlan {
  std::int64_t images = 0;
  /// Of four warps, in a block; each has an image of its own, and what is summed over images is
  /// added up before it goes to memory.
  std::int64_t teams = 1;
  std::int64_t shared_bytes = 0;  ///< that a block may take
  std::int64_t slices = 0;        ///< blocks that share the images of one head and its own tokens
  std::int64_t logarithms = 0;    ///< in scratch [images, heads, queries]
  std::int64_t dots = 0;          ///< as these
  std::int64_t bias_slots = 0;    ///< images, or slices, that have sums of their own
  std::int64_t bias_sums = 0;     ///< in scratch [slots, heads, queries, keys]
};

/// Operand numbers of `gradient.sdpa` are those of the sdpa_bwd here.
///
/// Writes the kernel of one side, and takes the scratch memory that its sums need.
KernelSource attention_gradient_side(const SdpaBwd& gradient, std::span<const View> operands,
                                     std::span<const View> results, const GradientPlan& plan,
                                     AttentionSide side, Scratch& scratch, SideSums& sums);

/// Writes the kernel that adds up what both left. Its blocks may be none.
KernelSource attention_gradient_sums(const SdpaBwd& gradient, std::span<const View> operands,
                                     std::span<const View> results, const GradientPlan& plan,
                                     std::span<const SideSums> sides);

}  // namespace facet::cuda
