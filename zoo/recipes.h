#pragma once

#include <string>
#include <string_view>
#include <vector>

/// The recipes that come with Facet (zoo/recipes/*.toml), by name.
namespace facet::zoo {

/// In the order of the alphabet.
const std::vector<std::string>& recipe_names();
/// The TOML text. Throws Error(usage) with the nearest names and the list.
std::string_view recipe_text(std::string_view name);

}  // namespace facet::zoo
