#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/ceilings.h"
#include "backends/device_queue.h"
#include "ir/error.h"
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
  /// Whether `lower_together` takes both nodes, of which none needs what the other makes; of a node
  /// and itself: whether it may be among such nodes. Holds for all pairs of a, b, c where it holds
  /// for a and b, and for b and c.
  virtual bool runs_together(const Node&, const Node&) const { return false; }
  /// One kernel for nodes that write state in place and of which `runs_together` holds. `bind`
  /// takes the operands of the first node, then those of the second and so on; results likewise.
  /// Throws as `lower`.
  virtual std::unique_ptr<Kernel> lower_together(std::span<const Node* const>) const {
    throw failure("this device runs no nodes together");
  }
  /// Threads that lower nodes at the same time, each node by one of them: more than 1 where it
  /// takes a compiler's time.
  virtual int lowering_threads() const { return 1; }
  /// Gives back memory that only lowering needs, when a program is going to run. More may be
  /// lowered afterwards, also at the same time: it takes longer.
  virtual void end_lowering() const {}
  /// The device's ceilings, measured now, which takes below a second; nothing where that is not
  /// done here (the host: backends/cpu/peaks.h) or the device's memory has no room for it.
  virtual std::optional<Ceilings> measure_ceilings() const { return std::nullopt; }
  /// An order of work for one thread's runs of kernels of this backend, which it may outlive.
  virtual std::shared_ptr<DeviceQueue> make_queue() const { return host_queue(); }
};

}  // namespace facet
