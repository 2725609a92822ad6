#include "passes/recompute_policy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "ir/error.h"

namespace facet {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 6> kUnits = {{{"KiB", 1024.0},
                                                                        {"MiB", 1048576.0},
                                                                        {"GiB", 1073741824.0},
                                                                        {"kB", 1e3},
                                                                        {"MB", 1e6},
                                                                        {"GB", 1e9}}};

/// Why a text is no policy.
struct Refusal {
  std::string why;
};

std::vector<std::string> split(std::string_view list) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    parts.emplace_back(list.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

RecomputePolicy parse_scopes(std::string_view list) {
  RecomputePolicy policy{.kind = RecomputePolicy::Kind::scope, .scopes = split(list)};
  for (const std::string& scope : policy.scopes) {
    if (scope.empty() || scope.starts_with('.') || scope.ends_with('.')) {
      throw Refusal{fmt::format("'{}' is no scope", scope)};
    }
  }
  return policy;
}

RecomputePolicy parse_budget(std::string_view size) {
  RecomputePolicy policy{.kind = RecomputePolicy::Kind::budget};
  double factor = 1;
  for (const auto& [unit, bytes] : kUnits) {
    if (!size.ends_with(unit)) continue;
    size.remove_suffix(unit.size());
    factor = bytes;
    break;
  }
  double number = 0;
  const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), number);
  if (error != std::errc() || end != size.data() + size.size() || !(number > 0)) {
    throw Refusal{"the budget is no positive number"};
  }
  if (factor == 1 && number < 1) {
    policy.fraction = number;
    return policy;
  }
  const double bytes = std::round(number * factor);
  if (bytes < 1024) throw Refusal{"a budget of 1 or more is a number of bytes, at least 1024"};
  if (bytes > 9e18) throw Refusal{"no machine has that many bytes"};
  policy.bytes = static_cast<std::int64_t>(bytes);
  return policy;
}

RecomputePolicy parse(std::string_view text) {
  constexpr std::string_view kScope = "scope:";
  constexpr std::string_view kBudget = "budget:";
  if (text == "none") return {};
  if (text.starts_with(kScope)) return parse_scopes(text.substr(kScope.size()));
  if (text.starts_with(kBudget)) return parse_budget(text.substr(kBudget.size()));
  const std::string word(text.substr(0, text.find(':')));
  const std::string hint = did_you_mean(word, {"none", "scope", "budget"});
  throw Refusal{hint.empty() ? "there is no such policy" : hint};
}

}  // namespace

RecomputePolicy parse_recompute(std::string_view text, std::string_view where) {
  try {
    return parse(text);
  } catch (const Refusal& refusal) {
    throw usage_error(fmt::format(
        "{}{}is \"{}\": {}; it must be none, scope:PATTERN,... (scope:layer1, scope:layer*.*), "
        "budget:FRACTION (budget:0.5) or budget:BYTES (budget:800MB)",
        where, where.empty() ? "" : " ", text, refusal.why));
  }
}

std::string to_string(const RecomputePolicy& policy) {
  switch (policy.kind) {
    case RecomputePolicy::Kind::none:
      return "none";
    case RecomputePolicy::Kind::scope:
      return fmt::format("scope:{}", fmt::join(policy.scopes, ","));
    case RecomputePolicy::Kind::budget:
      return policy.bytes > 0 ? fmt::format("budget:{}", policy.bytes)
                              : fmt::format("budget:{}", policy.fraction);
  }
  return {};
}

}  // namespace facet
