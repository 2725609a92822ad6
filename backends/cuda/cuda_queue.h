#pragma once

#include <array>
#include <memory>

#include "backends/cuda/device_memory.h"
#include "backends/cuda/driver_api.h"
#include "backends/device_queue.h"

namespace facet::cuda {

/// A stream of the GPU as a DeviceQueue.
///
/// `write` copies through two pinned blocks in turn, on a stream of its own: the host fills one
/// while the device reads the other. The copies begin behind the work so far, and later work begins
/// behind them. `write_ahead` goes the same way, past the work that is there.
///
/// A Replay launches its steps one by one in its first run, for libraries load their kernels then.
/// The second run notes them as one CUDA graph, which this and all later runs launch: no other
/// call, no memory. Where a step does not let itself be noted, all runs go on step by step, and
/// `describe` says why.
class CudaQueue final : public DeviceQueue {
 public:
  CudaQueue(std::shared_ptr<DriverApi> driver, std::shared_ptr<DeviceMemory> memory);
  ~CudaQueue() override;
  CudaQueue(const CudaQueue&) = delete;
  CudaQueue& operator=(const CudaQueue&) = delete;

  std::shared_ptr<std::byte> allocate(std::int64_t bytes, std::string_view what) override;
  void write(std::byte* to, const std::byte* from, std::int64_t bytes) override;
  void allow_ahead() override;
  void write_ahead(std::byte* to, const std::byte* from, std::int64_t bytes) override;
  void take_ahead() override;
  void read(std::byte* to, const std::byte* from, std::int64_t bytes) override;
  void copy(std::byte* to, const std::byte* from, std::int64_t bytes) override;
  void wait() override;
  std::unique_ptr<Replay> record(std::vector<QueuedStep> steps) override;
  double milliseconds(const std::function<void()>& step) override;

  DriverApi& driver() const { return *driver_; }
  /// Where kernels that are bound to this queue launch.
  StreamHandle stream() const { return stream_; }

 private:
  /// Pinned memory on its way to the device.
  struct Block {
    std::byte* bytes = nullptr;
    EventHandle read = nullptr;  ///< the device has read it
    bool is_used = false;
  };
  Block& next_block();
  void open_copies();
  /// Puts the bytes on the stream of copies, block by block.
  void copy_in(std::byte* to, const std::byte* from, std::int64_t bytes);

  std::shared_ptr<DriverApi> driver_;
  std::shared_ptr<DeviceMemory> memory_;
  StreamHandle stream_ = nullptr;
  StreamHandle copies_ = nullptr;
  EventHandle order_ = nullptr;   ///< work before a copy
  EventHandle ahead_ = nullptr;   ///< work before copies ahead
  EventHandle copied_ = nullptr;  ///< the block's that later work has to wait for; null: none
  bool is_allowed_ = false;       ///< `ahead_` was recorded
  EventHandle begin_ = nullptr;  ///< of what is timed
  EventHandle end_ = nullptr;
  std::array<Block, 2> blocks_;
  std::size_t next_ = 0;
};

/// Bytes of a pinned block: larger values are copied in parts.
inline constexpr std::int64_t kPinnedBytes = 8 << 20;

}  // namespace facet::cuda
