#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "backends/cuda/driver_api.h"

namespace facet::cuda {

/// The device's memory as this program uses it: what for, how much, and not more than a limit.
/// Thread-safe.
class DeviceMemory : public std::enable_shared_from_this<DeviceMemory> {
 public:
  explicit DeviceMemory(std::shared_ptr<DriverApi> driver) : driver_(std::move(driver)) {}

  /// From now on no more than `bytes` are taken, in all; 0: as much as there is.
  void set_limit(std::int64_t bytes);
  /// A block for `what`, not cleared, freed with its last owner. Throws Error(failure) that says
  /// what was asked for, what there is, and what this program has taken for what.
  std::shared_ptr<std::byte> allocate(std::int64_t bytes, std::string_view what);
  /// What is taken now, and the most that ever was.
  std::int64_t taken() const;
  std::int64_t peak() const;

 private:
  void release(std::byte* block, std::int64_t bytes, const std::string& what) noexcept;
  std::string describe() const;

  std::shared_ptr<DriverApi> driver_;
  mutable std::mutex mutex_;
  std::map<std::string, std::int64_t, std::less<>> taken_for_;  ///< bytes by `what`
  std::int64_t taken_ = 0;
  std::int64_t peak_ = 0;
  std::int64_t limit_ = 0;
};

}  // namespace facet::cuda
