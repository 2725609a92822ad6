#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string_view>

#include "ir/error.h"

namespace facet {

/// What reading one file may allocate beside the mapped file itself, so that a few bytes cannot
/// declare gigabytes: 16 MiB and sixteen times the file. Not thread-safe.
class MemoryBudget {
 public:
  explicit MemoryBudget(std::uint64_t file_size)
      : left_((std::uint64_t{16} << 20) + 16 * file_size) {}

  /// Call before `bytes` are allocated for `what`. Throws Error(failure) if they are too many.
  void take(std::uint64_t bytes, std::string_view what) {
    if (bytes > left_) {
      throw failure(
          fmt::format("{} would take {} bytes of memory, more than a file of this size may "
                      "ask for",
                      what, bytes));
    }
    left_ -= bytes;
  }

 private:
  std::uint64_t left_;
};

}  // namespace facet
