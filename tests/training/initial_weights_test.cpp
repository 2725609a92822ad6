#include "training/initial_weights.h"

#include <gmock/gmock.h>

#include <cstring>

#include "runtime/formats/safetensors.h"
#include "runtime/weights.h"
#include "tests/formats/temp_folder.h"
#include "training/step_setup.h"
#include "zoo/zoo.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Graph small_dcr(const std::string& branch, const std::string& classes = "5",
                const std::string& scales = "2") {
  return zoo::build("dcr_small", {{"branch", branch},
                                  {"num_classes", classes},
                                  {"num_scales", scales},
                                  {"width", "16"},
                                  {"layers", "1,1,1"},
                                  {"embedding_size", "16"}});
}

bool same(const HostTensor& a, const HostTensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.byte_count())) == 0;
}

void write(const std::filesystem::path& path, const TensorMap& weights) {
  write_safetensors(path, {weights.begin(), weights.end()});
}

Recipe recipe_from(const std::filesystem::path& init) {
  Recipe recipe;
  recipe.model.name = "dcr_small";
  recipe.model.init = init.string();
  recipe.training.seed = 7;
  return recipe;
}

TEST(InitialWeights, SkippedKeysAreFreshAndAllOthersTheFiles) {
  const TempFolder folder;
  const auto file = folder / "trunk.safetensors";
  const TensorMap trained = random_weights(small_dcr("trunk", "5", "4"), 1);
  write(file, trained);
  // Another number of classes and of branches.
  const Graph network = small_dcr("trunk", "9", "2");
  Recipe recipe = recipe_from(file);
  EXPECT_THAT(error_of([&] { initial_weights(network, network, recipe); }),
              AllOf(HasSubstr("unexpected: branches.3.fc1.weight"),
                    HasSubstr("ill-typed: trunk.fc2.weight is f32[5, 16], should be f32[9, 16]")));
  recipe.model.init_skip = {"trunk.fc2."};
  EXPECT_THAT(error_of([&] { initial_weights(network, network, recipe); }),
              AllOf(HasSubstr("unexpected: branches.3.fc1.weight"), Not(HasSubstr("trunk.fc2"))));
  recipe.model.init_skip = {"trunk.fc2.", "branches."};
  const TensorMap weights = initial_weights(network, network, recipe);
  const TensorMap fresh = random_weights(network, 7);
  ASSERT_EQ(weights.size(), fresh.size());
  for (const auto& [key, tensor] : weights) {
    const bool skipped = key.starts_with("trunk.fc2.") || key.starts_with("branches.");
    EXPECT_TRUE(same(tensor, skipped ? fresh.at(key) : trained.at(key))) << key;
  }
}

TEST(InitialWeights, SkippedKeysMayBeMissingAndHaveWrappersPrefixes) {
  const TempFolder folder;
  const auto file = folder / "parallel.safetensors";
  TensorMap wrapped;
  for (const auto& [key, tensor] : random_weights(small_dcr("trunk"), 1)) {
    if (!key.starts_with("branches.0.")) wrapped["module." + key] = tensor;
  }
  wrapped["module.branches.7.fc1.weight"] = HostTensor(DType::f32, {2, 2});
  write(file, wrapped);
  const Graph network = small_dcr("trunk");
  Recipe recipe = recipe_from(file);
  EXPECT_THAT(error_of([&] { initial_weights(network, network, recipe); }),
              AllOf(HasSubstr("missing: branches.0.fc1.weight"), HasSubstr("branches.7")));
  recipe.model.init_skip = {"branches."};
  EXPECT_TRUE(same(initial_weights(network, network, recipe).at("trunk.fc1.weight"),
                   wrapped.at("module.trunk.fc1.weight")));
}

TEST(InitialWeights, BranchesStartAsTheTrunk) {
  const TempFolder folder;
  const auto file = folder / "trunk.safetensors";
  TensorMap trained = trial_weights(small_dcr("trunk"), 3);
  write(file, trained);
  const Graph network = small_dcr("all");
  Recipe recipe = recipe_from(file);
  recipe.model.init_branches = true;
  const TensorMap weights = initial_weights(network, network, recipe);
  HostTensor pictures(DType::f32, {3, 3, 28, 28});
  for (std::int64_t i = 0; i < pictures.element_count(); ++i) {
    pictures.as_mutable<float>()[i] = static_cast<float>((i * 37) % 101) / 50 - 1;
  }
  const auto run = [&](const std::string& branch) {
    return compile(small_dcr(branch), weights, {}, 3)->make_context()->run({{"input", pictures}});
  };
  const TensorMap trunk = run("trunk");
  for (const char* branch : {"0", "1"}) {
    const TensorMap own = run(branch);
    EXPECT_TRUE(same(own.at("embedding"), trunk.at("embedding")))
        << "embeddings are the trunk's exactly";
    EXPECT_FALSE(same(own.at("logits"), trunk.at("logits"))) << "a PReLU stands ahead of fc2";
    const std::string key = std::string("branches.") + branch;
    EXPECT_TRUE(same(weights.at(key + ".fc2.weight"), trained.at("trunk.fc2.weight")));
    EXPECT_TRUE(same(weights.at(key + ".fc2.bias"), trained.at("trunk.fc2.bias")));
    EXPECT_TRUE(same(weights.at(key + ".relu.weight"),
                     random_weights(network, 7).at(key + ".relu.weight")) ||
                same(weights.at(key + ".relu.weight"), trained.at(key + ".relu.weight")));
  }
}

TEST(InitialWeights, BranchesThatCannotBeTheTrunkAreRefused) {
  TensorMap other = random_weights(zoo::build("mla_small"), 1);
  EXPECT_THAT(error_of([&] { copy_trunk_to_branches(other); }, ErrorKind::usage),
              HasSubstr("no parameter 'trunk.fc2.weight'"));
  TensorMap narrow = random_weights(
      zoo::build("dcr", {{"mid_channels", "8"}, {"out_channels", "16"}, {"num_classes", "3"}}), 1);
  EXPECT_THAT(error_of([&] { copy_trunk_to_branches(narrow); }, ErrorKind::usage),
              HasSubstr("branch 0 cannot start as the trunk"));
}

}  // namespace
}  // namespace facet::test
