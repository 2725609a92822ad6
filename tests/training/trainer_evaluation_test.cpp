#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "ir/error.h"
#include "tests/training/evaluation/face_sets.h"
#include "training/trainer.h"

// Protocols in the course of a training: what they log, what they judge, and that an interrupted
// training says the same as one that was not.
namespace facet {
namespace {

using test::Remains;
using test::Small;
using test::TempFolder;
using ::testing::HasSubstr;

struct Judged {
  Small small;
  ProtocolSets sets = test::coloured_sets();

  explicit Judged(EvaluationRecipe::Metric metric, std::int64_t every = 0) {
    small.options.protocols = &sets;
    small.recipe.evaluation.pairs = {"coloured"};
    small.recipe.evaluation.identification = {"gallery"};
    small.recipe.evaluation.metric = metric;
    small.recipe.evaluation.every = every;
    small.recipe.evaluation.levels = {0.1, 1};
    small.recipe.training.epochs = 3;
  }
};

std::vector<std::string> header(const TempFolder& folder) {
  return test::split(test::split(test::read_bytes(folder / "log.csv"), '\n').front(), ',');
}

/// The rows of the log that have a value in the column.
std::vector<std::string> filled_rows(const TempFolder& folder, const std::string& column) {
  const std::vector<std::string> names = header(folder);
  const auto place = static_cast<std::size_t>(std::ranges::find(names, column) - names.begin());
  std::vector<std::string> iterations;
  const std::vector<std::string> lines = test::split(test::read_bytes(folder / "log.csv"), '\n');
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> fields = test::split(lines[i], ',');
    if (fields.size() > place && !fields[place].empty()) iterations.push_back(fields[0]);
  }
  return iterations;
}

TEST(TrainerEvaluation, EveryEpochHasItsRow) {
  Judged judged(EvaluationRecipe::Metric::verification);
  const TempFolder folder;
  const TrainingResult result = judged.small.run(folder / "");
  // 18 pictures in batches of 4: 4 iterations an epoch.
  EXPECT_EQ(filled_rows(folder, "verification_coloured"),
            (std::vector<std::string>{"3", "7", "11"}));
  EXPECT_EQ(filled_rows(folder, "rank1_gallery_near"), (std::vector<std::string>{"3", "7", "11"}));
  EXPECT_EQ(filled_rows(folder, "validation_top1"), (std::vector<std::string>{"3", "7", "11"}));
  ASSERT_TRUE(result.protocols.has_value());
  ASSERT_TRUE(result.best.has_value());
  EXPECT_GE(*result.best, result.protocols->verification());
  ASSERT_EQ(result.steps_to.size(), 2U);
  EXPECT_EQ(result.steps_to[0].iteration, 4);
  EXPECT_EQ(result.steps_to[1].iteration.has_value(), *result.best == 1);
}

TEST(TrainerEvaluation, StepsBetweenHaveTheirRowsToo) {
  Judged judged(EvaluationRecipe::Metric::rank1, 3);
  const TempFolder folder;
  const TrainingResult result = judged.small.run(folder / "");
  // Behind 3, 6, 9 and 12 steps; the last is the training's end, too.
  EXPECT_EQ(filled_rows(folder, "rank1_gallery_near"),
            (std::vector<std::string>{"2", "5", "8", "11"}));
  EXPECT_EQ(filled_rows(folder, "validation_top1"), (std::vector<std::string>{"3", "7", "11"}));
  EXPECT_EQ(result.steps_to[0].iteration, 3);
  EXPECT_EQ(result.best_iteration % 3, 0);
}

TEST(TrainerEvaluation, BestWeightsAreThoseOfTheMetric) {
  Judged judged(EvaluationRecipe::Metric::verification, 2);
  const TempFolder folder;
  const TrainingResult result = judged.small.run(folder / "");
  EmbedderOptions options;
  options.preprocess.width = options.preprocess.height = 8;
  options.flip = Flip::sum;
  options.batch = 4;
  Embedder embedder(test::small_network(), test::tensors_in(folder / "best.safetensors"), options);
  EXPECT_EQ(run_protocols(judged.sets, embedder, judged.small.recipe.evaluation).verification(),
            result.best);
}

TEST(TrainerEvaluation, PatienceCountsTheMetric) {
  Judged judged(EvaluationRecipe::Metric::rank1);
  judged.small.recipe.training.epochs = 40;
  judged.small.recipe.training.patience = 2;
  judged.small.validate = false;
  const TempFolder folder;
  const TrainingResult result = judged.small.run(folder / "");
  EXPECT_EQ(result.end, TrainingResult::End::patience);
  EXPECT_EQ(result.epochs, result.best_epoch + 3);
}

/// Interrupts behind `stop_at` asks whether to stop, then resumes; again and again until the end.
Remains interrupted_remains(const std::filesystem::path& folder, std::int64_t every, int stop_at) {
  for (int run = 0;; ++run) {
    Judged judged(EvaluationRecipe::Metric::verification, every);
    judged.small.recipe.training.checkpoint_every = 1;
    int asked = 0;
    judged.small.options.stop_requested = [&] { return ++asked >= stop_at; };
    const TrainingResult result = judged.small.run(folder, run > 0);
    if (result.end != TrainingResult::End::interrupted) return test::remains_of(folder);
    if (run > 200) return {};
  }
}

TEST(TrainerEvaluation, ResumedIsToTheBitWhatWasNotInterrupted) {
  for (const std::int64_t every : {0, 3}) {
    const TempFolder folder;
    Judged judged(EvaluationRecipe::Metric::verification, every);
    judged.small.recipe.training.checkpoint_every = 1;
    judged.small.run(folder / "whole");
    const Remains whole = test::remains_of(folder / "whole");
    // Many fall into the middle of a protocol: 52 pictures in batches of 4 are asked for at a time.
    for (const int stop_at : {17, 23}) {
      EXPECT_EQ(interrupted_remains(folder / std::to_string(stop_at), every, stop_at), whole)
          << every << " " << stop_at;
    }
  }
}

TEST(TrainerEvaluation, AnotherSetIsNotGoneOnWith) {
  const TempFolder folder;
  Judged first(EvaluationRecipe::Metric::verification);
  first.small.run(folder / "");
  Judged second(EvaluationRecipe::Metric::verification);
  second.sets.pairs[0].pairs.pop_back();
  EXPECT_THAT(test::error_of([&] { second.small.run(folder / "", true); }),
              HasSubstr("has changed"));
}

TEST(TrainerEvaluation, MetricsNeedTheirSets) {
  const TempFolder folder;
  Judged judged(EvaluationRecipe::Metric::verification);
  judged.small.options.protocols = nullptr;
  EXPECT_THAT(test::error_of([&] { judged.small.run(folder / ""); }, ErrorKind::usage),
              HasSubstr("evaluation.metric"));
  judged.small.recipe.evaluation.pairs.clear();
  EXPECT_THAT(test::error_of([&] { judged.small.run(folder / ""); }, ErrorKind::usage),
              HasSubstr("evaluation.pairs names no pairs"));
}

}  // namespace
}  // namespace facet
