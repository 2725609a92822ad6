#include "runtime/threads.h"

#include <fmt/format.h>
#include <omp.h>

#include "ir/error.h"

namespace facet {

void set_threads(int count) {
  // Each thread takes a stack: a mistyped number must not take the machine down.
  constexpr int kMost = 4096;
  if (count < 1 || count > kMost) {
    throw usage_error(fmt::format("{} threads: give a number from 1 to {}", count, kMost));
  }
  omp_set_num_threads(count);
}

int thread_count() { return omp_get_max_threads(); }

}  // namespace facet
