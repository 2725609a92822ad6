#include "cli/recipes.h"

#include <utility>

#include "cli/common.h"
#include "cli/onnx_model.h"
#include "ir/error.h"
#include "zoo/recipes.h"
#include "zoo/zoo.h"

namespace facet::cli {

namespace {

RecipeText find_recipe(const std::string& name, const std::string& /*origin*/) {
  return {std::string(zoo::recipe_text(name)), "recipe " + name};
}

Recipe read(const std::string& name, const std::vector<std::string>& overrides) {
  if (name.ends_with(".toml") || name.find('/') != std::string::npos) {
    return read_recipe(name, overrides, find_recipe);
  }
  const RecipeText recipe = find_recipe(name, "");
  return parse_recipe(recipe.text, recipe.origin, overrides, find_recipe);
}

/// An ONNX model goes on from its own weights, unless the recipe names others.
Recipe with_own_weights(Recipe recipe) {
  if (is_onnx_file(recipe.model.name) && recipe.model.init.empty()) recipe.model.init = recipe.model.name;
  return recipe;
}

}  // namespace

Recipe load_recipe(const std::string& name, const std::vector<std::string>& overrides) {
  return with_own_weights(read(name, overrides));
}

Graph recipe_network(const Recipe& recipe) {
  const std::string& name = recipe.model.name;
  if (!name.ends_with(".ir") && !is_onnx_file(name)) return zoo::build(name, recipe.model.settings);
  if (!recipe.model.settings.empty()) {
    throw usage_error("model.settings are for models of the zoo; " + name + " is taken as it is");
  }
  return std::move(load_model(name, {}).graph);
}

}  // namespace facet::cli
