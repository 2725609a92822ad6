#pragma once

#include <cstddef>
#include <functional>

namespace facet {

/// Sets how many threads kernels of the calling thread (and of threads that it starts later) use.
/// Throws Error(usage) for less than 1 and for more than 4096.
void set_threads(int count);
/// How many threads kernels of the calling thread use: what was set, else OMP_NUM_THREADS, else all
/// cores this process may run on.
int thread_count();

/// `work(0)` to `work(count - 1)`, by up to `threads` threads that take the next number each.
/// Throws what the lowest of the numbers threw whose work threw something; what is behind it may be
/// left.
void for_each_in_threads(std::size_t count, int threads,
                         const std::function<void(std::size_t)>& work);

}  // namespace facet
