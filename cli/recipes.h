#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"
#include "training/recipe.h"

namespace facet::cli {

/// The recipe of a TOML file (named *.toml, or with a folder), or one that comes with Facet, with
/// "section.field=value" overrides. Throws Error(usage) with the nearest names for an unknown one and
/// as `parse_recipe`, Error(failure) for a file that cannot be read.
Recipe load_recipe(const std::string& name, const std::vector<std::string>& overrides);

/// The network of its model.name: of the zoo, with model.settings, or a file in text form (*.ir).
/// Throws as `zoo::build` and `load_model`.
Graph recipe_network(const Recipe& recipe);

}  // namespace facet::cli
