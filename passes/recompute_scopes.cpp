#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "ir/error.h"
#include "passes/recompute_choice.h"

namespace facet {
namespace {

std::vector<std::string> parts_of(const std::string& scope) {
  std::vector<std::string> parts(1);
  for (const char c : scope) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

/// '*' stands for any run of characters.
bool fits(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] != '*') {
    return !text.empty() && pattern[0] == text[0] && fits(pattern.substr(1), text.substr(1));
  }
  for (std::size_t skip = 0; skip <= text.size(); ++skip) {
    if (fits(pattern.substr(1), text.substr(skip))) return true;
  }
  return false;
}

/// The front of `scope` that the pattern matches, part by part; empty if it does not.
std::string matched(const std::vector<std::string>& pattern, const std::string& scope) {
  const std::vector<std::string> parts = parts_of(scope);
  if (parts.size() < pattern.size()) return {};
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (!fits(pattern[i], parts[i])) return {};
  }
  return fmt::format(
      "{}",
      fmt::join(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(pattern.size()), "."));
}

/// The scope of every step that one of the patterns matches; "" for the others.
std::vector<std::string> segments_of(const RecomputeModel& model,
                                     const std::vector<std::string>& patterns) {
  const auto count = static_cast<std::size_t>(model.boundary() + 1);
  std::vector<std::string> segments(count);
  std::set<std::string> known;
  for (const std::string& pattern : patterns) {
    const std::vector<std::string> parts = parts_of(pattern);
    bool found = false;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string& scope = model.steps()[i].node->provenance().scope;
      const std::vector<std::string> names = parts_of(scope);
      if (names.size() >= parts.size()) {
        known.insert(fmt::format(
            "{}", fmt::join(names.begin(),
                            names.begin() + static_cast<std::ptrdiff_t>(parts.size()), ".")));
      }
      const std::string segment = matched(parts, scope);
      found |= !segment.empty();
      if (segments[i].empty()) segments[i] = segment;
    }
    if (found) continue;
    std::string hint = did_you_mean(pattern, {known.begin(), known.end()});
    if (hint.empty()) hint = fmt::format("there are {}", fmt::join(known, ", "));
    throw usage_error(
        fmt::format("recompute scope '{}' fits no scope of the forward pass; {}", pattern, hint));
  }
  return segments;
}

}  // namespace

RepeatedSteps choose_by_scope(const RecomputeModel& model,
                              const std::vector<std::string>& patterns) {
  const std::vector<std::string> segments = segments_of(model, patterns);
  RepeatedSteps again(model.steps().size(), 0);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const RecomputeStep& step = model.steps()[i];
    if (segments[i].empty() || !step.may_repeat) continue;
    bool leaves = false;
    for (int r = 0; r < (keeps_statistics(*step.node) ? 1 : step.results); ++r) {
      for (const int reader : model.readers(step.first_result + r)) {
        leaves |=
            reader <= model.boundary() && segments[static_cast<std::size_t>(reader)] != segments[i];
      }
    }
    again[i] = !leaves;
  }
  return again;
}

}  // namespace facet
