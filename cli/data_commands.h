#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "training/data/data_kind.h"
#include "training/data/dataset.h"

namespace CLI {
class App;
}

/// The subcommands of `facet data`, one file each.
namespace facet::cli {

void add_data_inspect_command(CLI::App& data);
void add_data_pack_command(CLI::App& data);
void add_data_bench_command(CLI::App& data);

/// What is opened by PATH and --root: the training part of the kinds that have two.
std::unique_ptr<Dataset> open_labelled(DataKind kind, const std::string& path,
                                       const std::string& root, const DatasetOptions& options);

/// Calls `work(number)` for every number below `count`, from `threads` threads in no order. What
/// one call throws ends the others, and is thrown.
template <class Work>
void for_each_number(std::int64_t count, int threads, Work&& work) {
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  const auto run = [&] {
    try {
      for (std::int64_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      next = count;
    }
  };
  std::vector<std::thread> others;
  for (int i = 1; i < std::min<std::int64_t>(threads, count); ++i) others.emplace_back(run);
  run();
  for (std::thread& thread : others) thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace facet::cli
