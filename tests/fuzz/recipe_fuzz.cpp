#include <cstdlib>

#include "tests/fuzz/fuzz.h"
#include "training/recipe.h"

/// What is read must write a recipe that reads back the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace facet;
  return fuzz::attempt([&] {
    const Recipe recipe = parse_recipe(fuzz::text_of(data, size), "x");
    const std::string text = to_toml(recipe);
    if (to_toml(parse_recipe(text, "y")) != text) std::abort();
  });
}
