#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace facet {

/// Bound work with a name for messages: "conv layer1.0.conv1".
struct QueuedStep {
  std::string name;
  std::function<void()> run;
};

/// Steps that run again and again on the same addresses.
class Replay {
 public:
  explicit Replay(std::vector<QueuedStep> steps) : steps_(std::move(steps)) {}
  virtual ~Replay() = default;
  /// Puts all steps into the queue, in order.
  virtual void run() = 0;
  const std::vector<QueuedStep>& steps() const { return steps_; }
  /// How the next run will do it: "312 steps", "one CUDA graph of 312 steps", or why there is none.
  virtual std::string describe() const = 0;

 private:
  std::vector<QueuedStep> steps_;
};

/// Memory of a device and an order of work on it: what is put into a queue happens in that order,
/// and perhaps later. The host is the device at no cost: its memory is the program's and all work
/// is done when a call returns. Used by one thread at a time; several queues of one device share
/// its memory. `bytes` may be 0 everywhere.
class DeviceQueue {
 public:
  virtual ~DeviceQueue() = default;

  /// Zeroed memory of the device at a multiple of 64 bytes, which may outlive the queue. `what`
  /// names it for messages: "arena". Throws Error(failure) that says how much there is and what
  /// takes most where there is not enough.
  virtual std::shared_ptr<std::byte> allocate(std::int64_t bytes, std::string_view what) = 0;

  /// From the host into the device's memory. The host's bytes have been read on return.
  virtual void write(std::byte* to, const std::byte* from, std::int64_t bytes) = 0;
  /// For what a later run reads: copies as `write`, beside the work in the queue. `write_ahead`
  /// begins behind the work that was there at the last `allow_ahead`, and what is put in before
  /// `take_ahead` does not wait for it.
  virtual void allow_ahead() {}
  virtual void write_ahead(std::byte* to, const std::byte* from, std::int64_t bytes) {
    write(to, from, bytes);
  }
  virtual void take_ahead() {}
  /// From the device's memory into the host's, behind all work so far; waits for it.
  virtual void read(std::byte* to, const std::byte* from, std::int64_t bytes) = 0;
  /// Within the device's memory.
  virtual void copy(std::byte* to, const std::byte* from, std::int64_t bytes) = 0;
  /// Until all work so far is done. Throws Error(failure) if some of it failed.
  virtual void wait() = 0;

  /// The host's bytes as memory of the device: on the host these bytes themselves.
  virtual std::shared_ptr<const std::byte> place(std::shared_ptr<const std::byte> bytes,
                                                 std::int64_t count, std::string_view what);
  /// Inverse of `place`: bytes that the host can read.
  virtual std::shared_ptr<const std::byte> fetch(std::shared_ptr<const std::byte> bytes,
                                                 std::int64_t count);

  /// Steps to be run often; their addresses must stay valid as long as the replay is used.
  virtual std::unique_ptr<Replay> record(std::vector<QueuedStep> steps) = 0;
  /// Runs one step behind all work so far and says how long it took.
  virtual double milliseconds(const std::function<void()>& step) = 0;
};

/// The host as a device: one queue, safe from several threads.
const std::shared_ptr<DeviceQueue>& host_queue();

/// Bytes of the host, zeroed, at a multiple of 64 bytes; large blocks in large pages. Throws
/// Error(failure) if there are not so many.
std::shared_ptr<std::byte> allocate_host_bytes(std::int64_t bytes);

}  // namespace facet
