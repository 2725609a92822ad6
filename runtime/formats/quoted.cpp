#include "runtime/formats/quoted.h"

#include <nlohmann/json.hpp>

namespace facet {

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kLongest = 100;
  std::string shown(text.substr(0, kLongest));
  if (text.size() > kLongest) shown += "...";
  return nlohmann::json(shown).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

}  // namespace facet
