#include "zoo/settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "ir/error.h"

namespace facet::zoo {
namespace {

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// nullopt unless every field between commas is an integer.
std::optional<Ints> parse_integers(std::string_view text) {
  Ints values;
  while (true) {
    const std::size_t comma = text.find(',');
    const std::optional<std::int64_t> value = parse_integer(text.substr(0, comma));
    if (!value) return std::nullopt;
    values.push_back(*value);
    if (comma == std::string_view::npos) return values;
    text.remove_prefix(comma + 1);
  }
}

bool accepts(const OptionSpec& option, const std::string& value) {
  if (std::ranges::find(option.choices, value) != option.choices.end()) return true;
  switch (option.kind) {
    case OptionKind::integer: {
      const std::optional<std::int64_t> number = parse_integer(value);
      return number && *number >= option.minimum;
    }
    case OptionKind::integers:
      return parse_integers(value).has_value();
    case OptionKind::boolean:
      return value == "true" || value == "false";
    case OptionKind::choice:
      return false;
  }
  return false;
}

/// "a, b or c"
std::string either(const std::vector<std::string>& names) {
  if (names.size() < 2) return fmt::format("{}", fmt::join(names, ""));
  return fmt::format("{} or {}", fmt::join(names.begin(), names.end() - 1, ", "), names.back());
}

/// "; did you mean ...?" or nothing.
std::string hint(std::string_view name, const std::vector<std::string>& known) {
  const std::string suggestion = did_you_mean(name, known);
  return suggestion.empty() ? suggestion : "; " + suggestion;
}

}  // namespace

std::string describe_values(const OptionSpec& option) {
  std::vector<std::string> ways;
  switch (option.kind) {
    case OptionKind::integer:
      ways.push_back(fmt::format("an integer of at least {}", option.minimum));
      break;
    case OptionKind::integers:
      ways.push_back("integers between commas");
      break;
    case OptionKind::boolean:
      return "true or false";
    case OptionKind::choice:
      break;
  }
  ways.insert(ways.end(), option.choices.begin(), option.choices.end());
  return either(ways);
}

Settings::Settings(std::string_view model, const std::vector<OptionSpec>& options,
                   const std::map<std::string, std::string>& given) {
  std::vector<std::string> names;
  for (const OptionSpec& option : options) {
    names.push_back(option.name);
    values_[option.name] = option.default_value;
  }
  for (const auto& [name, value] : given) {
    const auto option = std::ranges::find(options, name, &OptionSpec::name);
    if (option == options.end()) {
      throw usage_error(fmt::format("{} has no option '{}'{} (its options: {})", model, name,
                                    hint(name, names), fmt::join(names, ", ")));
    }
    if (!accepts(*option, value)) {
      throw usage_error(fmt::format("{}: {}='{}' is not {}{}", model, name, value,
                                    describe_values(*option), hint(value, option->choices)));
    }
    values_[name] = value;
  }
}

std::int64_t Settings::integer(std::string_view name) const {
  const std::optional<std::int64_t> value = parse_integer(text(name));
  if (!value) throw usage_error(fmt::format("option '{}' is '{}', no integer", name, text(name)));
  return *value;
}

Ints Settings::integers(std::string_view name) const {
  const std::optional<Ints> values = parse_integers(text(name));
  if (!values) throw usage_error(fmt::format("option '{}' is '{}', no integers", name, text(name)));
  return *values;
}

const std::string& Settings::text(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) throw usage_error(fmt::format("no option '{}' is declared", name));
  return found->second;
}

}  // namespace facet::zoo
