#include "training/recipe.h"

#include <gmock/gmock.h>

#include <set>

#include "tests/formats/temp_folder.h"
#include "training/recipe_fields.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kSmall = "[model]\nname = \"lscnn\"\n";

std::string refusal(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return error_of([&] { parse_recipe(text, "r.toml", overrides); }, ErrorKind::usage);
}

/// The refusal of a line in a section of an otherwise good recipe.
std::string refused_line(const std::string& section, const std::string& line) {
  return refusal(std::string(kSmall) + "[" + section + "]\n" + line + "\n");
}

TEST(Recipe, ReadsEveryKindOfField) {
  const Recipe recipe = parse_recipe(R"(# LS-CNN on faces
[model]
name = "lscnn"          # of the zoo
[model.settings]
classes = 10
attention = "none"
layers = [3, 4, 6]

[data]
kind = 'folder'
train = "faces, aligned/train #1"
mean = [0.1, 0.25, 0.5]
height = 128
width = 128
on_bad_image = "skip"
fit = "center_crop"

[augmentation]
crop = "random"
flip = 0.5

[loss]
kind = "arcface"
variant = "threshold"

[optimizer]
learning_rate = 1e-1
nesterov = true
weight_decay = 0.0001

[schedule]
kind = "step"
milestones = [9, 19]

[training]
epochs = 25
seed = 18446744073709551615
precision = "bf16"
recompute = "scope:layer*,head"
)",
                                     "r.toml");
  EXPECT_EQ(recipe.model.name, "lscnn");
  EXPECT_EQ(recipe.model.settings,
            (std::map<std::string, std::string>{
                {"classes", "10"}, {"attention", "none"}, {"layers", "3,4,6"}}));
  EXPECT_EQ(recipe.data.kind, DataRecipe::Kind::folder);
  EXPECT_EQ(recipe.data.train, "faces, aligned/train #1");
  EXPECT_THAT(recipe.data.mean, ElementsAre(0.1F, 0.25F, 0.5F));
  EXPECT_EQ(recipe.data.height, 128);
  EXPECT_EQ(recipe.data.on_bad_image, DataRecipe::BadImage::skip);
  EXPECT_EQ(recipe.data.fit, Preprocess::Fit::center_crop);
  EXPECT_EQ(recipe.augmentation.crop, Crop::random);
  EXPECT_EQ(recipe.augmentation.flip, 0.5);
  EXPECT_EQ(recipe.loss.kind, LossRecipe::Kind::arcface);
  EXPECT_EQ(recipe.loss.variant, LossRecipe::Variant::threshold);
  EXPECT_EQ(recipe.optimizer.learning_rate, 0.1);
  EXPECT_TRUE(recipe.optimizer.nesterov);
  EXPECT_EQ(recipe.optimizer.momentum, 0.9) << "what is not given keeps its default";
  EXPECT_THAT(recipe.schedule.milestones, ElementsAre(9, 19));
  EXPECT_EQ(recipe.training.epochs, 25);
  EXPECT_EQ(recipe.training.seed, ~std::uint64_t{0});
  EXPECT_EQ(recipe.training.precision, Precision::bf16);
  EXPECT_EQ(recipe.training.recompute.kind, RecomputePolicy::Kind::scope);
  EXPECT_THAT(recipe.training.recompute.scopes, ElementsAre("layer*", "head"));
}

TEST(Recipe, TomlComesBackToTheBit) {
  Recipe recipe = parse_recipe(kSmall, "r.toml");
  const std::string defaults = to_toml(recipe);
  EXPECT_EQ(to_toml(parse_recipe(defaults, "again")), defaults);

  recipe.model.settings = {{"depth", "50"}, {"layers", "1,2,5"}, {"empty", ""}};
  recipe.model.frozen = {"a, b", "c]", "\"d\""};
  recipe.model.init = "a \"b\" \\ c # d, [e] = 'f'\tg\nh\x01 \xC3\xBC;";
  recipe.data.kind = DataRecipe::Kind::folder;
  recipe.data.train = "'''";
  recipe.data.validation = "[x, y]";
  recipe.data.std = {0.1F, 1.0F / 3, 1e-20F};
  recipe.optimizer.learning_rate = 0.1 + 0.2;
  recipe.optimizer.epsilon = 5e-324;
  recipe.optimizer.weight_decay = 1e300;
  recipe.schedule.milestones = {3};
  recipe.training.recompute = parse_recompute("budget:123456789012");
  const std::string text = to_toml(recipe);
  const Recipe back = parse_recipe(text, "again");
  EXPECT_EQ(to_toml(back), text);
  EXPECT_EQ(back.model.settings, recipe.model.settings);
  EXPECT_EQ(back.model.init, recipe.model.init);
  EXPECT_EQ(back.model.frozen, recipe.model.frozen);
  EXPECT_EQ(back.data.train, recipe.data.train);
  EXPECT_EQ(back.data.validation, recipe.data.validation);
  EXPECT_EQ(back.data.std, recipe.data.std);
  EXPECT_EQ(back.optimizer.learning_rate, recipe.optimizer.learning_rate);
  EXPECT_EQ(back.optimizer.epsilon, recipe.optimizer.epsilon);
  EXPECT_EQ(back.optimizer.weight_decay, recipe.optimizer.weight_decay);
  EXPECT_EQ(back.training.recompute.bytes, 123456789012);
}

/// Another value of a field, from what `to_toml` writes for it.
std::string changed(const RecipeField& field) {
  const std::string now = field.write();
  if (now == "true") return "false";
  if (now == "false") return "true";
  if (field.name == "milestones" || field.name == "sizes") return "[2, 5]";
  if (field.name == "frozen" || field.name == "init_skip") return "[\"trunk.\"]";
  if (field.list) return "[0.25, 0.5, 0.75]";
  if (field.name == "recompute") return "budget:0.5";
  for (const char* other :
       {"1", "2", "0.5", "folder", "center_crop", "lanczos", "skip", "stop", "resized", "dcr_trunk",
        "autograd", "adam", "cosine", "linear", "bf16", "classes", "bilinear", "v1", "dcr", "sum",
        "rank1"}) {
    try {
      field.read({other});
      if (field.write() != now) return other;
    } catch (const Error&) {
    }
  }
  return "no other value";
}

TEST(Recipe, EveryFieldIsReadAndWritten) {
  Recipe probe;
  std::set<std::string> names;
  for (const RecipeField& field : recipe_fields(probe)) {
    EXPECT_TRUE(names.insert(field.full_name()).second) << field.full_name() << " stands twice";
    Recipe fresh;
    Recipe scratch;
    std::string value;
    for (const RecipeField& other : recipe_fields(scratch)) {
      if (other.full_name() == field.full_name()) value = changed(other);
    }
    Recipe set;
    for (const RecipeField& other : recipe_fields(set)) {
      if (other.full_name() != field.full_name()) continue;
      std::vector<std::string> values = {value};
      if (value == "[2, 5]") values = {"2", "5"};
      if (value == "[\"trunk.\"]") values = {"trunk."};
      if (value == "[0.25, 0.5, 0.75]") values = {"0.25", "0.5", "0.75"};
      other.read(values);
    }
    const std::string changes = describe_changes(fresh, set);
    EXPECT_THAT(changes, ::testing::StartsWith(field.full_name() + ": ")) << "one field, and this";
    EXPECT_EQ(std::ranges::count(changes, '\n'), 1) << changes;
    EXPECT_THAT(to_toml(set), HasSubstr(field.name + " = "));
  }
  EXPECT_EQ(names.size(), 115U);
}

TEST(Recipe, OverridesComeLast) {
  const Recipe recipe =
      parse_recipe(kSmall, "r.toml",
                   {"training.epochs=5", "training.epochs = 7", "model.settings.depth=50",
                    "data.train=some folder, with = all", "data.kind=folder",
                    "schedule.milestones=[1, 2]", "data.mean=0.1,0.2,0.3", "model.init=\"quoted\"",
                    "optimizer.nesterov=true", "model.settings.layers=1,2"});
  EXPECT_EQ(recipe.training.epochs, 7);
  EXPECT_EQ(recipe.model.settings.at("depth"), "50");
  EXPECT_EQ(recipe.model.settings.at("layers"), "1,2");
  EXPECT_EQ(recipe.data.train, "some folder, with = all");
  EXPECT_THAT(recipe.schedule.milestones, ElementsAre(1, 2));
  EXPECT_THAT(recipe.data.mean, ElementsAre(0.1F, 0.2F, 0.3F));
  EXPECT_EQ(recipe.model.init, "quoted");
  const std::string step = std::string(kSmall) + "[schedule]\nmilestones = [4, 8]\n";
  EXPECT_THAT(parse_recipe(step, "r", {"schedule.milestones="}).schedule.milestones, ElementsAre());
  EXPECT_EQ(parse_recipe("", "r", {"model.name=dcr"}).model.name, "dcr");
}

TEST(Recipe, OverridesThatAreWrongAreQuoted) {
  EXPECT_THAT(refusal(kSmall, {"training.epoch=5"}),
              AllOf(HasSubstr("'training.epoch=5'"), HasSubstr("did you mean 'epochs'")));
  EXPECT_THAT(
      refusal(kSmall, {"training.epochs=five"}),
      HasSubstr("'training.epochs=five': training.epochs is \"five\", which is not a whole"));
  EXPECT_THAT(refusal(kSmall, {"epochs=5"}), HasSubstr("write section.field=value"));
  EXPECT_THAT(refusal(kSmall, {"training.epochs"}), HasSubstr("write section.field=value"));
  EXPECT_THAT(refusal(kSmall, {"training.epochs="}), HasSubstr("is \"\""));
}

TEST(Recipe, UnknownFieldsHaveSuggestions) {
  EXPECT_THAT(refused_line("training", "epoch = 5"),
              AllOf(HasSubstr("r.toml: there is no field training.epoch"),
                    HasSubstr("did you mean 'epochs'")));
  EXPECT_THAT(refused_line("optimizer", "epochs = 5"), HasSubstr("did you mean 'training.epochs'"));
  EXPECT_THAT(refused_line("optimizer", "entirely_else = 5"),
              AllOf(HasSubstr("optimizer.entirely_else"), Not(HasSubstr("did you mean"))));
  EXPECT_THAT(refused_line("optimiser", "momentum = 0.5"),
              AllOf(HasSubstr("no section [optimiser]"), HasSubstr("did you mean 'optimizer'")));
  EXPECT_THAT(refused_line("zzz", ""), HasSubstr("the sections are model"));
  EXPECT_THAT(refused_line("model.settings.deeper", "a = 1"), HasSubstr("model.settings.deeper"));
  EXPECT_THAT(refusal("epochs = 5\n"), HasSubstr("epochs is outside the sections"));
}

TEST(Recipe, WrongValuesNameFileAndField) {
  const auto epochs = [](const std::string& value) {
    return refused_line("training", "epochs = " + value);
  };
  for (const char* value : {"\"ten\"", "1.5", "1e3", "10 20", "", "true", "[]", "0x10"}) {
    EXPECT_THAT(epochs(value), HasSubstr("r.toml: training.epochs ")) << value;
  }
  EXPECT_THAT(epochs("0"), HasSubstr("is 0; it must be from 1 to"));
  EXPECT_THAT(epochs("99999999999999999999"), HasSubstr("whole number"));
  EXPECT_THAT(refused_line("optimizer", "momentum = 1"), HasSubstr("must be from 0 to 0.999999"));
  EXPECT_THAT(refused_line("optimizer", "learning_rate = -0.1"), HasSubstr("at least 0"));
  EXPECT_THAT(refused_line("optimizer", "learning_rate = nan"), HasSubstr("learning_rate is nan"));
  EXPECT_THAT(refused_line("optimizer", "learning_rate = inf"), HasSubstr("learning_rate is inf"));
  EXPECT_THAT(refused_line("optimizer", "nesterov = yes"), HasSubstr("must be true or false"));
  EXPECT_THAT(refused_line("optimizer", "kind = \"sdg\""),
              HasSubstr("optimizer.kind is \"sdg\"; it must be one of: sgd, adam, adamw, lars"));
  EXPECT_THAT(refused_line("data", "mean = [0.5, 0.5]"), HasSubstr("data.mean has 2 values"));
  EXPECT_THAT(refused_line("data", "mean = [0.5, 0.5, x]"),
              HasSubstr("\"x\", which is not a number"));
  EXPECT_THAT(refused_line("schedule", "milestones = [1.5]"), HasSubstr("schedule.milestones"));
  EXPECT_THAT(refused_line("data", "train = two words"), HasSubstr("needs quotes"));
  EXPECT_THAT(refused_line("training", "seed = -1"), HasSubstr("training.seed"));
  for (const char* value : {"all", "scope:", "scope:a,", "budget:", "budget:0", "budget:1k", "budget:512"}) {
    EXPECT_THAT(refused_line("training", std::string("recompute = \"") + value + "\""),
                HasSubstr("training.recompute is "));
  }
}

TEST(Recipe, FieldsGivenTwiceAndBrokenTomlAreNoticed) {
  EXPECT_THAT(refusal(std::string(kSmall) + "[training]\nepochs = 1\nbatch = 2\nepochs = 3\n"),
              HasSubstr("training.epochs is given twice"));
  EXPECT_THAT(refusal(std::string(kSmall) + "[training]\nepochs = 1\nepochs = 3\n"),
              HasSubstr("training.epochs has 2 values"));
  EXPECT_THAT(refusal("[model]\nname = \"\\q\"\n"), HasSubstr("r.toml: is not TOML"));
  EXPECT_THAT(refusal("[model\nname = 1\n"), HasSubstr("r.toml: "));
}

TEST(Recipe, FieldsMustFitEachOther) {
  EXPECT_THAT(refusal(""), HasSubstr("r.toml: model.name is empty"));
  EXPECT_THAT(refused_line("data", "kind = \"folder\""), HasSubstr("data.train is empty; name the folder"));
  EXPECT_THAT(refused_line("data", "kind = \"folder\"\ndescription = \"faces of 144 pixels\""),
              HasSubstr("data.train is empty; it trains on faces of 144 pixels: say where"));
  EXPECT_THAT(refused_line("data", "height = 32"), HasSubstr("data.height and data.width"));
  EXPECT_THAT(refused_line("data", "std = [1, 0, 1]"), HasSubstr("data.std has a 0"));
  EXPECT_THAT(refused_line("augmentation", "flip = 2"), HasSubstr("augmentation.flip is 2"));
  EXPECT_THAT(refused_line("schedule", "warmup_epochs = 10"), HasSubstr("warm-up of 10 epochs"));
  EXPECT_THAT(refused_line("optimizer", "kind = \"adam\"\nnesterov = true"),
              HasSubstr("nesterov needs"));
  EXPECT_THAT(refusal(kSmall, {"loss.kind=arcface", "augmentation.cut_mix=0.5"}),
              HasSubstr("cut_mix needs"));
  EXPECT_THAT(refusal(kSmall, {"scales.sizes=8,12", "augmentation.cut_mix=0.5"}),
              HasSubstr("several scales"));
  EXPECT_THAT(refusal(kSmall, {"scales.sizes=8,8"}), HasSubstr("scales.sizes has 8 twice"));
  EXPECT_THAT(refusal(kSmall, {"data.drop_last=false", "optimizer.accumulate=2"}),
              HasSubstr("data.drop_last = false"));
  EXPECT_THAT(refusal(kSmall, {"model.init_branches=true"}), HasSubstr("in model.init"));
}

TEST(Recipe, FilesAreReadAndNamed) {
  const TempFolder folder;
  const auto path = folder / "x.toml";
  EXPECT_THAT(error_of([&] { read_recipe(path); }),
              AllOf(HasSubstr("x.toml"), HasSubstr("No such file")));
  EXPECT_THAT(error_of([&] { read_recipe(folder / ""); }), HasSubstr("it is a folder"));
  write_bytes(path, "[model]\r\nname = \"dcr\"\r\n[training]\r\nepochs = 3\r\n");
  EXPECT_EQ(read_recipe(path).training.epochs, 3);
  EXPECT_EQ(read_recipe(path, {"training.epochs=4"}).training.epochs, 4);
  write_bytes(path, "[model]\nnme = \"dcr\"\n");
  EXPECT_THAT(
      error_of([&] { read_recipe(path); }, ErrorKind::usage),
      AllOf(HasSubstr("x.toml: there is no field model.nme"), HasSubstr("did you mean 'name'")));
}

TEST(Recipe, ChangesAreListed) {
  const Recipe before = parse_recipe(kSmall, "r");
  EXPECT_EQ(describe_changes(before, before), "");
  const Recipe after =
      parse_recipe(kSmall, "r", {"optimizer.learning_rate=0.05", "model.settings.depth=50"});
  EXPECT_THAT(describe_changes(before, after),
              AllOf(HasSubstr("optimizer.learning_rate: 0.05, was 0.1\n"),
                    HasSubstr("model.settings: {\"depth\": \"50\"}, was {}")));
}

}  // namespace
}  // namespace facet::test
