#include "zoo/recipes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "ir/error.h"

namespace facet::zoo {
namespace {

struct NamedRecipe {
  std::string_view name;
  std::string_view text;
};

constexpr NamedRecipe kRecipes[] = {
#include "zoo/recipes.inc"
};

}  // namespace

const std::vector<std::string>& recipe_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const NamedRecipe& recipe : kRecipes) list.emplace_back(recipe.name);
    std::ranges::sort(list);
    return list;
  }();
  return names;
}

std::string_view recipe_text(std::string_view name) {
  const auto* found = std::ranges::find(kRecipes, name, &NamedRecipe::name);
  if (found != std::end(kRecipes)) return found->text;
  const std::string hint = did_you_mean(name, recipe_names());
  throw usage_error(fmt::format("there is no recipe '{}'{}{} (recipes: {}; or name a .toml file)", name,
                                hint.empty() ? "" : "; ", hint, fmt::join(recipe_names(), ", ")));
}

}  // namespace facet::zoo
