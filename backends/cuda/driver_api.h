#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "backends/cuda/cublaslt.h"
#include "backends/cuda/cudnn_planner.h"
#include "backends/cuda/kernels/kernel_source.h"
#include "backends/cuda/matmul.h"
#include "backends/cuda/operation_graph.h"

/// Everything that running a network calls of NVIDIA's driver and libraries, as one interface: the
/// real one is loaded where there is a GPU (cuda_driver.h), the tests' keeps a log and computes on
/// the host.
namespace facet::cuda {

/// What an implementation's handles point to is its own business.
struct StreamTag;
struct EventTag;
struct FunctionTag;
struct GraphTag;
using StreamHandle = StreamTag*;
using EventHandle = EventTag*;
using FunctionHandle = FunctionTag*;
using GraphHandle = GraphTag*;

struct DeviceFacts {
  std::string name;         ///< "NVIDIA H200"
  int capability = 0;       ///< 90 for 9.0
  std::int64_t bytes = 0;   ///< of its memory
  std::string description;  ///< as cuDNN writes it: what a CudnnPlanner is made from
};

/// cuDNN's way to compute a graph on the device, built.
class GraphPlan {
 public:
  virtual ~GraphPlan() = default;
  /// Temporary bytes a run needs.
  virtual std::int64_t workspace_bytes() const = 0;
  /// cuDNN's number for the engine, for profiles.
  virtual std::int64_t engine() const = 0;
};

/// Errors of the device throw Error(failure) with the driver's words, also those of earlier work
/// that only come to light now. Safe from several threads; a stream's order is that of the calls on
/// it.
class DriverApi {
 public:
  virtual ~DriverApi() = default;
  virtual const DeviceFacts& facts() const = 0;

  // Memory. Null where there is not enough; `free` waits for work that uses the block.
  virtual std::byte* allocate(std::int64_t bytes) = 0;
  virtual void free(std::byte* block) noexcept = 0;
  virtual std::byte* allocate_pinned(std::int64_t bytes) = 0;
  virtual void free_pinned(std::byte* block) noexcept = 0;
  /// Free at this moment, whoever took the rest.
  virtual std::int64_t free_bytes() = 0;

  // Order.
  virtual StreamHandle make_stream() = 0;
  virtual void destroy(StreamHandle stream) noexcept = 0;
  virtual EventHandle make_event() = 0;
  virtual void destroy(EventHandle event) noexcept = 0;
  virtual void record(EventHandle event, StreamHandle stream) = 0;
  /// What comes on `stream` from now on begins behind `event`.
  virtual void wait(StreamHandle stream, EventHandle event) = 0;
  /// The calling thread waits.
  virtual void synchronize(EventHandle event) = 0;
  virtual void synchronize(StreamHandle stream) = 0;
  virtual double milliseconds(EventHandle from, EventHandle to) = 0;

  // Copies; `pinned` memory stays untouched until they are done.
  virtual void copy_in(StreamHandle stream, std::byte* to, const std::byte* pinned,
                       std::int64_t bytes) = 0;
  virtual void copy_out(StreamHandle stream, std::byte* pinned, const std::byte* from,
                        std::int64_t bytes) = 0;
  virtual void copy(StreamHandle stream, std::byte* to, const std::byte* from,
                    std::int64_t bytes) = 0;
  virtual void clear(StreamHandle stream, std::byte* to, std::int64_t bytes) = 0;

  // Generated kernels.
  /// The compiled kernel on the device, where it stays.
  virtual FunctionHandle load(const KernelSource& kernel) = 0;
  /// One address for each parameter; the rest as the kernel's source has it.
  virtual void launch(StreamHandle stream, FunctionHandle function, std::int64_t blocks,
                      int threads, std::int64_t shared_bytes,
                      std::span<std::byte* const> addresses) = 0;

  // cuDNN.
  /// Throws Error(failure) if no engine within the rules builds a plan.
  virtual std::shared_ptr<const GraphPlan> plan(const OperationGraph& graph,
                                                const EngineRules& rules) = 0;
  /// `addresses` are those of the graph's tensors by number, null for those that are inside.
  virtual void run(StreamHandle stream, const GraphPlan& plan, const OperationGraph& graph,
                   std::span<std::byte* const> addresses, std::byte* workspace) = 0;

  // cuBLASLt, as MatmulLibrary has it.
  virtual std::optional<MatmulAlgorithm> choose(const Matmul& matmul) = 0;
  virtual void run(StreamHandle stream, const Matmul& matmul, const MatmulAlgorithm& algorithm,
                   const MatmulAddresses& addresses) = 0;

  // CUDA graphs.
  /// What this thread puts on the stream is noted, not done.
  virtual void begin_capture(StreamHandle stream) = 0;
  /// What was noted, ready to be launched. Throws where something that was called does not allow to
  /// be noted; the stream is then as before.
  virtual GraphHandle end_capture(StreamHandle stream) = 0;
  virtual void launch(StreamHandle stream, GraphHandle graph) = 0;
  virtual void destroy(GraphHandle graph) noexcept = 0;
};

}  // namespace facet::cuda
