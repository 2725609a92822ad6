#pragma once

namespace facet {

/// Sets how many threads kernels of the calling thread (and of threads that it starts later) use.
/// Throws Error(usage) for less than 1 and for more than 4096.
void set_threads(int count);
/// How many threads kernels of the calling thread use: what was set, else OMP_NUM_THREADS, else all
/// cores this process may run on.
int thread_count();

}  // namespace facet
