#include <gmock/gmock.h>

#include "tests/training/trainer_fixture.h"

namespace facet::test {
namespace {

using ::testing::HasSubstr;
using End = TrainingResult::End;

/// What the tests throw behind a step: a training that ends without another word.
struct Killed {};

/// Everything that has a state: Adam, averages, dropout-free BN, accumulation, patience.
Small full() {
  Small small;
  small.recipe.optimizer.kind = OptimizerRecipe::Kind::adamw;
  small.recipe.optimizer.learning_rate = 0.01;
  small.recipe.optimizer.ema_decay = 0.9;
  small.recipe.optimizer.accumulate = 2;
  small.recipe.schedule.kind = ScheduleKind::cosine;
  small.recipe.training.epochs = 3;
  small.recipe.training.log_every = 3;
  small.recipe.loss.kind = LossRecipe::Kind::cosface;
  small.recipe.loss.scale = 8;
  small.recipe.loss.margin = 0.1;
  small.train = ColouredPictures(34);  // 4 steps of 8, a batch too many for a fifth
  return small;
}

TEST(TrainerResume, InterruptedAtEveryIterationItEndsTheSame) {
  const TempFolder folder;
  full().run(folder / "whole");
  const Remains whole = remains_of(folder / "whole");
  for (std::int64_t at = 1; at <= 12; ++at) {
    const std::filesystem::path out = folder / ("at" + std::to_string(at));
    Small small = full();
    bool stop = false;
    small.options.on_step = [&](std::int64_t iteration, const StepResult&) { stop = iteration == at; };
    small.options.stop_requested = [&] { return stop; };
    const TrainingResult first = small.run(out);
    EXPECT_EQ(first.end, End::interrupted);
    EXPECT_EQ(first.iterations, at);
    EXPECT_EQ(full().run(out, true).end, End::finished);
    EXPECT_EQ(remains_of(out), whole) << "interrupted behind iteration " << at;
  }
}

TEST(TrainerResume, KilledAtEveryIterationItEndsTheSame) {
  const TempFolder folder;
  full().run(folder / "whole");
  const Remains whole = remains_of(folder / "whole");
  for (std::int64_t at = 1; at <= 12; ++at) {
    const std::filesystem::path out = folder / ("at" + std::to_string(at));
    Small small = full();
    small.recipe.training.checkpoint_every = 3;
    small.options.on_step = [&](std::int64_t iteration, const StepResult&) {
      if (iteration == at) throw Killed();
    };
    EXPECT_THROW(small.run(out), Killed);
    write_bytes(out / ".checkpoint.safetensors.12345678.tmp", "cut short");
    full().run(out, true);
    EXPECT_EQ(remains_of(out), whole) << "killed behind iteration " << at;
    EXPECT_FALSE(std::filesystem::exists(out / ".checkpoint.safetensors.12345678.tmp"));
  }
}

TEST(TrainerResume, InterruptedWhileValidatingItEndsTheSame) {
  const TempFolder folder;
  full().run(folder / "whole");
  Small small = full();
  std::int64_t asked = 0;  // 4 steps, then behind each of 2 validated batches
  small.options.stop_requested = [&] { return ++asked == 5; };
  const TrainingResult first = small.run(folder / "out");
  EXPECT_EQ(first.end, End::interrupted);
  EXPECT_EQ(first.iterations, 4);
  EXPECT_EQ(first.epochs, 0);
  Small again = full();  // and killed before the end of the epoch is kept
  again.options.on_step = [](std::int64_t, const StepResult&) { throw Killed(); };
  EXPECT_THROW(again.run(folder / "out", true), Killed);
  full().run(folder / "out", true);
  EXPECT_EQ(remains_of(folder / "out"), remains_of(folder / "whole"));
}

TEST(TrainerResume, AFinishedTrainingStays) {
  const TempFolder folder;
  full().run(folder / "out");
  const Remains before = remains_of(folder / "out");
  const TrainingResult result = full().run(folder / "out", true);
  EXPECT_EQ(result.iterations, 12);
  EXPECT_EQ(remains_of(folder / "out"), before);
}

/// What a training that is resumed with changes says; the folder stays as it was.
class Changed : public ::testing::Test {
 protected:
  Changed() {
    Small().run(folder_ / "out");
    before_ = remains_of(folder_ / "out");
    checkpoint_ = read_bytes(folder_ / "out" / "checkpoint.safetensors");
  }
  std::string message(Small small, ErrorKind kind) {
    const std::string text = error_of([&] { small.run(folder_ / "out", true); }, kind);
    EXPECT_EQ(remains_of(folder_ / "out"), before_);
    EXPECT_EQ(read_bytes(folder_ / "out" / "checkpoint.safetensors"), checkpoint_);
    return text;
  }
  TempFolder folder_;
  Remains before_;
  std::string checkpoint_;
};

TEST_F(Changed, RecipeIsRefused) {
  Small small;
  small.recipe.optimizer.learning_rate = 0.01;
  small.recipe.training.log_every = 1;  // may change
  const std::string text = message(small, ErrorKind::usage);
  EXPECT_THAT(text, HasSubstr("optimizer.learning_rate: 0.01, was 0.05"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("log_every")));
}

TEST_F(Changed, NetworkIsRefused) {
  Small wider;
  wider.network.width = 9;
  EXPECT_THAT(message(wider, ErrorKind::failure),
              HasSubstr("another network: 16 of another type (bn.bias: f32[8], should be f32[9]"));
  Small other;  // the same tensors
  other.network.logarithm = true;
  EXPECT_THAT(message(other, ErrorKind::failure), HasSubstr("another network"));
}

TEST_F(Changed, DataIsRefused) {
  Small small;
  small.train = ColouredPictures(18, 77);
  EXPECT_THAT(message(small, ErrorKind::failure), HasSubstr("the training set has changed"));
  Small other;
  other.validation = ColouredPictures(7, 78);
  EXPECT_THAT(message(other, ErrorKind::failure), HasSubstr("the validation set has changed"));
}

TEST_F(Changed, FolderIsNotOverwritten) {
  EXPECT_THAT(error_of([&] { Small().run(folder_ / "out"); }, ErrorKind::usage), HasSubstr("--resume"));
  EXPECT_EQ(remains_of(folder_ / "out"), before_);
}

TEST_F(Changed, LoggingAndThreadsMayChange) {
  Small small;
  small.recipe.training.log_every = 1;
  small.recipe.training.checkpoint_every = 2;
  small.recipe.data.loader_threads = 2;
  EXPECT_EQ(small.run(folder_ / "out", true).iterations, 8);
}

TEST_F(Changed, ForeignFolderIsRefused) {
  write_bytes(folder_ / "note.txt", "mine");
  std::filesystem::create_directory(folder_ / "notes");
  std::filesystem::rename(folder_ / "note.txt", folder_ / "notes" / "note.txt");
  EXPECT_THAT(error_of([&] { Small().run(folder_ / "notes", true); }, ErrorKind::usage),
              HasSubstr("no training to resume"));
  EXPECT_EQ(read_bytes(folder_ / "notes" / "note.txt"), "mine");
}

TEST_F(Changed, DamagedCheckpointIsNamed) {
  write_bytes(folder_ / "out" / "checkpoint.safetensors", checkpoint_.substr(0, 5000));
  EXPECT_THAT(error_of([&] { Small().run(folder_ / "out", true); }), HasSubstr("checkpoint.safetensors"));
}

/// A set with one black picture, whose logarithm is minus infinity.
class OneDark : public ColouredPictures {
 public:
  using ColouredPictures::ColouredPictures;
  Image load(std::int64_t item) const override {
    return item == 10 ? plain_image(8, 8, 0, 0, 0) : ColouredPictures::load(item);
  }
};

class NotFinite : public ::testing::Test {
 protected:
  NotFinite() {
    small_.network.logarithm = true;
    small_.recipe.data.mean = {0, 0, 0};
    small_.recipe.data.std = {1, 1, 1};
    small_.recipe.training.epochs = 1;
    small_.recipe.training.log_every = 1;
    small_.recipe.training.checkpoint_every = 1;
  }
  TrainingResult run(bool resume = false) {
    set_threads(1);
    TrainerOptions options = small_.options;
    options.output = folder_ / "out";
    options.quiet = true;
    options.resume = resume;
    return Trainer(small_network(small_.network), small_.recipe, dark_, nullptr, options).run();
  }
  TempFolder folder_;
  Small small_;
  OneDark dark_{16};
};

TEST_F(NotFinite, StopNamesTheOperationAndKeepsTheCheckpoint) {
  std::int64_t steps = 0;
  small_.options.on_step = [&](std::int64_t iteration, const StepResult&) { steps = iteration; };
  const std::string text = error_of([&] { run(); });
  EXPECT_THAT(text, HasSubstr("log"));
  EXPECT_THAT(text, HasSubstr("at iteration " + std::to_string(steps)));
  EXPECT_THAT(text, HasSubstr("training.on_nan=skip"));
  small_.recipe.training.on_nan = TrainingRecipe::OnNan::skip;
  const TrainingResult result = run(true);
  EXPECT_EQ(result.iterations, 4);
  EXPECT_EQ(result.skipped, 1);
}

TEST_F(NotFinite, SkippedStepChangesNothing) {
  small_.recipe.training.on_nan = TrainingRecipe::OnNan::skip;
  small_.recipe.optimizer.ema_decay = 0.9;
  for (const std::int64_t accumulate : {1, 2}) {
    small_.recipe.optimizer.accumulate = accumulate;
    const std::filesystem::path checkpoint = folder_ / "out" / "checkpoint.safetensors";
    std::map<std::string, std::vector<double>> before;
    bool stop = false;
    small_.options.on_step = [&](std::int64_t iteration, const StepResult& step) {
      stop = !step.applied;
      if (!stop) return;
      ASSERT_GT(iteration, 1) << "choose a seed with another order";
      for (const auto& [key, tensor] : tensors_in(checkpoint)) before[key] = tensor.to_doubles();
    };
    small_.options.stop_requested = [&] { return stop; };
    EXPECT_EQ(run().end, End::interrupted);
    EXPECT_FALSE(before.empty());
    for (const auto& [key, tensor] : tensors_in(checkpoint)) {
      EXPECT_EQ(tensor.to_doubles(), before.at(key)) << key;
    }
    const TrainingResult result = run(true);
    EXPECT_EQ(result.skipped, 1);
    EXPECT_EQ(result.iterations, 4 / accumulate);
    const TensorMap weights = tensors_in(folder_ / "out" / "weights.safetensors");
    EXPECT_EQ(weights.at("bn.num_batches_tracked").at(0),
              static_cast<double>(2 * (4 - accumulate)));
    for (const auto& [key, tensor] : weights) {
      for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
        ASSERT_TRUE(std::isfinite(tensor.at(i))) << key;
      }
    }
    std::filesystem::remove_all(folder_ / "out");
  }
}

}  // namespace
}  // namespace facet::test
