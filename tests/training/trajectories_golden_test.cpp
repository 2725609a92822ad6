#include <gtest/gtest.h>

#include <cmath>

#include "tests/training/trajectory_case.h"

namespace facet::testing {
namespace {

class TrajectoryFloat64 : public ::testing::TestWithParam<Trajectory> {};

TEST_P(TrajectoryFloat64, LossesAndFinalStateAgreeTo1em8) {
  const Trajectory& one = GetParam();
  const GoldenTrajectory golden = read_trajectory(one.name);
  const Graph step = training_step_of(one, golden.shape.at(0));
  TensorMap state = start_of(step);
  for (std::size_t t = 0; t < golden.losses.size(); ++t) {
    const EvaluatedStep result =
        evaluate_step(step, inputs_of(one, golden, static_cast<std::int64_t>(t)), state);
    EXPECT_NEAR(result.outputs.at("loss").at(0), golden.losses[t], 1e-8) << "step " << t;
    for (const auto& [key, value] : result.updates) state[key] = value;
  }
  for (const auto& [key, digest] : golden.after) {
    ASSERT_TRUE(state.contains(key)) << key;
    EXPECT_LE(digest_error(digest, state.at(key)).worst(), 1e-8) << key;
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, TrajectoryFloat64, ::testing::ValuesIn(trajectories()),
                         [](const auto& test) { return test.param.model; });

}  // namespace
}  // namespace facet::testing
