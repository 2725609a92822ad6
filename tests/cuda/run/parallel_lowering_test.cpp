#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>

#include "ir/dsl.h"
#include "ir/error.h"
#include "runtime/weights.h"
#include "tests/cuda/run/cuda_run.h"

// Kernels are compiled and plans are built by several threads.
namespace facet {
namespace {

using ::testing::HasSubstr;

Graph network() {
  Network network("small");
  Tensor y = network.input("x", {2, 8, 6, 6});
  const Scope s = network.root();
  for (const char* name : {"conv1", "conv2", "conv3", "conv4"}) {
    y = softmax(s.conv(name, y, {.out = 8, .kernel = 3, .padding = 1}), 1) + y;
  }
  network.output("y", y);
  return network.finish();
}

HostTensor input() {
  HostTensor x(DType::f32, {2, 8, 6, 6});
  for (std::int64_t i = 0; i < x.element_count(); ++i) {
    x.as_mutable<float>()[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i)));
  }
  return x;
}

TEST(ParallelLowering, TwoThreadsAreInTheDriverAtOnce) {
  const Graph graph = network();
  const TensorMap weights = trial_weights(graph, 1);
  const auto alone = std::make_shared<test::FakeDriver>();
  const TensorMap expected =
      test::compile_on(alone, graph, weights, {}, 1)->make_context()->run({{"x", input()}});

  const auto driver = std::make_shared<test::FakeDriver>();
  std::mutex mutex;
  std::condition_variable arrived;
  int inside = 0;
  bool met = false;
  driver->while_making = [&] {
    std::unique_lock lock(mutex);
    met = met || ++inside == 2;
    arrived.notify_all();
    arrived.wait_for(lock, std::chrono::seconds(20), [&] { return met; });
    --inside;
  };
  const auto executable = test::compile_on(driver, graph, weights, {}, 1, /*threads=*/2);
  EXPECT_TRUE(met) << "one waits for the other";
  EXPECT_EQ(executable->program(1).graph_text,
            test::compile_on(alone, graph, weights, {}, 1)->program(1).graph_text);
  const TensorMap found = executable->make_context()->run({{"x", input()}});
  const HostTensor& y = expected.at("y");
  EXPECT_TRUE(std::equal(y.data(), y.data() + y.byte_count(), found.at("y").data()));
}

TEST(ParallelLowering, TheFirstStepThatFailsIsNamed) {
  const Graph graph = network();
  const auto driver = std::make_shared<test::FakeDriver>();
  driver->refuses_plan = [](const cuda::OperationGraph&) { return true; };
  try {
    test::compile_on(driver, graph, trial_weights(graph, 1), {}, 1, /*threads=*/2);
    ADD_FAILURE() << "it compiles";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("lowering conv 'conv1'"));
  }
}

}  // namespace
}  // namespace facet
