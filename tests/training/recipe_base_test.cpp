#include <gmock/gmock.h>

#include <map>

#include "tests/formats/temp_folder.h"
#include "training/recipe.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::map<std::string, std::string> kKnown = {
    {"plain",
     "[model]\nname = \"dcr\"\nfrozen = [\"trunk.\", \"a, b\"]\n[model.settings]\nwidth = 32\n"
     "branch = \"trunk\"\n[training]\nepochs = 7\nbatch = 32\n[schedule]\nmilestones = [2, 4]\n"},
    {"wide", "base = \"plain\"\n[model.settings]\nwidth = 64\n[training]\nepochs = 9\n"},
    {"self", "base = \"self\"\n"},
    {"one", "base = \"two\"\n"},
    {"two", "base = \"one\"\n"},
    {"lost", "base = \"plane\"\n"},
    {"wrong", "base = \"plain\"\n[training]\nepoch = 3\n"}};

RecipeText find(const std::string& name, const std::string&) {
  const auto found = kKnown.find(name);
  if (found == kKnown.end()) throw usage_error("there is no recipe '" + name + "'");
  return {found->second, "recipe " + name};
}

Recipe parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_recipe(text, "r.toml", overrides, find);
}

std::string refusal(const std::string& text) {
  return error_of([&] { parse(text); }, ErrorKind::usage);
}

TEST(RecipeBase, WhatARecipeDoesNotGiveIsItsBases) {
  const Recipe recipe = parse("base = \"wide\"\n[training]\nbatch = 8\n", {"training.epochs=1"});
  EXPECT_EQ(recipe.model.name, "dcr");
  EXPECT_THAT(recipe.model.frozen, ElementsAre("trunk.", "a, b"));
  EXPECT_EQ(recipe.model.settings,
            (std::map<std::string, std::string>{{"width", "64"}, {"branch", "trunk"}}));
  EXPECT_EQ(recipe.training.epochs, 1);
  EXPECT_EQ(recipe.training.batch, 8);
  EXPECT_THAT(recipe.schedule.milestones, ElementsAre(2, 4));
  EXPECT_EQ(parse(kKnown.at("wide")).training.epochs, 9);
}

TEST(RecipeBase, ListsAreReplacedAndCanBeEmptied) {
  const Recipe recipe =
      parse("base = \"plain\"\n[model]\nfrozen = []\n[schedule]\nmilestones = [3]\n");
  EXPECT_THAT(recipe.model.frozen, IsEmpty());
  EXPECT_THAT(recipe.schedule.milestones, ElementsAre(3));
}

TEST(RecipeBase, AnotherNetworkDoesNotInheritOptions) {
  const Recipe recipe =
      parse("base = \"plain\"\n[model.settings]\ndepth = 3\n[model]\nname = \"x\"\n");
  EXPECT_EQ(recipe.model.settings, (std::map<std::string, std::string>{{"depth", "3"}}));
  EXPECT_EQ(parse("base = \"plain\"\n[model]\nname = \"dcr\"\n").model.settings.size(), 2U);
}

TEST(RecipeBase, TomlIsWhole) {
  const Recipe recipe = parse("base = \"wide\"\n");
  const std::string text = to_toml(recipe);
  EXPECT_THAT(text, ::testing::Not(HasSubstr("\nbase")));
  EXPECT_EQ(to_toml(parse_recipe(text, "again")), text);
  EXPECT_EQ(describe_changes(recipe, parse_recipe(text, "again")), "");
}

TEST(RecipeBase, CyclesAndUnknownNamesAreErrors) {
  EXPECT_THAT(refusal("base = \"self\"\n"), HasSubstr("r.toml -> recipe self -> recipe self"));
  EXPECT_THAT(refusal("base = \"one\"\n"), HasSubstr("recipe one -> recipe two -> recipe one"));
  EXPECT_THAT(refusal("base = \"lost\"\n"),
              AllOf(HasSubstr("no recipe 'plane'"), HasSubstr("the base 'plane' of recipe lost")));
  EXPECT_THAT(refusal("base = \"wrong\"\n"),
              HasSubstr("recipe wrong: there is no field training.epoch"));
  EXPECT_THAT(refusal("base = [\"one\", \"two\"]\n"),
              HasSubstr("base takes the name of one recipe"));
  EXPECT_THAT(refusal("[training]\nbase = \"plain\"\n"), HasSubstr("no field training.base"));
  EXPECT_THAT(error_of([] { parse_recipe("base = \"plain\"\n", "r.toml"); }, ErrorKind::usage),
              HasSubstr("cannot be looked up here"));
}

TEST(RecipeBase, FilesAreFoundBesideTheRecipe) {
  const TempFolder folder;
  std::filesystem::create_directories(folder / "sub");
  write_bytes(folder / "sub/low.toml", "base = \"../high.toml\"\n[training]\nepochs = 2\n");
  write_bytes(folder / "high.toml", "base = \"plain\"\n[training]\nbatch = 3\n");
  const Recipe recipe = read_recipe(folder / "sub/low.toml", {}, find);
  EXPECT_EQ(recipe.training.epochs, 2);
  EXPECT_EQ(recipe.training.batch, 3);
  EXPECT_EQ(recipe.model.name, "dcr");
  EXPECT_THAT(error_of([&] { read_recipe(folder / "sub/low.toml"); }, ErrorKind::usage),
              HasSubstr("there is no recipe 'plain'"));
  write_bytes(folder / "high.toml", "base = \"sub/low.toml\"\n");
  EXPECT_THAT(error_of([&] { read_recipe(folder / "sub/low.toml", {}, find); }, ErrorKind::usage),
              HasSubstr("lead back"));
  std::filesystem::remove(folder / "high.toml");
  EXPECT_THAT(error_of([&] { read_recipe(folder / "sub/low.toml", {}, find); }),
              AllOf(HasSubstr("high.toml"), HasSubstr("No such file")));
}

}  // namespace
}  // namespace facet::test
