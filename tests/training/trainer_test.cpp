#include "training/trainer.h"

#include <gmock/gmock.h>

#include "runtime/weights.h"
#include "tests/training/trainer_fixture.h"

namespace facet::test {
namespace {

using ::testing::HasSubstr;
using End = TrainingResult::End;

TEST(Trainer, LearnsATinySetByHeart) {
  const TempFolder folder;
  Small small;
  small.network.norm = false;  // running statistics of norms would lag behind
  small.recipe.training.epochs = 40;
  small.recipe.training.checkpoint_every = 1000;
  double loss = 0;
  small.options.on_step = [&](std::int64_t, const StepResult& step) { loss = step.loss; };
  const TrainingResult result = small.run(folder / "out");
  EXPECT_EQ(result.end, End::finished);
  EXPECT_EQ(result.iterations, 160);  // 4 whole batches of 4 among 18 pictures
  EXPECT_LT(loss, 0.1);
  ASSERT_TRUE(result.validation);
  EXPECT_EQ(result.validation->pictures, 7);  // 4 and 3 of a padded batch
  EXPECT_EQ(result.validation->top1, 1.0);
  EXPECT_EQ(result.validation->top5, 1.0);
  EXPECT_EQ(result.best, 1.0);
  EXPECT_LT(result.validation->loss, 0.2);
}

TEST(Trainer, WritesTheWholeStateDict) {
  const TempFolder folder;
  Small small;
  const TrainingResult result = small.run(folder / "out");
  EXPECT_EQ(result.iterations, 8);
  const TensorMap weights = tensors_in(folder / "out" / "weights.safetensors");
  const Graph network = small_network();
  EXPECT_EQ(weights.size(), network.parameters().size());
  for (const Parameter& parameter : network.parameters()) {
    ASSERT_TRUE(weights.contains(parameter.key)) << parameter.key;
    EXPECT_EQ(weights.at(parameter.key).shape(), static_extents(parameter.type.shape));
  }
  EXPECT_EQ(weights.at("bn.num_batches_tracked").at(0), 16);  // twice in each step
  EXPECT_NE(weights.at("bn.running_mean").at(0), 0);
  EXPECT_TRUE(std::filesystem::exists(folder / "out" / "best.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(folder / "out" / "head.safetensors"));
  EXPECT_EQ(parse_recipe(read_bytes(folder / "out" / "recipe.toml"), "written").training.batch, 4);
}

TEST(Trainer, LogsWindowsAndValidations) {
  const TempFolder folder;
  Small small;
  std::vector<double> losses;
  small.options.on_step = [&](std::int64_t, const StepResult& step) { losses.push_back(step.loss); };
  const TrainingResult result = small.run(folder / "out");
  const std::vector<std::string> rows = split(read_bytes(folder / "out" / "log.csv"), '\n');
  ASSERT_EQ(rows.size(), 6u);  // a header, 2 windows of 2 in each of 2 epochs, the end
  EXPECT_EQ(rows[0], "iteration,loss,accuracy,learning_rate,images_per_second,validation_loss,"
                     "validation_top1,validation_top5");
  const std::vector<std::string> first = split(rows[1], ',');
  EXPECT_EQ(first[0], "1");
  EXPECT_EQ(std::stod(first[1]), (losses[0] + losses[1]) / 2);
  EXPECT_EQ(first[5], "");
  const std::vector<std::string> last = split(rows[4], ',');
  EXPECT_EQ(last[0], "7");
  EXPECT_EQ(std::stod(last[1]), (losses[6] + losses[7]) / 2);
  EXPECT_EQ(std::stod(last[5]), result.validation->loss);
  EXPECT_EQ(std::stod(last[6]), result.validation->top1);
}

TEST(Trainer, AccumulationEqualsALargerBatch) {
  const TempFolder folder;
  Small two;
  two.network.norm = false;
  two.recipe.optimizer.accumulate = 2;
  two.recipe.optimizer.clip_norm = 1;
  Small one = two;
  one.recipe.optimizer.accumulate = 1;
  one.recipe.training.batch = 8;
  const TrainingResult result = two.run(folder / "two");
  EXPECT_EQ(result.iterations, one.run(folder / "one").iterations);
  EXPECT_EQ(result.iterations, 4);
  const TensorMap a = tensors_in(folder / "two" / "weights.safetensors");
  const TensorMap fresh = random_weights(small_network(two.network), two.recipe.training.seed);
  double moved = 0;
  for (const auto& [key, tensor] : tensors_in(folder / "one" / "weights.safetensors")) {
    for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
      EXPECT_NEAR(tensor.at(i), a.at(key).at(i), 1e-6) << key;
      moved = std::max(moved, std::abs(tensor.at(i) - fresh.at(key).at(i)));
    }
  }
  EXPECT_GT(moved, 1e-3);
}

TEST(Trainer, AveragesFollowTheParameters) {
  const TempFolder folder;
  Small small;
  small.recipe.optimizer.ema_decay = 0.5;
  small.recipe.training.epochs = 1;
  small.train = ColouredPictures(4);  // one step
  small.run(folder / "out");
  const TensorMap fresh = random_weights(small_network(), small.recipe.training.seed);
  const TensorMap weights = tensors_in(folder / "out" / "weights.safetensors");
  const TensorMap averaged = tensors_in(folder / "out" / "weights_ema.safetensors");
  const TensorMap best = tensors_in(folder / "out" / "best.safetensors");
  for (const char* key : {"conv.weight", "fc.bias"}) {
    for (std::int64_t i = 0; i < fresh.at(key).element_count(); ++i) {
      const double wanted = (fresh.at(key).at(i) + weights.at(key).at(i)) / 2;
      EXPECT_NEAR(averaged.at(key).at(i), wanted, 1e-7) << key;
      EXPECT_EQ(best.at(key).at(i), averaged.at(key).at(i));
    }
  }
  EXPECT_NE(averaged.at("fc.bias").at(0), weights.at("fc.bias").at(0));
  EXPECT_EQ(averaged.at("bn.running_mean").at(0), weights.at("bn.running_mean").at(0));
}

TEST(Trainer, PatienceEndsIt) {
  const TempFolder folder;
  Small small;
  small.recipe.optimizer.learning_rate = 0;
  small.recipe.training.epochs = 50;
  small.recipe.training.patience = 2;
  small.network.norm = false;  // nothing moves, so that no validation is better than the first
  const TrainingResult result = small.run(folder / "out");
  EXPECT_EQ(result.end, End::patience);
  EXPECT_EQ(result.epochs, 3);
  EXPECT_EQ(result.best_epoch, 0);
  EXPECT_EQ(small.run(folder / "out", true).epochs, 3);  // it stays ended
  small.validate = false;
  EXPECT_THAT(error_of([&] { small.run(folder / "other"); }, ErrorKind::usage),
              HasSubstr("no validation set"));
}

TEST(Trainer, LoaderThreadsDoNotMatter) {
  const TempFolder folder;
  Small small;
  small.run(folder / "one");
  small.recipe.data.loader_threads = 5;
  small.run(folder / "five");
  EXPECT_EQ(remains_of(folder / "one"), remains_of(folder / "five"));
  small.recipe.training.seed = 2;
  small.run(folder / "other");
  EXPECT_NE(remains_of(folder / "one").files, remains_of(folder / "other").files);
}

TEST(Trainer, TrainsAHeadAndCentres) {
  const TempFolder folder;
  Small small;
  small.recipe.loss.kind = LossRecipe::Kind::arcface;
  small.recipe.loss.scale = 8;
  small.recipe.loss.margin = 0.2;
  small.recipe.training.epochs = 30;
  const TrainingResult result = small.run(folder / "margin");
  const TensorMap head = tensors_in(folder / "margin" / "head.safetensors");
  ASSERT_EQ(head.size(), 1u);
  EXPECT_EQ(head.at("head.weight").shape(), (std::vector<std::int64_t>{3, 8}));
  EXPECT_EQ(result.best, 1.0);
  EXPECT_TRUE(std::filesystem::exists(folder / "margin" / "best_head.safetensors"));
  EXPECT_FALSE(tensors_in(folder / "margin" / "weights.safetensors").contains("head.weight"));
  small.recipe.loss.kind = LossRecipe::Kind::dcr_trunk;
  small.recipe.training.epochs = 1;
  small.run(folder / "centres");
  EXPECT_TRUE(tensors_in(folder / "centres" / "head.safetensors").contains("center.centers"));
}

TEST(Trainer, Bf16KeepsMasterWeights) {
  const TempFolder folder;
  Small small;
  small.recipe.training.precision = Precision::bf16;
  small.network.norm = false;
  small.recipe.training.epochs = 40;
  const TrainingResult result = small.run(folder / "out");
  EXPECT_EQ(result.validation->top1, 1.0);
  const HostTensor weight = tensors_in(folder / "out" / "weights.safetensors").at("conv.weight");
  EXPECT_EQ(weight.dtype(), DType::f32);
  bool more_than_bf16 = false;
  for (std::int64_t i = 0; i < weight.element_count(); ++i) {
    more_than_bf16 |= weight.cast(DType::bf16).at(i) != weight.at(i);
  }
  EXPECT_TRUE(more_than_bf16);
}

TEST(Evaluate, IsTheSameInAnyBatchAndOnTheOracle) {
  const Graph network = small_network();
  const Graph logits = logits_network(network, {});
  const TensorMap weights = random_weights(network, 5);
  const ColouredPictures pictures(7);
  LoaderOptions loading;
  loading.shuffle = loading.drop_last = false;
  loading.end_epoch = 1;
  const auto evaluate = [&](std::int64_t batch, Device device) {
    CompileOptions options;
    options.device = device;
    loading.batch = batch;
    Preprocess settings;
    settings.width = settings.height = 8;
    return evaluate_network(logits, 1, weights, options, pictures, settings, loading);
  };
  const Evaluation oracle = evaluate(7, Device::reference);
  EXPECT_GT(oracle.loss, 0.5);
  for (const std::int64_t batch : {1, 3, 7, 64}) {
    const Evaluation result = evaluate(batch, Device::cpu);
    EXPECT_NEAR(result.loss, oracle.loss, 1e-5);
    EXPECT_EQ(result.top1, oracle.top1);
    EXPECT_EQ(result.pictures, 7);
  }
}

TEST(Evaluate, CrossEntropyByHand) {
  const HostTensor logits = HostTensor::from_floats({2, 2}, {0, 1, 500, 0});
  HostTensor labels(DType::i64, {2});
  labels.as_mutable<std::int64_t>()[0] = 1;
  labels.as_mutable<std::int64_t>()[1] = 1;
  EXPECT_NEAR(cross_entropy_sum(logits, labels, 2), std::log1p(std::exp(-2.0)) + 1000, 1e-12 * 1000);
}

TEST(Trainer, RefusesWhatDoesNotFit) {
  const TempFolder folder;
  const auto message = [&](const Small& given) {
    Small small = given;
    const std::string text = error_of([&] { small.run(folder / "out"); }, ErrorKind::usage);
    EXPECT_FALSE(std::filesystem::exists(folder / "out"));
    return text;
  };
  Small small;
  small.network.classes = 2;
  EXPECT_THAT(message(small), HasSubstr("num_classes=3"));
  small = {};
  small.recipe.data.height = small.recipe.data.width = 9;
  EXPECT_THAT(message(small), HasSubstr("takes 8 x 8"));
  small = {};
  small.recipe.training.batch = 20;
  EXPECT_THAT(message(small), HasSubstr("18 pictures do not fill one step of 20"));
  small = {};
  small.network.classes = 5;  // more than the data has: fine
  small.recipe.training.epochs = 1;
  EXPECT_EQ(small.run(folder / "more").epochs, 1);
  write_bytes(folder / "mine", "");
  EXPECT_THAT(error_of([&] { small.run(folder / "mine"); }, ErrorKind::usage), HasSubstr("is a file"));
}

}  // namespace
}  // namespace facet::test
