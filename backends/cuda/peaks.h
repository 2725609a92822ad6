#pragma once

#include <cstdint>

#include "backends/backend.h"

namespace facet::cuda {

/// What is timed: copies of so many bytes, products of square matrices.
struct PeakSizes {
  std::int64_t bytes = std::int64_t{256} << 20;  ///< no cache holds them
  std::int64_t extent = 8192;                    ///< enough for every multiprocessor
};

/// The ceilings of a GPU: the best of a few copies within its memory, bytes read and written both
/// counted, and of a few cuBLASLt products of random numbers in each type. `strict` and `tf32` are
/// the device with and without that freedom. Takes well below a second. Throws Error(failure) where
/// there is not enough memory, about 1 GB.
Ceilings measure_peaks(const Backend& strict, const Backend& tf32, const PeakSizes& sizes = {});

}  // namespace facet::cuda
