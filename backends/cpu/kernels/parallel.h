#pragma once

#include <omp.h>

#include <cstdint>

namespace facet::cpu {

/// Below this many elements of work a second thread costs more than it gives.
inline constexpr std::int64_t kSerialBelow = 16 * 1024;

/// Calls body(begin, end) on contiguous shares of 0..count, one per thread of the OpenMP team, or
/// once on the calling thread when the whole is less than `elements` of work worth sharing. The
/// body must not throw.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t elements, const Body& body) {
  if (count < 2 || elements < kSerialBelow || omp_get_max_threads() == 1) {
    body(std::int64_t{0}, count);
    return;
  }
#pragma omp parallel
  {
    const std::int64_t threads = omp_get_num_threads();
    const std::int64_t thread = omp_get_thread_num();
    const std::int64_t begin = count * thread / threads;
    const std::int64_t end = count * (thread + 1) / threads;
    if (begin < end) body(begin, end);
  }
}

}  // namespace facet::cpu
