#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/dsl.h"
#include "ir/error.h"
#include "runtime/weights.h"
#include "tests/cuda/run/cuda_run.h"
#include "training/step.h"

// The inputs of the next run are copied while this one goes on.
namespace facet {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::int64_t kBatch = 2;

Graph training_step() {
  Network network("small");
  const Tensor x = network.input("x", {"N", 3, 5, 5});
  const Scope s = network.root();
  const Tensor y = relu(s.batch_norm("bn", s.conv("conv", x, {.out = 8, .kernel = 3})));
  network.output("logits", s.linear("fc", flatten(y), {.out = 4}));
  StepOptions options;
  options.batch = kBatch;
  return make_training_step(network.finish(), options);
}

TensorMap inputs_of(int number) {
  HostTensor x(DType::f32, {kBatch, 3, 5, 5});
  for (std::int64_t i = 0; i < x.element_count(); ++i) {
    x.as_mutable<float>()[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i) + number));
  }
  HostTensor labels(DType::i64, {kBatch});
  labels.as_mutable<std::int64_t>()[0] = number % 4;
  return {
      {"x", x}, {"labels", labels}, {"lr", HostTensor::from_floats({1}, {0.1F / (1 + number)})}};
}

struct Training {
  std::shared_ptr<test::FakeDriver> driver = std::make_shared<test::FakeDriver>();
  std::unique_ptr<Context> context;

  Training() {
    const Graph step = training_step();
    CompileOptions options;
    options.guard = "loss";
    context = test::compile_on(driver, step, trial_weights(step, 1), options, 1)->make_context();
  }
};

void expect_same_bits(const TensorMap& a, const TensorMap& b) {
  for (const auto& [key, tensor] : b) {
    EXPECT_TRUE(std::equal(tensor.data(), tensor.data() + tensor.byte_count(), a.at(key).data()))
        << key;
  }
}

TEST(CudaOverlap, TheNextInputsAreCopiedBeforeAStepIsWaitedFor) {
  Training plain;
  Training ahead;
  for (int i = 0; i < 5; ++i) {
    const TensorMap expected = plain.context->run(inputs_of(i));
    if (i == 0) {
      ahead.context->begin(inputs_of(0));
    } else {
      ahead.driver->log.clear();
      ahead.context->begin();
    }
    ahead.context->stage(inputs_of(i + 1));
    const std::vector<std::string> log = ahead.driver->log;
    if (i > 1) {  // the first runs make memory and the graph
      EXPECT_THAT(log, Not(Contains(HasSubstr("allocate"))));
      const auto at = [&](const std::string& entry) {
        return std::ranges::find_if(
            log, [&](const std::string& one) { return one.find(entry) != std::string::npos; });
      };
      ASSERT_NE(at("copy_in"), log.end());
      EXPECT_LT(at("graph of"), at("copy_in"));
      EXPECT_EQ(std::ranges::count_if(
                    log, [](const std::string& one) { return one.starts_with("copy_in"); }),
                3);
      // Blocks of earlier copies are waited for, which are long done; the stream of the step is
      // not.
      EXPECT_EQ(std::ranges::count(log, "synchronize stream"), 0);
    }
    const TensorMap found = ahead.context->finish();
    EXPECT_GT(std::ranges::count(ahead.driver->log, "synchronize stream"), 0);
    expect_same_bits(found, expected);
  }
  expect_same_bits(ahead.context->state().tensors(), plain.context->state().tensors());
}

TEST(CudaOverlap, MistakesLeaveTheRunAndWhatIsStagedAlone) {
  Training plain;
  Training training;
  plain.context->run(inputs_of(0));
  const TensorMap expected = plain.context->run(inputs_of(1));
  EXPECT_THROW(training.context->finish(), Error);
  EXPECT_THROW(training.context->begin(), Error);
  training.context->begin(inputs_of(0));
  EXPECT_THROW(training.context->begin(inputs_of(1)), Error);
  EXPECT_THROW(training.context->run(inputs_of(1)), Error);
  EXPECT_THROW(training.context->stage({{"x", HostTensor(DType::f32, {1})}}), Error);
  EXPECT_THROW(training.context->trim(), Error);
  training.context->finish();
  EXPECT_THROW(training.context->begin(), Error) << "nothing is staged";
  training.context->stage(inputs_of(1));
  training.context->trim();  // what is staged is kept by the host
  training.context->begin();
  expect_same_bits(training.context->finish(), expected);
  expect_same_bits(training.context->state().tensors(), plain.context->state().tensors());
}

}  // namespace
}  // namespace facet
