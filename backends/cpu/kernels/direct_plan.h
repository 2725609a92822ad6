#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backends/cpu/kernels/direct_tiles.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/vector.h"

namespace facet::cpu {

inline std::int64_t rounded_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// An NHWC image in memory: pixel i of all images in order is `pitch` elements behind pixel i - 1.
struct PixelRows {
  std::int64_t pitch = 0;
  Float type = Float::f32;
};

/// The image's rows, or none where pixels are not one distance apart or channels not contiguous.
std::optional<PixelRows> pixel_rows(const View& view);
/// Whether elements lie in the order of the axes, without gaps.
bool is_row_major(const View& view);
/// Tiles for f32 or bf16. Null where the machine lacks the instructions, or has faster ones that
/// oneDNN uses.
const DirectTiles* direct_tiles_for(DType dtype);

/// A channel range of the convolution that is a result of its own.
struct DirectResult {
  std::int64_t first = 0, last = 0;  ///< channels [first, last)
  PixelRows rows;
};

/// An epilogue entry: `function` of the sums and, where it reads one, of an operand.
struct DirectEntry {
  Function function = Function::relu;
  int operand = -1;
  bool per_channel = false;  ///< one row of f32 for all pixels
  bool scalar = false;       ///< one f32
  PixelRows rows;            ///< otherwise
};

/// A convolution with everything resolved but the addresses.
struct DirectPlan {
  const DirectTiles* tiles = nullptr;
  std::int64_t images = 0, height = 0, width = 0, channels = 0;  ///< of x
  std::int64_t out_height = 0, out_width = 0, out_channels = 0;
  std::int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1}, pad[2] = {0, 0};
  PixelRows x;
  bool trained_weights = false;  ///< they change from run to run
  bool row_weights = false;      ///< they are row-major (Winograd's algorithm only)
  bool transformed_weights = false;  ///< they are as that algorithm multiplies them
  int vectors = 1;               ///< of 16 channels in a block of the weights
  int bias = -1;                 ///< operand number
  std::vector<DirectEntry> entries;
  std::vector<DirectResult> results;
  /// Epilogue and rounding happen in the registers; no vector has channels of two results.
  bool stores_directly = false;

  /// Weights that stay in the second-level cache beside everything else are read again for every
  /// tile; larger ones are cut into chunks, and each chunk serves a group of tiles.
  bool chunked = false;
  std::int64_t chunk_taps = 0, chunk_channels = 0;
  std::int64_t group_pixels = 0;

  std::int64_t taps() const { return kernel[0] * kernel[1]; }
  std::int64_t pixels() const { return images * out_height * out_width; }
  std::int64_t lanes() const { return vectors * kDirectLanes; }
  std::int64_t blocks() const { return (out_channels + lanes() - 1) / lanes(); }
  std::int64_t element() const { return x.type == Float::f32 ? 4 : 2; }
  /// Whether result pixel i is input pixel i through the weights.
  bool is_pointwise() const {
    return taps() == 1 && stride[0] == 1 && stride[1] == 1 && pad[0] == 0 && pad[1] == 0 &&
           height == out_height && width == out_width;
  }

  std::string implementation() const { return std::string("direct:") + tiles->name; }
  std::size_t scratch_bytes() const;
  void run(const Addresses& addresses) const;
};

/// Vectors of 16 channels in a block: three where they divide the channels, since a tile of three
/// reads the fewest weights, then whatever wastes least of the last block.
int direct_vectors(const DirectTiles& tiles, std::int64_t out_channels);

/// Decides how the work is cut: vectors must be set.
void cut_direct(DirectPlan& plan);

}  // namespace facet::cpu
