#pragma once

namespace facet {

/// What a device can do at best, per second; multiply-adds count two. The time of a step cannot be
/// below max(flops / peak, bytes / bandwidth).
struct Ceilings {
  double f32_flops = 0;
  double bf16_flops = 0;       ///< products of bf16 summed in f32; f32_flops where there is no unit
  double f16_flops = 0;        ///< of a GPU: products of f16 summed in f32
  double tf32_flops = 0;       ///< of a GPU: products of f32 of which 10 bits of mantissa count
  double bandwidth_bytes = 0;  ///< reading and writing memory that no cache holds
};

}  // namespace facet
