#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "backends/device_queue.h"
#include "ir/error.h"

namespace facet {
namespace {

class HostReplay final : public Replay {
 public:
  using Replay::Replay;
  void run() override {
    for (const QueuedStep& step : steps()) step.run();
  }
  std::string describe() const override { return fmt::format("{} steps", steps().size()); }
};

void copy_bytes(std::byte* to, const std::byte* from, std::int64_t bytes) {
  // Tensors without elements have no address, and memcpy wants one; equal ones it must not get.
  if (bytes > 0 && to != from) std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

class HostQueue final : public DeviceQueue {
 public:
  std::shared_ptr<std::byte> allocate(std::int64_t bytes, std::string_view) override {
    return allocate_host_bytes(bytes);
  }
  void write(std::byte* to, const std::byte* from, std::int64_t bytes) override {
    copy_bytes(to, from, bytes);
  }
  void read(std::byte* to, const std::byte* from, std::int64_t bytes) override {
    copy_bytes(to, from, bytes);
  }
  void copy(std::byte* to, const std::byte* from, std::int64_t bytes) override {
    copy_bytes(to, from, bytes);
  }
  void wait() override {}

  std::shared_ptr<const std::byte> place(std::shared_ptr<const std::byte> bytes, std::int64_t,
                                         std::string_view) override {
    return bytes;
  }
  std::shared_ptr<const std::byte> fetch(std::shared_ptr<const std::byte> bytes,
                                         std::int64_t) override {
    return bytes;
  }

  std::unique_ptr<Replay> record(std::vector<QueuedStep> steps) override {
    return std::make_unique<HostReplay>(std::move(steps));
  }
  double milliseconds(const std::function<void()>& step) override {
    const auto start = std::chrono::steady_clock::now();
    step();
    const auto elapsed = std::chrono::steady_clock::now() - start;
    return std::chrono::duration<double, std::milli>(elapsed).count();
  }
};

}  // namespace

std::shared_ptr<const std::byte> DeviceQueue::place(std::shared_ptr<const std::byte> bytes,
                                                    std::int64_t count, std::string_view what) {
  std::shared_ptr<std::byte> placed = allocate(count, what);
  write(placed.get(), bytes.get(), count);
  wait();  // other queues may use it at once
  return placed;
}

std::shared_ptr<const std::byte> DeviceQueue::fetch(std::shared_ptr<const std::byte> bytes,
                                                    std::int64_t count) {
  std::shared_ptr<std::byte> fetched = allocate_host_bytes(count);
  read(fetched.get(), bytes.get(), count);
  return fetched;
}

const std::shared_ptr<DeviceQueue>& host_queue() {
  static const std::shared_ptr<DeviceQueue> queue = std::make_shared<HostQueue>();
  return queue;
}

std::shared_ptr<std::byte> allocate_host_bytes(std::int64_t bytes) {
  // Large blocks in large pages: a network walks through more small ones than the processor keeps
  // translations for. The size is not rounded up to whole pages: what is not there needs no memory.
  constexpr std::size_t kLargePage = std::size_t{2} << 20;
  const bool is_large = static_cast<std::size_t>(bytes) >= kLargePage;
  const std::size_t rounded = (static_cast<std::size_t>(bytes) / 64 + 1) * 64;
  void* block = nullptr;
  if (posix_memalign(&block, is_large ? kLargePage : 64, rounded) != 0) {
    throw failure(fmt::format("out of memory: {} bytes", bytes));
  }
#if defined(__linux__)
  if (is_large) madvise(block, rounded / kLargePage * kLargePage, MADV_HUGEPAGE);  // a wish
#endif
  std::memset(block, 0, rounded);
  return {static_cast<std::byte*>(block), [](std::byte* p) { std::free(p); }};
}

}  // namespace facet
