#include "zoo/recipes.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "tests/formats/temp_folder.h"
#include "training/recipe.h"
#include "training/step_setup.h"
#include "zoo/zoo.h"

// The recipes that come with Facet.

namespace facet::test {
namespace {

using ::testing::HasSubstr;

RecipeText find(const std::string& name, const std::string& = "") {
  return {std::string(zoo::recipe_text(name)), "recipe " + name};
}

Recipe parse(const std::string& name, const std::vector<std::string>& overrides) {
  const RecipeText text = find(name);
  return parse_recipe(text.text, text.origin, overrides, find);
}

/// What a user has to give: where the pictures and the trunk are.
Recipe complete(const std::string& name) {
  return parse(name, {"data.train=somewhere", "model.init=trunk.safetensors"});
}

bool is_known(const std::string& name) { return std::ranges::count(zoo::recipe_names(), name) > 0; }

TEST(Recipes, EveryOneParsesAndItsNetworkTakesItsPicturesAndLoss) {
  for (const std::string& name : zoo::recipe_names()) {
    SCOPED_TRACE(name);
    const Recipe recipe = complete(name);
    EXPECT_EQ(to_toml(parse_recipe(to_toml(recipe), "again")), to_toml(recipe));
    const Graph network = zoo::build(recipe.model.name, recipe.model.settings);
    const PictureInput input = picture_inputs(network, recipe).front();
    EXPECT_GE(input.height, 28);
    const LossOptions loss = loss_options(recipe, 12);
    const Graph trained = with_loss(network.clone(), loss);
    EXPECT_EQ(trained.outputs().at(0).name, "loss");
    EXPECT_GT(logits_width(logits_network(network, loss)), 1);
    for (const std::string& head : recipe.model.frozen) {
      EXPECT_TRUE(std::ranges::any_of(trained.parameters(), [&](const Parameter& parameter) {
        return parameter.key.starts_with(head);
      })) << head;
    }
  }
}

TEST(Recipes, CorrectedOnesDifferFromWhatWasPublished) {
  std::size_t pairs = 0;
  for (const std::string& name : zoo::recipe_names()) {
    const auto suffix = name.find("_corrected");
    if (suffix == std::string::npos) continue;
    SCOPED_TRACE(name);
    ++pairs;
    ASSERT_TRUE(is_known(name.substr(0, suffix)));
    const Recipe published = complete(name.substr(0, suffix));
    const Recipe corrected = complete(name);
    EXPECT_NE(describe_changes(published, corrected), "");
    EXPECT_EQ(corrected.model.name, published.model.name);
    EXPECT_EQ(corrected.training.epochs, published.training.epochs);
  }
  EXPECT_GE(pairs, 10U);
}

TEST(Recipes, WhoseDataIsNotThereSayWhatToGet) {
  EXPECT_THAT(error_of([] { parse("lscnn_webface", {}); }, ErrorKind::usage),
              AllOf(HasSubstr("recipe lscnn_webface: data.train is empty"),
                    HasSubstr("CASIA-WebFace"), HasSubstr("data.train=/path")));
  EXPECT_THAT(error_of([] { parse("lesa_resnet50_imagenet", {}); }, ErrorKind::usage),
              HasSubstr("ImageNet"));
  for (const char* name : {"mla_r18_ms1mv2", "arcface_r100", "cosface_r50", "dcr_trunk"}) {
    EXPECT_THAT(error_of([&] { parse(name, {}); }, ErrorKind::usage),
                HasSubstr("data.train is empty; it trains on"))
        << name;
  }
  EXPECT_THAT(error_of([] { parse("dcr_branch_synth", {}); }, ErrorKind::usage),
              HasSubstr("name its weights in model.init"));
}

// The rates of the first steps, of a training of 100 steps: what the published codes start with.
TEST(Recipes, MarginTrainingsStartWithTheRatesOfTheirCodes) {
  const auto rate = [](const std::string& name, std::int64_t iteration) {
    const Recipe recipe = complete(name);
    EXPECT_EQ(recipe.training.epochs, 20) << name;
    return learning_rate(recipe.schedule, recipe.optimizer.learning_rate, iteration, 5, 20);
  };
  EXPECT_DOUBLE_EQ(rate("mla_r50_ms1mv2", 0), 0.1);
  EXPECT_DOUBLE_EQ(rate("mla_r50_ms1mv2", 1), 0.1);
  EXPECT_DOUBLE_EQ(rate("mla_r50_ms1mv2", 2), 0.1 * 0.99 * 0.99);
  EXPECT_DOUBLE_EQ(rate("mla_r50_ms1mv2_corrected", 1), 0.1 * 0.99 * 0.99);
  EXPECT_DOUBLE_EQ(rate("arcface_r100", 50), 0.05);
  EXPECT_DOUBLE_EQ(rate("arcface_r100_corrected", 50), 0.025);
}

// LS-CNN's published schedule, epoch by epoch, and the corrected one.
TEST(Recipes, LsCnnsRatesFallWhereThePublishedCodeLetsThem) {
  const auto rates = [](const std::string& name) {
    const Recipe recipe = complete(name);
    std::string text;
    for (std::int64_t epoch = 0; epoch < recipe.training.epochs; ++epoch) {
      const double rate = learning_rate(recipe.schedule, recipe.optimizer.learning_rate,
                                        epoch * 100, 100, recipe.training.epochs);
      text += rate > 0.09 ? 'a' : rate > 0.009 ? 'b' : 'c';
    }
    return text;
  };
  EXPECT_EQ(rates("lscnn_webface"), "aaaaaaaaabbbbbbbbbbcccccc");
  EXPECT_EQ(rates("lscnn_webface_corrected"), "aaaaaaaaaabbbbbbbbbbccccc");
}

}  // namespace
}  // namespace facet::test
