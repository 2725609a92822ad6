#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "training/recipe.h"

namespace facet {

/// One field of a recipe, in the words of its file. Bound to the recipe it was made for.
struct RecipeField {
  std::string section;
  std::string name;
  /// Takes one value, or those of a list. Throws Error(usage) that says what is wrong with them.
  std::function<void(const std::vector<std::string>&)> read;
  /// The value as TOML.
  std::function<std::string()> write;
  bool list = false;

  std::string full_name() const { return section + "." + name; }
};

/// All fields but those of [model.settings], section by section. `recipe` must outlive them.
std::vector<RecipeField> recipe_fields(Recipe& recipe);

/// A TOML string in quotes.
std::string toml_string(std::string_view text);

}  // namespace facet
