#include "backends/cuda/plan_timing.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr int kWarming = 2;
constexpr int kRuns = 5;

/// Of everything that the tensor's strides reach.
std::int64_t bytes_of(const GraphTensor& tensor) {
  std::int64_t last = 0;
  for (std::size_t i = 0; i < tensor.extents.size(); ++i) {
    last += (tensor.extents[i] - 1) * tensor.strides[i];
  }
  return (last + 1) * size_of(tensor.dtype);
}

/// A stream, two events and blocks, given back with it.
class Bench {
 public:
  Bench(DriverApi& driver, const OperationGraph& graph) : driver_(driver), graph_(graph) {}
  ~Bench() {
    for (std::byte* const block : blocks_) driver_.free(block);
    driver_.destroy(begin_);
    driver_.destroy(end_);
    driver_.destroy(stream_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  /// False where the device's memory does not hold the graph's tensors and `workspace_bytes`.
  bool take_memory(std::int64_t workspace_bytes) {
    for (const GraphTensor& tensor : graph_.tensors) {
      const bool is_inside = tensor.place == GraphTensor::Place::inside;
      addresses_.push_back(is_inside ? nullptr : take(bytes_of(tensor)));
      if (!is_inside && addresses_.back() == nullptr) return false;
    }
    workspace_ = workspace_bytes > 0 ? take(workspace_bytes) : nullptr;
    return workspace_bytes == 0 || workspace_ != nullptr;
  }

  double milliseconds(const GraphPlan& plan) {
    for (int i = 0; i < kWarming; ++i) run(plan);
    driver_.record(begin_, stream_);
    for (int i = 0; i < kRuns; ++i) run(plan);
    driver_.record(end_, stream_);
    driver_.synchronize(end_);
    return driver_.milliseconds(begin_, end_) / kRuns;
  }

 private:
  std::byte* take(std::int64_t bytes) {
    std::byte* const block = driver_.allocate(bytes);
    if (block == nullptr) return nullptr;
    blocks_.push_back(block);
    driver_.clear(stream_, block, bytes);
    return block;
  }
  void run(const GraphPlan& plan) { driver_.run(stream_, plan, graph_, addresses_, workspace_); }

  DriverApi& driver_;
  const OperationGraph& graph_;
  StreamHandle stream_ = driver_.make_stream();
  EventHandle begin_ = driver_.make_event();
  EventHandle end_ = driver_.make_event();
  std::vector<std::byte*> blocks_;
  std::vector<std::byte*> addresses_;
  std::byte* workspace_ = nullptr;
};

}  // namespace

std::size_t fastest_plan(DriverApi& driver, const OperationGraph& graph,
                         std::span<const std::shared_ptr<const GraphPlan>> plans) {
  std::int64_t workspace = 0;
  for (const auto& plan : plans) workspace = std::max(workspace, plan->workspace_bytes());
  Bench bench(driver, graph);
  if (!bench.take_memory(workspace)) return 0;
  std::size_t best = 0;
  double shortest = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < plans.size(); ++i) {
    try {
      const double milliseconds = bench.milliseconds(*plans[i]);
      if (milliseconds >= shortest) continue;
      shortest = milliseconds;
      best = i;
    } catch (const Error&) {  // an engine that builds and does not run
    }
  }
  return best;
}

}  // namespace facet::cuda
