#include "cli/recipes.h"

#include "zoo/recipes.h"

namespace facet::cli {

Recipe load_recipe(const std::string& name, const std::vector<std::string>& overrides) {
  if (name.ends_with(".toml") || name.find('/') != std::string::npos) {
    return read_recipe(name, overrides);
  }
  return parse_recipe(zoo::recipe_text(name), "recipe " + name, overrides);
}

}  // namespace facet::cli
