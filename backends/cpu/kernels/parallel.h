#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
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

/// Ranges of 0..count for threads that take one after the other, so that one whose core is shared
/// with others does less: large ones first, which keep what lies together together, and none but
/// the last under `least`. Which thread does what differs from run to run.
class Shares {
 public:
  Shares(std::int64_t count, std::int64_t least) : count_(count), least_(least) {}

  /// Calls body(begin, end) on ranges until none is left.
  template <class Body>
  void take(std::int64_t threads, Body&& body) {
    for (std::int64_t begin = next_.load(std::memory_order_relaxed); begin < count_;) {
      const std::int64_t size = std::max((count_ - begin) / (2 * threads), least_);
      const std::int64_t end = std::min(begin + size, count_);
      if (!next_.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      body(begin, end);
      begin = next_.load(std::memory_order_relaxed);
    }
  }

 private:
  const std::int64_t count_, least_;
  std::atomic<std::int64_t> next_{0};
};

/// As parallel_for, with ranges of Shares: each thread of the team makes its body(begin, end) by
/// body_of_thread().
template <class BodyOfThread>
void parallel_shares(std::int64_t count, std::int64_t least, std::int64_t elements,
                     const BodyOfThread& body_of_thread) {
  Shares shares(count, least);
  if (count < 2 || elements < kSerialBelow || omp_get_max_threads() == 1) {
    shares.take(/*threads=*/1, body_of_thread());
    return;
  }
#pragma omp parallel
  shares.take(omp_get_num_threads(), body_of_thread());
}

}  // namespace facet::cpu
