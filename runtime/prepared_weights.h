#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "ir/host_tensor.h"

namespace facet {

/// A weight as a kernel reads it: folded, cast, in the kernel's layout, on the kernel's device.
struct PreparedValue {
  std::shared_ptr<const std::byte> bytes;
  std::int64_t size = 0;
};

/// The weights of one executable and everything computed from them: each distinct expression over
/// parameters is evaluated once, whatever the number of programs that read it. Thread-safe.
class WeightStore {
 public:
  /// What is computed goes to the device of `queue`. Throws Error(usage) that lists parameters of
  /// `graph` that are missing or mis-shaped.
  WeightStore(const Graph& graph, TensorMap weights, std::shared_ptr<DeviceQueue> queue);

  /// Evaluates the prepared nodes (in order) as far as `roots` need them and they are not known yet,
  /// with kernels of `host`, which compute in the host's memory. One entry per root. Throws as they, and
  /// as DeviceQueue::allocate.
  std::vector<PreparedValue> prepare(std::span<Node* const> prepared, std::span<const Value> roots,
                                     const Backend& host);

 private:
  PreparedValue parameter(const Node& node) const;

  TensorMap weights_;
  std::shared_ptr<DeviceQueue> queue_;
  std::mutex mutex_;
  std::map<std::uint64_t, PreparedValue> known_;  // by expression hash
};

}  // namespace facet
