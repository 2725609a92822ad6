#include "backends/cuda/cuda_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "ir/error.h"

namespace facet::cuda {
namespace {

class CudaReplay final : public Replay {
 public:
  CudaReplay(std::vector<QueuedStep> steps, CudaQueue& queue)
      : Replay(std::move(steps)), driver_(queue.driver()), stream_(queue.stream()) {}
  ~CudaReplay() override {
    if (graph_ != nullptr) driver_.destroy(graph_);
  }
  CudaReplay(const CudaReplay&) = delete;
  CudaReplay& operator=(const CudaReplay&) = delete;

  void run() override {
    if (steps().empty()) return;
    if (ran_ && graph_ == nullptr && refusal_.empty()) capture();
    if (graph_ != nullptr) return driver_.launch(stream_, graph_);
    for (const QueuedStep& step : steps()) step.run();
    ran_ = true;
  }

  std::string describe() const override {
    if (!refusal_.empty()) return fmt::format("{} steps one by one: {}", steps().size(), refusal_);
    if (steps().empty()) return "no steps";
    return fmt::format("one CUDA graph of {} steps", steps().size());
  }

 private:
  void capture() {
    driver_.begin_capture(stream_);
    std::string_view at = "the end";
    try {
      for (const QueuedStep& step : steps()) {
        at = step.name;
        step.run();
      }
    } catch (const Error& error) {
      refusal_ = fmt::format("'{}' is not captured: {}", at, error.what());
    }
    // Ends a capture that failed, too: the stream must be usable again.
    try {
      GraphHandle graph = driver_.end_capture(stream_);
      if (refusal_.empty()) {
        graph_ = graph;
      } else {
        driver_.destroy(graph);
      }
    } catch (const Error& error) {
      if (refusal_.empty()) refusal_ = fmt::format("the capture fails: {}", error.what());
    }
  }

  DriverApi& driver_;
  StreamHandle stream_;
  GraphHandle graph_ = nullptr;
  std::string refusal_;
  bool ran_ = false;
};

}  // namespace

CudaQueue::CudaQueue(std::shared_ptr<DriverApi> driver, std::shared_ptr<DeviceMemory> memory)
    : driver_(std::move(driver)), memory_(std::move(memory)) {
  stream_ = driver_->make_stream();
}

CudaQueue::~CudaQueue() {
  for (const Block& block : blocks_) {
    if (block.bytes != nullptr) driver_->free_pinned(block.bytes);
    if (block.read != nullptr) driver_->destroy(block.read);
  }
  for (EventHandle event : {order_, ahead_, begin_, end_}) {
    if (event != nullptr) driver_->destroy(event);
  }
  if (copies_ != nullptr) driver_->destroy(copies_);
  driver_->destroy(stream_);
}

std::shared_ptr<std::byte> CudaQueue::allocate(std::int64_t bytes, std::string_view what) {
  std::shared_ptr<std::byte> block = memory_->allocate(bytes, what);
  if (bytes > 0) driver_->clear(stream_, block.get(), bytes);
  wait();  // other queues may use it at once
  return block;
}

/// A block that the device no longer reads.
CudaQueue::Block& CudaQueue::next_block() {
  Block& block = blocks_[next_++ % blocks_.size()];
  if (block.bytes == nullptr) {
    block.read = driver_->make_event();
    block.bytes = driver_->allocate_pinned(kPinnedBytes);
    if (block.bytes == nullptr) {
      throw failure(fmt::format("the host has no {} bytes that the GPU could read", kPinnedBytes));
    }
  }
  if (block.is_used) driver_->synchronize(block.read);
  block.is_used = true;
  return block;
}

void CudaQueue::open_copies() {
  if (copies_ != nullptr) return;
  copies_ = driver_->make_stream();
  order_ = driver_->make_event();
  ahead_ = driver_->make_event();
}

void CudaQueue::write(std::byte* to, const std::byte* from, std::int64_t bytes) {
  if (bytes == 0) return;
  open_copies();
  driver_->record(order_, stream_);
  driver_->wait(copies_, order_);
  copy_in(to, from, bytes);
  take_ahead();
}

void CudaQueue::allow_ahead() {
  open_copies();
  driver_->record(ahead_, stream_);
  is_allowed_ = true;
}

void CudaQueue::write_ahead(std::byte* to, const std::byte* from, std::int64_t bytes) {
  if (!is_allowed_) return write(to, from, bytes);
  if (bytes == 0) return;
  driver_->wait(copies_, ahead_);
  copy_in(to, from, bytes);
}

void CudaQueue::take_ahead() {
  if (copied_ != nullptr) driver_->wait(stream_, copied_);
  copied_ = nullptr;
}

void CudaQueue::copy_in(std::byte* to, const std::byte* from, std::int64_t bytes) {
  for (std::int64_t at = 0; at < bytes; at += kPinnedBytes) {
    const std::int64_t part = std::min(kPinnedBytes, bytes - at);
    Block& block = next_block();
    std::memcpy(block.bytes, from + at, static_cast<std::size_t>(part));
    driver_->copy_in(copies_, to + at, block.bytes, part);
    driver_->record(block.read, copies_);
    copied_ = block.read;
  }
}

void CudaQueue::read(std::byte* to, const std::byte* from, std::int64_t bytes) {
  for (std::int64_t at = 0; at < bytes; at += kPinnedBytes) {
    const std::int64_t part = std::min(kPinnedBytes, bytes - at);
    const Block& block = next_block();
    driver_->copy_out(stream_, block.bytes, from + at, part);
    driver_->synchronize(stream_);
    std::memcpy(to + at, block.bytes, static_cast<std::size_t>(part));
  }
}

void CudaQueue::copy(std::byte* to, const std::byte* from, std::int64_t bytes) {
  if (bytes > 0) driver_->copy(stream_, to, from, bytes);
}

void CudaQueue::wait() { driver_->synchronize(stream_); }

std::unique_ptr<Replay> CudaQueue::record(std::vector<QueuedStep> steps) {
  return std::make_unique<CudaReplay>(std::move(steps), *this);
}

double CudaQueue::milliseconds(const std::function<void()>& step) {
  if (begin_ == nullptr) begin_ = driver_->make_event();
  if (end_ == nullptr) end_ = driver_->make_event();
  driver_->record(begin_, stream_);
  step();
  driver_->record(end_, stream_);
  driver_->synchronize(end_);
  return driver_->milliseconds(begin_, end_);
}

}  // namespace facet::cuda
