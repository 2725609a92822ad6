#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "passes/loss_scale.h"
#include "tests/cuda/run/gpu_module.h"
#include "tests/training/trainer_fixture.h"
#include "training/checkpoint.h"

// What a training in f16 makes of its steps: an overflow is skipped and counted as nothing but a
// scale that is halved, and the scale is in the checkpoint. f16_training_test.cpp has the step
// alone.
namespace facet::test {
namespace {

constexpr std::int64_t kBatch = 4;
/// Four to five times too large for the gradients of the small network's logits.
constexpr int kTooLarge = 22;

Batch batch_of(int number) {
  Batch batch;
  batch.pixels = HostTensor(DType::u8, {kBatch, 8, 8, 3});
  auto* pixels = batch.pixels.as_mutable<std::uint8_t>();
  for (std::int64_t i = 0; i < batch.pixels.element_count(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(i * (number + 3) % 251);
  }
  batch.labels = HostTensor(DType::i64, {kBatch});
  for (std::int64_t i = 0; i < kBatch; ++i) {
    batch.labels.as_mutable<std::int64_t>()[i] = (i + number) % 3;
  }
  return batch;
}

/// With every kind of state: moments, averages, statistics of a batch norm that is applied twice.
Recipe recipe_in(Precision precision) {
  Recipe recipe = small_recipe();
  recipe.training.precision = precision;
  recipe.optimizer.kind = OptimizerRecipe::Kind::adamw;
  recipe.optimizer.learning_rate = 0.01;
  recipe.optimizer.ema_decay = 0.9;
  return recipe;
}

Stepper stepper_of(const Recipe& recipe) {
  set_threads(1);
  provide_gpu();
  CompileOptions base;
  base.device = Device::cuda;
  return {small_network(), recipe, 3, 0, base};
}

void set(Stepper& stepper, const char* key, double value) {
  stepper.assign({{key, HostTensor::from_floats({1}, {static_cast<float>(value)})}});
}

double number(const Stepper& stepper, const char* key) { return stepper.tensors().at(key).at(0); }

TensorMap copy_of(const TensorMap& tensors) {
  TensorMap copy;
  for (const auto& [key, tensor] : tensors) copy.emplace(key, tensor.clone());
  return copy;
}

void expect_same_bits(const TensorMap& found, const TensorMap& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [key, tensor] : expected) {
    const HostTensor& other = found.at(key);
    ASSERT_EQ(other.byte_count(), tensor.byte_count()) << key;
    EXPECT_TRUE(std::equal(tensor.data(), tensor.data() + tensor.byte_count(), other.data()))
        << key;
  }
}

/// By how many batches a step has.
class F16Stepper : public ::testing::TestWithParam<int> {
 protected:
  F16Stepper() {
    recipe_.optimizer.accumulate = GetParam();
    for (int i = 0; i < GetParam(); ++i) batches_.push_back(batch_of(i));
  }
  Recipe recipe_ = recipe_in(Precision::f16);
  std::vector<Batch> batches_;
};

TEST_P(F16Stepper, AnOverflowHalvesTheScaleAndChangesNothingElse) {
  Stepper stepper = stepper_of(recipe_);
  EXPECT_TRUE(stepper.step(batches_, 0.01).applied);
  set(stepper, kLossScaleKey, std::ldexp(1.0, kTooLarge));
  const TensorMap before = copy_of(stepper.tensors());
  int skipped = 0;
  for (;; ++skipped) {
    ASSERT_LT(skipped, kTooLarge) << "it finds a scale that fits";
    const StepResult result = stepper.step(batches_, 0.01);
    if (result.applied) break;
    EXPECT_TRUE(result.overflowed);
    EXPECT_TRUE(std::isfinite(result.loss));
    EXPECT_EQ(result.problem, "") << "nothing to explain";
    TensorMap now = copy_of(stepper.tensors());
    EXPECT_EQ(now.at(kLossScaleKey).at(0), std::ldexp(1.0, kTooLarge - skipped - 1));
    EXPECT_EQ(now.at(kGoodStepsKey).at(0), 0);
    for (const char* key : {kLossScaleKey, kGoodStepsKey}) now[key] = before.at(key);
    expect_same_bits(now, before);
  }
  EXPECT_GE(skipped, 2) << "2^" << kTooLarge << " is too large a scale";

  Stepper never = stepper_of(recipe_);
  never.step(batches_, 0.01);
  set(never, kLossScaleKey, std::ldexp(1.0, kTooLarge - skipped));
  set(never, kGoodStepsKey, 0);
  EXPECT_TRUE(never.step(batches_, 0.01).applied);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(stepper.step(batches_, 0.01).applied);
    EXPECT_TRUE(never.step(batches_, 0.01).applied);
  }
  expect_same_bits(stepper.tensors(), never.tensors());
}

TEST_P(F16Stepper, GoodStepsDoubleTheScale) {
  Stepper stepper = stepper_of(recipe_);
  EXPECT_EQ(number(stepper, kLossScaleKey), 65536);
  EXPECT_EQ(number(stepper, kGoodStepsKey), 0);
  EXPECT_TRUE(stepper.step(batches_, 0.01).applied);
  EXPECT_EQ(number(stepper, kGoodStepsKey), 1) << "a step counts once, however many batches";
  set(stepper, kGoodStepsKey, kGoodSteps - 2);
  EXPECT_TRUE(stepper.step(batches_, 0.01).applied);
  EXPECT_EQ(number(stepper, kLossScaleKey), 65536);
  EXPECT_TRUE(stepper.step(batches_, 0.01).applied);
  EXPECT_EQ(number(stepper, kLossScaleKey), 131072);
  EXPECT_EQ(number(stepper, kGoodStepsKey), 0);
}

INSTANTIATE_TEST_SUITE_P(Batches, F16Stepper, ::testing::Values(1, 2),
                         ::testing::PrintToStringParamName());

TEST(F16Stepper, OtherPrecisionsHaveNoScale) {
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    EXPECT_FALSE(stepper_of(recipe_in(precision)).tensors().contains(kLossScaleKey));
  }
}

/// How a training begins: behind its first step.
struct Beginning {
  const char* name;
  double scale;
  double good_steps;
};

class F16Trainer : public ::testing::TestWithParam<Beginning> {
 protected:
  F16Trainer() {
    provide_gpu();
    Small first = small();
    stop_at(first, 1);
    EXPECT_EQ(first.run(begun()).iterations, 1);
    Checkpoint checkpoint = read_checkpoint(checkpoint_in(begun()));
    EXPECT_EQ(checkpoint.tensors.at(kLossScaleKey).at(0), 65536);
    EXPECT_EQ(checkpoint.tensors.at(kGoodStepsKey).at(0), 1);
    const auto one = [](double value) {
      return HostTensor::from_floats({1}, {static_cast<float>(value)});
    };
    checkpoint.tensors[kLossScaleKey] = one(GetParam().scale);
    checkpoint.tensors[kGoodStepsKey] = one(GetParam().good_steps);
    checkpoint.tensors = copy_of(checkpoint.tensors);  // not of the file that is replaced
    write_checkpoint(checkpoint_in(begun()), checkpoint);
  }

  static Small small() {
    Small small;
    small.recipe = recipe_in(Precision::f16);
    small.options.device = Device::cuda;
    small.train = ColouredPictures(26);  // 6 steps an epoch
    return small;
  }
  void stop_at(Small& one, std::int64_t iteration) {
    stop_ = false;
    one.options.on_step = [this, iteration](std::int64_t at, const StepResult&) {
      stop_ = at == iteration;
    };
    one.options.stop_requested = [this] { return stop_; };
  }
  std::filesystem::path begun() const { return folder_ / "begun"; }
  static std::filesystem::path checkpoint_in(const std::filesystem::path& folder) {
    return folder / "checkpoint.safetensors";
  }
  /// A copy of what was begun.
  std::filesystem::path copy(const std::string& name) const {
    std::filesystem::copy(begun(), folder_ / name, std::filesystem::copy_options::recursive);
    return folder_ / name;
  }

  TempFolder folder_;
  bool stop_ = false;
};

TEST_P(F16Trainer, ResumedItEndsTheSameWithTheSameScale) {
  const std::filesystem::path whole = copy("whole");
  std::vector<bool> applied;
  Small small_one = small();
  small_one.options.on_step = [&](std::int64_t, const StepResult& step) {
    applied.push_back(step.applied);
  };
  const TrainingResult result = small_one.run(whole, true);
  EXPECT_EQ(result.end, TrainingResult::End::finished);
  ASSERT_EQ(applied.size(), 11U);
  const auto skipped = std::ranges::count(applied, false);
  EXPECT_EQ(result.skipped, skipped);
  EXPECT_TRUE(applied.back()) << "it found its scale";
  const TensorMap end = tensors_in(checkpoint_in(whole));
  const bool grows = GetParam().good_steps > 0;
  EXPECT_EQ(end.at(kLossScaleKey).at(0),
            std::ldexp(GetParam().scale, grows ? 1 : -static_cast<int>(skipped)));
  EXPECT_EQ(skipped > 1, !grows);

  for (const std::int64_t at : {2, 4, 9}) {
    const std::filesystem::path out = copy("at" + std::to_string(at));
    Small interrupted = small();
    stop_at(interrupted, at);
    const TrainingResult first = interrupted.run(out, true);
    EXPECT_EQ(first.end, TrainingResult::End::interrupted);
    const auto until = std::ranges::count(applied.begin(), applied.begin() + at - 1, false);
    EXPECT_EQ(first.skipped, until);
    if (!grows) {
      EXPECT_EQ(tensors_in(checkpoint_in(out)).at(kLossScaleKey).at(0),
                std::ldexp(GetParam().scale, -static_cast<int>(until)));
    }
    const TrainingResult second = small().run(out, true);
    EXPECT_EQ(second.end, TrainingResult::End::finished);
    EXPECT_EQ(second.skipped, skipped);
    EXPECT_EQ(remains_of(out), remains_of(whole)) << "interrupted behind iteration " << at;
    expect_same_bits(tensors_in(checkpoint_in(out)), end);
  }
}

INSTANTIATE_TEST_SUITE_P(Beginnings, F16Trainer,
                         ::testing::Values(Beginning{"TooLargeAScale", double{1 << kTooLarge}, 0},
                                           Beginning{"AScaleThatGrows", 65536, kGoodSteps - 3}),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace facet::test
