#include "backends/cuda/cudnn_planner.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <list>
#include <map>
#include <mutex>
#include <utility>

#include "backends/cuda/cudnn_descriptor.h"
#include "backends/cuda/cudnn_graph.h"
#include "backends/cuda/cudnn_plan.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr std::size_t kGraphsKept = 4096;
constexpr std::int64_t kNotes = 32;
// The second list is for the case that nothing of the first works.
constexpr cudnnBackendHeurMode_t kModes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};

struct Candidate {
  Engine engine;
  Descriptor configuration;
};

bool transforms(cudnnBackendNumericalNote_t note) {
  return note == CUDNN_NUMERICAL_NOTE_FFT || note == CUDNN_NUMERICAL_NOTE_WINOGRAD ||
         note == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4 ||
         note == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6 ||
         note == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13;
}

Engine describe_engine(const Descriptor& configuration) {
  const std::vector<Descriptor> engines = configuration.get_descriptors(
      CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1);
  if (engines.empty()) throw failure("cuDNN names no engine for its own choice");
  const Descriptor& source = engines.front();
  Engine engine;
  engine.index = source.get_integer(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
  for (const auto note : source.get_list<cudnnBackendNumericalNote_t>(
           CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, kNotes)) {
    engine.tensor_cores |= note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
    engine.rounds_inputs |= note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS;
    engine.rounds_sums |= note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION;
    engine.transforms |= transforms(note);
    engine.is_deterministic &= note != CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
  }
  for (const auto note : source.get_list<cudnnBackendBehaviorNote_t>(
           CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, kNotes)) {
    engine.compiles_at_run_time |= note == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
    engine.joins_cuda_graphs |= note == CUDNN_BEHAVIOR_NOTE_SUPPORTS_CUDA_GRAPH_NATIVE_API;
  }
  return engine;
}

/// The widest of the types that the graph's first step multiplies or reads.
DType factors_of(const OperationGraph& graph) {
  DType widest = DType::bf16;
  for (const int operand : graph.steps.front().operands) {
    const DType dtype = graph.tensors[static_cast<std::size_t>(operand)].dtype;
    if (size_of(dtype) > size_of(widest)) widest = dtype;
  }
  return widest;
}

}  // namespace

bool allows(const EngineRules& rules, const Engine& engine, DType factors) {
  if (engine.rounds_sums) return false;
  if (rules.deterministic && !engine.is_deterministic) return false;
  const bool shortens = engine.rounds_inputs || engine.tensor_cores || engine.transforms;
  return factors != DType::f32 || rules.tf32 || !shortens;
}

class CudnnPlanner::Implementation {
 public:
  Implementation(const std::string& device, std::optional<FileCache> files)
      : description_(device),
        device_(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, "description of the device"),
        files_(std::move(files)) {
    device_.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::string_view(device));
    device_.finalize();
  }

  std::vector<Engine> engines(const OperationGraph& graph, const EngineRules& rules) {
    const std::string key = fmt::format("tf32 {} deterministic {}\n{}", rules.tf32,
                                        rules.deterministic, to_text(graph));
    const std::lock_guard lock(mutex_);
    const auto known = places_.find(key);
    if (known != places_.end()) {
      answers_.splice(answers_.begin(), answers_, known->second);
      return answers_.front().second;
    }
    std::vector<Engine> found;
    const CudnnGraph built(graph);
    for (const cudnnBackendHeurMode_t mode : kModes) {
      for (const Candidate& candidate :
           candidates(built, mode, factors_of(graph), rules, /*handle=*/nullptr)) {
        found.push_back(candidate.engine);
      }
      if (!found.empty()) break;
    }
    answers_.emplace_front(key, found);
    places_[key] = answers_.begin();
    if (answers_.size() > kGraphsKept) {
      places_.erase(answers_.back().first);
      answers_.pop_back();
    }
    return found;
  }

  PlanResult build_plan(const OperationGraph& graph, const EngineRules& rules) {
    std::string refusal =
        "every engine for it compiles its kernel at run time, which needs a driver";
    const auto plans = first_plans(graph, rules, /*handle=*/nullptr, 1, refusal);
    if (plans.empty()) return {0, refusal};
    return {plans.front()->workspace_bytes(), ""};
  }

  std::vector<std::shared_ptr<const CudnnPlan>> make_plans(const OperationGraph& graph,
                                                           const EngineRules& rules,
                                                           cudnnHandle_t handle,
                                                           std::size_t limit) {
    std::string refusal = "there is no engine for it within the rules";
    auto plans = first_plans(graph, rules, handle, limit, refusal);
    if (!plans.empty()) return plans;
    throw failure(
        fmt::format("cuDNN builds no plan: {}; the graph is\n{}", refusal, to_text(graph)));
  }

  std::shared_ptr<const CudnnPlan> kept_plan(const OperationGraph& graph, const EngineRules& rules,
                                             cudnnHandle_t handle) {
    if (!files_) return nullptr;
    const std::optional<std::string> kept = files_->read(key_of(graph, rules));
    const std::size_t line = kept ? kept->find('\n') : std::string::npos;
    if (line == std::string::npos) return nullptr;
    // The device's description is shared, a handle is the caller's alone.
    std::unique_lock lock(mutex_, std::defer_lock);
    if (handle == nullptr) lock.lock();
    Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, "kept plan");
    if (!place(plan, handle, kept->substr(line + 1)).empty()) return nullptr;
    const std::int64_t workspace = plan.get_integer(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
    return std::make_shared<const CudnnPlan>(std::move(plan), std::nullopt, workspace,
                                             std::atoll(kept->c_str()));
  }

  void keep_plan(const OperationGraph& graph, const EngineRules& rules, const CudnnPlan& plan) {
    if (files_) {
      files_->write(key_of(graph, rules), fmt::format("{}\n{}", plan.engine(), plan.text()));
    }
  }

 private:
  /// Everything that decides a plan.
  std::string key_of(const OperationGraph& graph, const EngineRules& rules) const {
    return fmt::format("cudnn {} tf32 {} deterministic {} timed {}\n{}\n{}", cudnn_version(),
                       rules.tf32, rules.deterministic, rules.timed, description_, to_text(graph));
  }

  /// Makes the descriptor of `text` a plan for the handle, else for the described device. Why cuDNN
  /// does not, empty if it has.
  std::string place(Descriptor& plan, cudnnHandle_t handle, std::string_view text) {
    try {
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, text);
      set_device(plan, handle);
      return plan.try_finalize();
    } catch (const Error& error) {  // no plan's text
      return error.what();
    }
  }

  void set_device(Descriptor& plan, cudnnHandle_t handle) const {
    if (handle != nullptr) {
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle);
    } else {
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device_);
    }
  }

  /// Of the best engines that build one, at most `limit`; none, and cuDNN's last reason, if none
  /// does. Without a handle engines that compile at run time do not count.
  std::vector<std::shared_ptr<const CudnnPlan>> first_plans(const OperationGraph& graph,
                                                            const EngineRules& rules,
                                                            cudnnHandle_t handle, std::size_t limit,
                                                            std::string& refusal) {
    std::vector<std::shared_ptr<const CudnnPlan>> plans;
    // The device's description is shared, a handle is the caller's alone.
    std::unique_lock lock(mutex_, std::defer_lock);
    if (handle == nullptr) lock.lock();
    const CudnnGraph built(graph, handle);
    for (const cudnnBackendHeurMode_t mode : kModes) {
      std::vector<Candidate> listed = candidates(built, mode, factors_of(graph), rules, handle);
      for (Candidate& candidate : listed) {
        if (candidate.engine.compiles_at_run_time && handle == nullptr) continue;
        Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, "plan");
        plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, candidate.configuration);
        set_device(plan, handle);
        refusal = plan.try_finalize();
        if (!refusal.empty()) continue;
        const std::int64_t workspace = plan.get_integer(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
        plans.push_back(std::make_shared<const CudnnPlan>(std::move(plan),
                                                          std::move(candidate.configuration),
                                                          workspace, candidate.engine.index));
        if (plans.size() == limit) return plans;
      }
      if (!plans.empty()) break;
      // What only needs a plan's existence keeps to the list that `engines` answers from.
      if (handle == nullptr && !listed.empty()) break;
    }
    return plans;
  }

  /// What cuDNN lists in this mode and the rules allow, best first: for the graph's handle, else
  /// for the described device.
  std::vector<Candidate> candidates(const CudnnGraph& graph, const cudnnBackendHeurMode_t mode,
                                    DType factors, const EngineRules& rules, cudnnHandle_t handle) {
    std::vector<Candidate> found;
    Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, "choice of engines");
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.descriptor());
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, std::span(&mode, 1));
    if (handle == nullptr) heuristic.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device_);
    if (!heuristic.try_finalize().empty()) return found;
    const std::int64_t count = heuristic.count(CUDNN_ATTR_ENGINEHEUR_RESULTS);
    for (Descriptor& configuration : heuristic.get_descriptors(
             CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, count)) {
      const Engine engine = describe_engine(configuration);
      if (allows(rules, engine, factors)) found.push_back({engine, std::move(configuration)});
    }
    return found;
  }

  std::string description_;
  Descriptor device_;
  std::optional<FileCache> files_;
  std::mutex mutex_;
  using Answers = std::list<std::pair<std::string, std::vector<Engine>>>;
  Answers answers_;  // last used first
  std::map<std::string, Answers::iterator> places_;
};

CudnnPlanner::CudnnPlanner(const std::string& device, std::optional<FileCache> files)
    : implementation_(std::make_unique<Implementation>(device, std::move(files))) {}
CudnnPlanner::~CudnnPlanner() = default;

std::vector<Engine> CudnnPlanner::engines(const OperationGraph& graph, const EngineRules& rules) {
  return implementation_->engines(graph, rules);
}

PlanResult CudnnPlanner::build_plan(const OperationGraph& graph, const EngineRules& rules) {
  return implementation_->build_plan(graph, rules);
}

std::vector<std::shared_ptr<const CudnnPlan>> CudnnPlanner::make_plans(const OperationGraph& graph,
                                                                       const EngineRules& rules,
                                                                       cudnnContext* handle,
                                                                       std::size_t limit) {
  return implementation_->make_plans(graph, rules, handle, limit);
}

std::shared_ptr<const CudnnPlan> CudnnPlanner::kept_plan(const OperationGraph& graph,
                                                         const EngineRules& rules,
                                                         cudnnContext* handle) {
  return implementation_->kept_plan(graph, rules, handle);
}

void CudnnPlanner::keep_plan(const OperationGraph& graph, const EngineRules& rules,
                             const CudnnPlan& plan) {
  implementation_->keep_plan(graph, rules, plan);
}

std::optional<OperationGraph> where_planned(CudnnPlanner& planner,
                                            std::optional<OperationGraph> graph,
                                            const EngineRules& rules) {
  if (graph && planner.engines(*graph, rules).empty()) graph.reset();
  return graph;
}

bool provide_driver_for_planning() {
  for (const char* library : {"libcuda.so.1", FACET_CUDA_STUB}) {
    if (dlopen(library, RTLD_NOW | RTLD_GLOBAL) != nullptr) return true;
  }
  return false;
}

std::string cudnn_version() {
  const std::size_t version = cudnnGetVersion();
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace facet::cuda
