#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"
#include "backends/cuda/kernels/parameters.h"
#include "ir/gate.h"

/// How gates pass over their map: shared by the files of the gate kernels alone.
namespace facet::cuda {

/// A map [N, C, H, W] with its channels last.
struct GateMap {
  std::string_view type;
  std::int64_t size = 0;              ///< bytes of an element
  std::int64_t image = 0, pixel = 0;  ///< strides
};

/// What one pass over the map reads and makes.
struct GatePass {
  bool is_scaled = false;   ///< the channels' gate is there and counts
  bool is_mapped = false;   ///< so is that of the pixels or the window, or of both
  bool pixels = false;      ///< computes the gate of the pixels
  bool statistics = false;  ///< mean and maximum over the channels
  bool sums = false;        ///< parts of the sums (and maxima) over the pixels
  bool writes = false;
};

/// What all kernels of one gate share.
struct GateScheme {
  /// Throws Error(failure) for maps whose channels are not last, for weights with gaps, and for
  /// 2^31 elements or more. `operands` must live on.
  GateScheme(const Node& node, std::span<const View> operands, const View& result);

  std::string_view type_of(int operand) const;
  /// Whether a lane can sum its channels while it computes the gate of the pixels.
  bool sums_fit() const;
  /// Into how many parts an image is cut.
  std::int64_t parts_of(const GatePass& pass) const;
  std::int64_t chunk_of(const GatePass& pass) const;  ///< pixels of a part
  std::int64_t steps() const;                         ///< of a warp along the channels
  std::int64_t steps_of(const GatePass& pass) const;  ///< of them those of one block
  std::int64_t hidden_rows() const;                   ///< of the pixels, padded
  std::int64_t weight_stride() const;                 ///< of such a row in shared memory
  bool shares_weights() const;                        ///< whether they fit there

  Gate gate;
  std::span<const View> operands;
  GateMap x, y, residual;
  std::int64_t images = 0;
  std::int64_t vector = 1;  ///< channels that a lane moves at once
  Scratch scratch;
  /// Places in the scratch memory: [images, parts, C] twice, [images, C], [images, pixels],
  /// [images, 2, pixels].
  std::int64_t sums = 0, peaks = 0, scale = 0, map = 0, statistics = 0;
};

KernelSource gate_pass_kernel(const GateScheme& scheme, const GatePass& pass);

}  // namespace facet::cuda
