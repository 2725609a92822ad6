#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstring>

#include "runtime/weights.h"
#include "tests/training/trainer_fixture.h"

namespace facet::test {
namespace {

using ::testing::HasSubstr;
using End = TrainingResult::End;

/// A trunk with a batch norm for two scales, an embedding and logits of its own for each.
Graph two_scales() {
  Network network("two_scales");
  const Scope root = network.root();
  const Scope trunk = root.shared() / "trunk";
  for (std::int64_t k = 0; k < 2; ++k) {
    const Tensor x = network.input(k == 0 ? "input" : "input.1", {"N", 3, 8, 8});
    const Tensor h = trunk.conv("conv", x, {.out = 8, .kernel = 3, .stride = 2, .padding = 1});
    const Tensor pooled = flatten(mean(relu(trunk.batch_norm("bn", h)), {2, 3}));
    const Scope branch = root / "branches" / k;
    const Tensor e = branch.linear("fc1", pooled, {.out = 6});
    network.output(fmt::format("embedding.{}", k), e);
    network.output(fmt::format("logits.{}", k), branch.linear("fc2", relu(e), {.out = 3}));
  }
  return network.finish();
}

Recipe recipe_of(LossRecipe::Kind loss) {
  Recipe recipe = small_recipe();
  recipe.scales.sizes = {4};
  recipe.augmentation.crop = Crop::resized;
  recipe.loss.kind = loss;
  recipe.optimizer.kind = OptimizerRecipe::Kind::adam;
  recipe.optimizer.learning_rate = 0.01;
  return recipe;
}

TrainingResult train(Graph network, const Recipe& recipe, const std::filesystem::path& folder,
                     bool resume = false, std::int64_t stop_at = 0) {
  set_threads(1);
  const ColouredPictures pictures(18);
  const ColouredPictures validation(7, 2);
  TrainerOptions options;
  options.output = folder;
  options.resume = resume;
  options.quiet = true;
  bool stop = false;
  options.on_step = [&](std::int64_t iteration, const StepResult&) { stop = iteration == stop_at; };
  options.stop_requested = [&] { return stop; };
  return Trainer(std::move(network), recipe, pictures, &validation, options).run();
}

Recipe trunk_stage() { return recipe_of(LossRecipe::Kind::dcr_trunk); }

Recipe branch_stage() {
  Recipe recipe = recipe_of(LossRecipe::Kind::dcr_coupled);
  recipe.model.frozen = {"trunk."};
  return recipe;
}

bool same(const HostTensor& a, const HostTensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.byte_count())) == 0;
}

void expect_resumes(const Graph& network, const Recipe& recipe) {
  const TempFolder folder;
  const std::int64_t steps = train(network.clone(), recipe, folder / "whole").iterations;
  const Remains whole = remains_of(folder / "whole");
  for (std::int64_t at = 1; at < steps; ++at) {
    const auto out = folder / ("at" + std::to_string(at));
    EXPECT_EQ(train(network.clone(), recipe, out, false, at).end, End::interrupted);
    Recipe threads = recipe;
    threads.data.loader_threads = 3;
    EXPECT_EQ(train(network.clone(), threads, out, true).end, End::finished);
    EXPECT_EQ(remains_of(out), whole) << "interrupted behind iteration " << at;
  }
}

TEST(TrainerScales, ResumedTrainingsEndTheSameWhateverTheLoaderThreads) {
  expect_resumes(small_network(), trunk_stage());
  expect_resumes(two_scales(), branch_stage());
  Recipe aligned = branch_stage();
  aligned.scales.aligned = true;
  aligned.model.fixed_bn = true;
  expect_resumes(two_scales(), aligned);
}

TEST(TrainerScales, TheTrunkStageTakesEveryScaleAsRowsOfOneBatch) {
  const TempFolder folder;
  std::int64_t rows = 0;
  const ColouredPictures pictures(18);
  TrainerOptions options;
  options.output = folder / "out";
  options.quiet = true;
  options.on_step = [&](std::int64_t, const StepResult& step) { rows = step.pictures; };
  Recipe recipe = trunk_stage();
  recipe.scales.sizes = {4, 2};
  Trainer(small_network(), recipe, pictures, nullptr, options).run();
  EXPECT_EQ(rows, 12) << "4 pictures in 3 scales";
  const TensorMap centers = tensors_in(folder / "out/head.safetensors");
  EXPECT_EQ(centers.at("center.centers").shape(), (std::vector<std::int64_t>{3, 8}));
}

TEST(TrainerScales, AFrozenTrunkKeepsItsBitsAndMovesItsStatisticsUnlessFixed) {
  for (const bool fixed : {false, true}) {
    SCOPED_TRACE(fixed);
    const TempFolder folder;
    Recipe recipe = branch_stage();
    recipe.model.fixed_bn = fixed;
    const TrainingResult result = train(two_scales(), recipe, folder / "out");
    ASSERT_EQ(result.iterations, 8);
    const TensorMap before = random_weights(two_scales(), recipe.training.seed);
    const TensorMap after = tensors_in(folder / "out/weights.safetensors");
    for (const char* key :
         {"trunk.conv.weight", "trunk.conv.bias", "trunk.bn.weight", "trunk.bn.bias"}) {
      EXPECT_TRUE(same(before.at(key), after.at(key))) << key;
    }
    for (const char* key : {"trunk.bn.running_mean", "trunk.bn.running_var"}) {
      EXPECT_EQ(same(before.at(key), after.at(key)), fixed) << key;
    }
    EXPECT_EQ(*after.at("trunk.bn.num_batches_tracked").as<std::int64_t>(), fixed ? 0 : 16);
    for (const char* key :
         {"branches.0.fc1.weight", "branches.1.fc1.weight", "branches.1.fc2.bias"}) {
      EXPECT_FALSE(same(before.at(key), after.at(key))) << key;
    }
  }
}

TEST(TrainerScales, TheLastSmallerBatchIsAStepOfItsOwn) {
  const TempFolder folder;
  Recipe recipe = small_recipe();
  EXPECT_EQ(train(small_network(), recipe, folder / "dropped").iterations, 8);
  recipe.data.drop_last = false;
  std::vector<std::int64_t> sizes;
  const ColouredPictures pictures(18);
  TrainerOptions options;
  options.output = folder / "kept";
  options.quiet = true;
  options.on_step = [&](std::int64_t, const StepResult& step) { sizes.push_back(step.pictures); };
  Trainer(small_network(), recipe, pictures, nullptr, options).run();
  EXPECT_EQ(sizes, (std::vector<std::int64_t>{4, 4, 4, 4, 2, 4, 4, 4, 4, 2}));
  EXPECT_NE(read_bytes(folder / "kept/weights.safetensors"),
            read_bytes(folder / "dropped/weights.safetensors"));
  expect_resumes(small_network(), recipe);
  Recipe scaled = trunk_stage();
  scaled.data.drop_last = false;
  expect_resumes(small_network(), scaled);
}

TEST(TrainerScales, ClassesComeInGroups) {
  Recipe recipe = small_recipe();
  recipe.data.sampler = DataRecipe::Sampler::classes;
  recipe.data.per_class = 2;
  recipe.training.batch = 6;
  const TempFolder folder;
  EXPECT_EQ(train(small_network(), recipe, folder / "out").iterations, 6)
      << "18 pictures, 2 epochs";
  expect_resumes(small_network(), recipe);
}

TEST(TrainerScales, ACoupledLossNeedsAnInputForEveryScale) {
  const TempFolder folder;
  EXPECT_THAT(
      error_of([&] { train(small_network(), branch_stage(), folder / "out"); }, ErrorKind::usage),
      HasSubstr("needs a network with an input f32 [N, 3, height, width] for each, 'small' has "
                "1; set branch = \"all\" and num_scales = 2"));
  Recipe three = branch_stage();
  three.scales.sizes = {4, 2};
  EXPECT_THAT(error_of([&] { train(two_scales(), three, folder / "out"); }, ErrorKind::usage),
              HasSubstr("num_scales = 3"));
  EXPECT_THAT(
      error_of([&] { train(two_scales(), small_recipe(), folder / "out"); }, ErrorKind::usage),
      HasSubstr("'two_scales'"));
}

}  // namespace
}  // namespace facet::test
