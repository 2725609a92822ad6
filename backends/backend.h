#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/device_queue.h"
#include "ir/layout.h"
#include "passes/target.h"

namespace facet {

/// A value in memory: its type with a static shape and, for layouts without blocks, the distance in
/// elements between neighbours along each logical axis. Strides tell a slice of a wider buffer from
/// a dense value; they are empty for a blocked layout, which is always dense.
struct View {
  Type type;
  std::vector<std::int64_t> strides;
};

inline View dense_view(const Type& type) { return {type, dense_strides(type)}; }

/// A node lowered for fixed shapes, dtypes, layouts and strides. Immutable, so one kernel serves
/// any number of contexts and threads.
class Kernel {
 public:
  virtual ~Kernel() = default;
  /// What runs, for profiles: "brgconv:avx512_core", "elementwise".
  virtual std::string implementation() const = 0;
  /// Temporary bytes `bind` needs, 64-byte aligned.
  virtual std::size_t scratch_bytes() const { return 0; }
  /// A callable that puts the kernel on these addresses into `queue`; both must stay valid as long
  /// as it does. One callable must not run on two threads at once. On the CPU it runs at once and
  /// uses the calling thread's OpenMP team.
  virtual std::function<void()> bind(DeviceQueue& queue, std::span<std::byte* const> operands,
                                     std::span<std::byte* const> results,
                                     std::byte* scratch) const = 0;
};

/// A device: answers the passes' questions and turns nodes into kernels.
class Backend : public Target {
 public:
  /// Operand and result views are in node order; all shapes are static. Throws Error(failure) that
  /// names the node and the reason when no implementation exists.
  virtual std::unique_ptr<Kernel> lower(const Node& node, std::span<const View> operands,
                                        std::span<const View> results) const = 0;
  /// An order of work for one thread's runs of kernels of this backend, which it may outlive.
  virtual std::shared_ptr<DeviceQueue> make_queue() const { return host_queue(); }
};

}  // namespace facet
