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

/// A block of bytes, 64-byte aligned, zeroed.
std::shared_ptr<std::byte> allocate_bytes(std::int64_t bytes);

/// A weight as a kernel reads it: folded, cast, in the kernel's layout.
struct PreparedValue {
  std::shared_ptr<const std::byte> bytes;
  std::int64_t size = 0;
};

/// The weights of one executable and everything computed from them: each distinct expression over
/// parameters is evaluated once, whatever the number of programs that read it. Thread-safe.
class WeightStore {
 public:
  /// Throws Error(usage) that lists parameters of `graph` that are missing or mis-shaped.
  WeightStore(const Graph& graph, TensorMap weights);

  /// Evaluates the prepared nodes (in order) as far as `roots` need them and they are not known yet.
  /// One entry per root.
  std::vector<PreparedValue> prepare(std::span<Node* const> prepared, std::span<const Value> roots,
                                     const Backend& backend);

 private:
  PreparedValue parameter(const Node& node) const;

  TensorMap weights_;
  std::mutex mutex_;
  std::map<std::uint64_t, PreparedValue> known_;  // by expression hash
};

}  // namespace facet
