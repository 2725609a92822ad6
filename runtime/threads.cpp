#include "runtime/threads.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

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

void for_each_in_threads(std::size_t count, int threads,
                         const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::size_t failed = count;  // the lowest of those that threw
  std::exception_ptr problem;
  const auto take = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (i < failed) {
          failed = i;
          problem = std::current_exception();
        }
        next = count;
      }
    }
  };
  const std::size_t team = std::min(count, static_cast<std::size_t>(std::max(threads, 1)));
  {
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < team; ++i) others.emplace_back(take);
    take();
  }
  if (problem) std::rethrow_exception(problem);
}

}  // namespace facet
