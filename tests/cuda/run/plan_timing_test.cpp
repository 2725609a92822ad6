#include "backends/cuda/plan_timing.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <vector>

#include "ir/error.h"
#include "tests/cuda/run/fake_driver.h"

namespace facet {
namespace {

using cuda::GraphPlan;
using cuda::GraphTensor;
using cuda::OperationGraph;

class NumberedPlan final : public GraphPlan {
 public:
  explicit NumberedPlan(std::int64_t engine) : engine_(engine) {}
  std::int64_t workspace_bytes() const override { return 64 * engine_; }
  std::int64_t engine() const override { return engine_; }

 private:
  std::int64_t engine_;
};

/// A device on which a run of engine i takes costs[i] milliseconds; a negative one does not run.
class TimedDriver final : public test::FakeDriver {
 public:
  explicit TimedDriver(std::int64_t bytes = 1 << 20) : FakeDriver(bytes) {}
  std::map<std::int64_t, double> costs;
  int runs = 0;

  void run(cuda::StreamHandle, const GraphPlan& plan, const OperationGraph& graph,
           std::span<std::byte* const> addresses, std::byte* workspace) override {
    EXPECT_EQ(addresses.size(), graph.tensors.size());
    EXPECT_EQ(addresses[1], nullptr);  // inside
    EXPECT_TRUE(workspace != nullptr || plan.workspace_bytes() == 0);
    ++runs;
    const double cost = costs.at(plan.engine());
    if (cost < 0) throw failure("it does not run");
    now_ += cost;
  }
  void record(cuda::EventHandle event, cuda::StreamHandle) override { times_[event] = now_; }
  void synchronize(cuda::EventHandle) override {}
  double milliseconds(cuda::EventHandle from, cuda::EventHandle to) override {
    return times_.at(to) - times_.at(from);
  }

 private:
  double now_ = 0;
  std::map<cuda::EventHandle, double> times_;
};

/// An operand of 4 rows that lie 16 elements apart, something inside, a result.
OperationGraph small_graph() {
  OperationGraph graph;
  graph.tensors = {{GraphTensor::Place::operand, 0, 0, DType::f32, {4, 8}, {16, 1}},
                   {GraphTensor::Place::inside, 0, 0, DType::f32, {4, 8}, {8, 1}},
                   {GraphTensor::Place::result, 0, 0, DType::bf16, {4, 8}, {8, 1}}};
  return graph;
}

std::vector<std::shared_ptr<const GraphPlan>> plans(std::initializer_list<std::int64_t> engines) {
  std::vector<std::shared_ptr<const GraphPlan>> list;
  for (const std::int64_t engine : engines) list.push_back(std::make_shared<NumberedPlan>(engine));
  return list;
}

TEST(PlanTiming, TakesTheFastestThatRuns) {
  TimedDriver driver;
  driver.costs = {{0, 3}, {1, 2}, {2, -1}, {5, 1.5}, {7, 1.5}};
  EXPECT_EQ(cuda::fastest_plan(driver, small_graph(), plans({0, 1, 2, 5, 7})), 3u);
  EXPECT_EQ(driver.live_blocks(), 0u);
  EXPECT_EQ(driver.runs, 4 * 7 + 1);  // two that warm up and five
}

TEST(PlanTiming, WithoutOneThatRunsOrMemoryItIsTheFirst) {
  TimedDriver driver;
  driver.costs = {{1, -1}, {2, -1}};
  EXPECT_EQ(cuda::fastest_plan(driver, small_graph(), plans({1, 2})), 0u);
  TimedDriver small(/*bytes=*/256);
  small.costs = {{1, 2}, {2, 1}};
  EXPECT_EQ(cuda::fastest_plan(small, small_graph(), plans({1, 2})), 0u);
  EXPECT_EQ(small.runs, 0);
  EXPECT_EQ(small.live_blocks(), 0u);
}

}  // namespace
}  // namespace facet
