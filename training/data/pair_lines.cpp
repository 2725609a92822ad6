#include "training/data/pair_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "ir/error.h"
#include "runtime/formats/quoted.h"

namespace facet {
namespace {

std::vector<std::string_view> fields_of(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  std::vector<std::string_view> fields;
  for (std::size_t at = 0; (at = text.find_first_not_of(kBlanks, at)) != std::string_view::npos;) {
    const std::size_t end = std::min(text.find_first_of(kBlanks, at), text.size());
    fields.push_back(text.substr(at, end - at));
    at = end;
  }
  return fields;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.size() < 10 &&
         text.find_first_not_of("0123456789") == std::string_view::npos;
}

std::string lfw_path(std::string_view person, std::string_view number) {
  int value = 0;
  std::from_chars(number.data(), number.data() + number.size(), value);
  return fmt::format("{0}/{0}_{1:04}.jpg", person, value);
}

bool has_extension(std::string_view path) {
  const auto dot = path.rfind('.');
  return dot != std::string_view::npos && path.find('/', dot) == std::string_view::npos;
}

}  // namespace

ListedPair parse_pair(std::string_view text) {
  const std::vector<std::string_view> fields = fields_of(text);
  if (fields.size() == 3 && is_number(fields[1]) && is_number(fields[2])) {
    return {lfw_path(fields[0], fields[1]), lfw_path(fields[0], fields[2]), true};
  }
  if (fields.size() == 4 && is_number(fields[1]) && is_number(fields[3])) {
    return {lfw_path(fields[0], fields[1]), lfw_path(fields[2], fields[3]), false};
  }
  if (fields.size() == 3 && (fields[2] == "0" || fields[2] == "1")) {
    return {std::string(fields[0]), std::string(fields[1]), fields[2] == "1"};
  }
  throw failure(
      fmt::format("{} is no pair; a line is \"name 1 2\", \"name 1 other 2\" or \"a.jpg "
                  "b.jpg 1\"",
                  in_quotes(text)));
}

bool is_pair(std::string_view text) {
  const std::vector<std::string_view> fields = fields_of(text);
  if (fields.size() == 4) return is_number(fields[1]) && is_number(fields[3]);
  if (fields.size() != 3) return false;
  if (is_number(fields[1])) return is_number(fields[2]);
  return (fields[2] == "0" || fields[2] == "1") && has_extension(fields[0]) &&
         has_extension(fields[1]);
}

bool has_numbers_alone(std::string_view text) {
  for (const std::string_view field : fields_of(text)) {
    if (!is_number(field)) return false;
  }
  return true;
}

}  // namespace facet
