#include "backends/cuda/device_memory.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "ir/error.h"

namespace facet::cuda {
namespace {

std::string megabytes(std::int64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) * 1e-6);
}

}  // namespace

void DeviceMemory::set_limit(std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  limit_ = bytes;
}

std::shared_ptr<std::byte> DeviceMemory::allocate(std::int64_t bytes, std::string_view what) {
  const std::int64_t rounded = std::max<std::int64_t>(bytes, 1);
  const std::lock_guard lock(mutex_);
  const bool fits = limit_ == 0 || taken_ + rounded <= limit_;
  std::byte* const block = fits ? driver_->allocate(rounded) : nullptr;
  if (block == nullptr) {
    const std::string there =
        fits ? fmt::format("{} of {} are free", megabytes(driver_->free_bytes()),
                           megabytes(driver_->facts().bytes))
             : fmt::format("the limit is {}", megabytes(limit_));
    throw failure(fmt::format(
        "out of memory on {}: {} for {}, and {}; this program has {}; a smaller batch takes less, "
        "training can recompute (--recompute), and bf16 halves activations",
        driver_->facts().name, megabytes(bytes), what, there, describe()));
  }
  taken_for_[std::string(what)] += rounded;
  taken_ += rounded;
  peak_ = std::max(peak_, taken_);
  return {block, [self = shared_from_this(), rounded, what = std::string(what)](std::byte* given) {
            self->release(given, rounded, what);
          }};
}

void DeviceMemory::release(std::byte* block, std::int64_t bytes, const std::string& what) noexcept {
  driver_->free(block);
  const std::lock_guard lock(mutex_);
  taken_ -= bytes;
  taken_for_.find(what)->second -= bytes;
}

std::int64_t DeviceMemory::taken() const {
  const std::lock_guard lock(mutex_);
  return taken_;
}

std::int64_t DeviceMemory::peak() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}

/// "1200.0 MB (arena 800.0 MB, weights 400.0 MB)", the largest first.
std::string DeviceMemory::describe() const {
  std::vector<std::pair<std::int64_t, std::string>> uses;
  for (const auto& [what, bytes] : taken_for_) {
    if (bytes > 0) uses.emplace_back(-bytes, fmt::format("{} {}", what, megabytes(bytes)));
  }
  std::sort(uses.begin(), uses.end());
  std::vector<std::string> texts;
  for (const auto& [order, text] : uses) texts.push_back(text);
  if (texts.empty()) return "none";
  return fmt::format("{} ({})", megabytes(taken_), fmt::join(texts, ", "));
}

}  // namespace facet::cuda
