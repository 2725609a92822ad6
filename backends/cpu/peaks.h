#pragma once

namespace facet {

/// What this machine can do at best, per second. The time of a step cannot be below
/// max(flops / peak, bytes / bandwidth).
struct Ceilings {
  double f32_flops = 0;        ///< multiply-adds count two
  double bf16_flops = 0;       ///< products of bf16 summed in f32; f32_flops where there is no unit
  double bandwidth_bytes = 0;  ///< reading memory that no cache holds
};

/// Measures the ceilings with `threads` OpenMP threads in less than half a second: the best of
/// several short runs each, since anything that disturbs a run makes it slower.
Ceilings measure_ceilings(int threads);

}  // namespace facet
