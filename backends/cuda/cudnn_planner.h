#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/cuda/file_cache.h"
#include "backends/cuda/operation_graph.h"

struct cudnnContext;

namespace facet::cuda {

/// What an engine may do to the numbers.
struct EngineRules {
  /// f32 factors may be rounded to 10 bits of mantissa for the tensor cores, and transformed
  /// (Winograd, FFT), which costs bits, too. 16-bit factors use tensor cores anyway; their products
  /// are exact and sums are f32.
  bool tf32 = false;
  /// The same bits in every run.
  bool deterministic = true;
  /// Of the engines that may compute a graph the device's fastest is taken, by running them, in
  /// place of the one that cuDNN expects to be.
  bool timed = false;

  friend bool operator==(const EngineRules&, const EngineRules&) = default;
};

/// One of cuDNN's ways to compute a graph, and what cuDNN says of it.
struct Engine {
  std::int64_t index = 0;  ///< cuDNN's number for it, among those of this graph
  bool tensor_cores = false;
  bool rounds_inputs = false;  ///< it rounds factors to a shorter type
  bool rounds_sums = false;    ///< it adds in less than f32
  bool transforms = false;     ///< by Winograd or FFT: sums and differences are multiplied
  bool is_deterministic = true;
  bool compiles_at_run_time =
      false;  ///< its kernel is made for the graph; loading it needs the driver
  bool joins_cuda_graphs = false;  ///< natively, without capture of a stream
};

/// Whether `rules` allow the engine for a graph that multiplies values of `factors`.
bool allows(const EngineRules& rules, const Engine& engine, DType factors);

class CudnnPlan;

/// What became of an engine's plan.
struct PlanResult {
  std::int64_t workspace_bytes = 0;
  std::string refusal;  ///< cuDNN's reason if there is no plan
};

/// Plans for one kind of device, which need not be there: cuDNN works from the device's
/// description. Safe from several threads.
class CudnnPlanner {
 public:
  /// `device` is the JSON text that cuDNN writes of a device (its multiprocessors, registers,
  /// clocks, memory); plans are kept in `files`. Throws Error(failure) if cuDNN does not take it.
  explicit CudnnPlanner(const std::string& device, std::optional<FileCache> files = {});
  ~CudnnPlanner();
  CudnnPlanner(const CudnnPlanner&) = delete;
  CudnnPlanner& operator=(const CudnnPlanner&) = delete;

  /// The engines that compute the graph on the device within the rules, those that cuDNN expects to
  /// be fastest first; its list for the case that none of these works is asked only where the first
  /// holds none. Answers are remembered for 4096 graphs. Throws Error(failure) with the graph's
  /// text and cuDNN's reason if it is no graph that cuDNN knows.
  std::vector<Engine> engines(const OperationGraph& graph, const EngineRules& rules);

  /// Builds the plan of the best engine that needs no driver for it. `refusal` says why there is
  /// none.
  PlanResult build_plan(const OperationGraph& graph, const EngineRules& rules);

  /// Plans to run on the device of `handle`, a cudnnHandle_t, at most `limit`: of the best engines
  /// whose plans can be built, those for the case that none of the first list works included. Null
  /// for `handle`: for the described device, of engines that need no driver. Throws Error(failure)
  /// with the graph's text and cuDNN's last reason if there is none. Plans of several handles are
  /// built at the same time.
  std::vector<std::shared_ptr<const CudnnPlan>> make_plans(const OperationGraph& graph,
                                                           const EngineRules& rules,
                                                           cudnnContext* handle, std::size_t limit);

  /// The plan that `keep_plan` wrote for this device, cuDNN, graph and rules, in this process or
  /// another; null if there is none that cuDNN takes.
  std::shared_ptr<const CudnnPlan> kept_plan(const OperationGraph& graph, const EngineRules& rules,
                                             cudnnContext* handle);
  /// Does nothing without files.
  void keep_plan(const OperationGraph& graph, const EngineRules& rules, const CudnnPlan& plan);

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// The graph, where there is one and the device has an engine for it within the rules: otherwise
/// kernels or a decomposition compute the node. Throws as `CudnnPlanner::engines`.
std::optional<OperationGraph> where_planned(CudnnPlanner& planner,
                                            std::optional<OperationGraph> graph,
                                            const EngineRules& rules);

/// cuDNN offers engines that compile at run time only where libcuda.so.1 can be loaded, though it
/// calls nothing of it for a plan. Where there is no driver this loads the library of the same name
/// that comes with CUDA to link against. False if there is neither: then such engines are missing
/// from every list.
bool provide_driver_for_planning();

/// "9.19.0": of the library that is loaded.
std::string cudnn_version();

}  // namespace facet::cuda
