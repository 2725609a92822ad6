#include <gmock/gmock.h>

#include <cmath>

#include "tests/training/trainer_fixture.h"
#include "training/partial_fc.h"

// Whole trainings with sampled centres: resumed to the bit, not moved by a step that is not finite.

namespace facet::test {
namespace {

using ::testing::HasSubstr;
using End = TrainingResult::End;
using Version = PartialFcRecipe::Version;

Small sampled(Version version, std::int64_t accumulate = 1) {
  Small small;
  small.recipe.loss.kind = LossRecipe::Kind::arcface;
  small.recipe.loss.scale = 8;
  small.recipe.loss.margin = 0.1;
  small.recipe.partial_fc = {0.25, version};
  small.recipe.optimizer.weight_decay = 0.01;
  small.recipe.optimizer.accumulate = accumulate;
  small.recipe.schedule.kind = ScheduleKind::cosine;
  small.train = ColouredPictures(4 * 5 * accumulate, 1, 60);
  return small;
}

TEST(PartialFcTraining, KilledAtEveryIterationItEndsTheSame) {
  const TempFolder folder;
  for (const Version version : {Version::v1, Version::v2}) {
    const std::filesystem::path base = folder / (version == Version::v1 ? "v1" : "v2");
    sampled(version).run(base / "whole");
    const Remains whole = remains_of(base / "whole");
    for (std::int64_t at = 1; at <= 9; at += 2) {
      const std::filesystem::path out = base / ("at" + std::to_string(at));
      Small small = sampled(version);
      bool stop = false;
      small.options.on_step = [&](std::int64_t iteration, const StepResult&) {
        stop = iteration == at;
      };
      small.options.stop_requested = [&] { return stop; };
      EXPECT_EQ(small.run(out).end, End::interrupted);
      EXPECT_EQ(sampled(version).run(out, true).end, End::finished);
      EXPECT_EQ(remains_of(out), whole) << "interrupted behind iteration " << at;
    }
  }
}

TEST(PartialFcTraining, AccumulatedBatchesShareTheirCentres) {
  const TempFolder folder;
  const TrainingResult result = sampled(Version::v2, 3).run(folder / "out");
  EXPECT_EQ(result.iterations, 10);
  const TensorMap head = tensors_in(folder / "out" / "head.safetensors");
  EXPECT_EQ(head.at("head.weight").shape(), (std::vector<std::int64_t>{60, 8}));
}

/// Only the classes of the batch are trained when no others are sampled.
TEST(PartialFcTraining, WithV1OtherCentresStay) {
  Small small = sampled(Version::v1);
  small.recipe.partial_fc.sample_rate = 1e-6;  // raised to the batch of 4
  Stepper stepper(small_network(), small.recipe, 60);
  const HostTensor before = stepper.head(false).at("head.weight").clone();
  Batch batch;
  batch.pixels = HostTensor(DType::f32, {4, 3, 8, 8});
  for (std::int64_t i = 0; i < batch.pixels.element_count(); ++i) {
    batch.pixels.as_mutable<float>()[i] = static_cast<float>(i % 17) / 17.0F;
  }
  batch.labels = HostTensor(DType::i64, {4});
  for (std::int64_t i = 0; i < 4; ++i) batch.labels.as_mutable<std::int64_t>()[i] = 10 * i + 5;
  EXPECT_TRUE(stepper.step({&batch, 1}, 0.1).applied);
  const HostTensor after = stepper.head(false).at("head.weight");
  for (std::int64_t row = 0; row < 60; ++row) {
    bool moved = false;
    for (std::int64_t i = 0; i < 8; ++i) moved |= before.at(row * 8 + i) != after.at(row * 8 + i);
    EXPECT_EQ(moved, row % 10 == 5 && row < 40) << row;
  }
  EXPECT_THAT(stepper.describe(), HasSubstr("partial fc 4 of 60 centres a step, v1"));
}

TEST(PartialFcTraining, AStepThatIsNotFiniteChangesNothing) {
  for (const Version version : {Version::v1, Version::v2}) {
    Small small = sampled(version);
    small.network.logarithm = true;
    Stepper stepper(small_network(small.network), small.recipe, 60);
    Batch batch;
    batch.pixels = HostTensor(DType::f32, {4, 3, 8, 8});
    batch.labels = HostTensor(DType::i64, {4});
    std::fill_n(batch.pixels.as_mutable<float>(), batch.pixels.element_count(), 0.5F);
    EXPECT_TRUE(stepper.step({&batch, 1}, 0.1).applied);
    TensorMap before;
    for (const auto& [key, tensor] : stepper.tensors()) before[key] = tensor.clone();
    std::fill_n(batch.pixels.as_mutable<float>(), batch.pixels.element_count(), 0.0F);
    EXPECT_FALSE(stepper.step({&batch, 1}, 0.1).applied);
    const TensorMap after = stepper.tensors();
    ASSERT_EQ(after.size(), before.size());
    for (const auto& [key, tensor] : after) {
      EXPECT_EQ(tensor.to_doubles(), before.at(key).to_doubles()) << key;
    }
  }
}

TEST(PartialFcTraining, RecipesThatDoNotFitAreNamed) {
  const auto message = [](const std::string& partial, const std::string& rest) {
    return error_of(
        [&] {
          parse_recipe("[model]\nname = \"x\"\n[partial_fc]\nsample_rate = 0.1\n" + partial + rest,
                       "r");
        },
        ErrorKind::usage);
  };
  const std::string arcface = "[loss]\nkind = \"arcface\"\n";
  EXPECT_THAT(message("", ""), HasSubstr("needs loss.kind \"arcface\" or \"cosface\""));
  EXPECT_THAT(message("", arcface + "[optimizer]\nkind = \"adam\"\n"),
              HasSubstr("take version \"v1\""));
  EXPECT_THAT(message("version = \"v1\"\n", arcface + "[optimizer]\nema_decay = 0.9\n"),
              HasSubstr("optimizer.ema_decay"));
  EXPECT_THAT(message("version = \"v3\"\n", arcface), HasSubstr("partial_fc.version"));
  const Recipe good =
      parse_recipe("[model]\nname = \"x\"\n[partial_fc]\nsample_rate = 0.1\nversion = \"v1\"\n" +
                       arcface + "[optimizer]\nkind = \"adam\"\n",
                   "r");
  EXPECT_EQ(good.partial_fc.sample_rate, 0.1);
  EXPECT_EQ(parse_recipe(to_toml(good), "again").partial_fc.version, Version::v1);
}

}  // namespace
}  // namespace facet::test
