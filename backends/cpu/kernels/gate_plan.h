#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/gate_loops.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "ir/gate.h"

/// The gate kernel: how its work and its scratch memory are cut (gate.cpp makes the plan,
/// gate_run.cpp runs it).
namespace facet::cpu {

/// x, residual or y: how its elements lie.
struct GateView {
  Float type = Float::f32;
  std::int64_t image = 0, channel = 0, row = 0, pixel = 0;  ///< strides, in elements
  /// Channels are contiguous and one stride leads through all pixels: the loops read it as it is.
  bool direct = false;
};

/// A weight as dense f32: where its operand is that already, the operand itself.
struct GateWeight {
  int operand = -1;
  Float type = Float::f32;
  std::vector<std::int64_t> extents, strides;
  bool dense = false;
  std::int64_t place = 0;  ///< of the copy in the scratch memory, in floats
};

/// Pieces of the scratch memory of one thread, in floats. Threads that share an image use the
/// pieces marked so of the first of them.
struct GateSlot {
  std::int64_t scale = 0;     ///< [channels]
  std::int64_t mean = 0;      ///< [channels]
  std::int64_t max = 0;       ///< [channels], with pooling of the maximum
  std::int64_t hidden = 0;    ///< of the stage channels
  std::int64_t packed = 0;    ///< weights of the stage pixels
  std::int64_t pixel_b1 = 0;  ///< padded
  std::int64_t pixel_w2 = 0;  ///< padded
  std::int64_t map = 0;       ///< shared: [pixels]
  std::int64_t sums = 0;      ///< shared: [parts, channels]
  std::int64_t maxima = 0;    ///< shared: [parts, channels], with pooling of the maximum
  std::int64_t maps = 0;      ///< shared: of the stage window
  std::int64_t staged = 0;    ///< shared: x in f32 [pixels, channels], unless it is read as it is
  std::int64_t floats = 0;
};

struct GatePlan {
  Gate gate;
  const GateLoops* loops = nullptr;
  GateView x, residual, y;
  std::vector<GateWeight> weights;  ///< by operand; x and the residual are empty
  std::int64_t images = 0;
  std::int64_t parts = 1;  ///< of an image, by its shape alone: sums do not depend on threads
  std::int64_t slots = 1;  ///< threads at most
  GateSlot slot;
  std::int64_t first_slot = 0;  ///< floats before the slots
  bool direct_result = false;   ///< x, residual and y are of one type and read as they are
  bool packs_scaled = false;    ///< the stage pixels comes behind the stage channels

  /// Of one image, in elements of an elementwise operation.
  std::int64_t work() const;
  std::string implementation() const;
  std::size_t scratch_bytes() const;
  void run(const Addresses& addresses) const;
};

}  // namespace facet::cpu
