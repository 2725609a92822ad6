#include "ir/error.h"

#include <algorithm>

namespace facet {
namespace {

/// Levenshtein distance: insertions, deletions and substitutions each cost one.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string did_you_mean(std::string_view name, const std::vector<std::string>& known) {
  std::vector<std::pair<std::size_t, std::string>> near;
  for (const auto& candidate : known) {
    const std::size_t distance = edit_distance(name, candidate);
    const bool is_prefix = !name.empty() && candidate.compare(0, name.size(), name) == 0;
    if (is_prefix || distance <= std::max<std::size_t>(1, name.size() / 2)) {
      near.emplace_back(distance, candidate);
    }
  }
  std::stable_sort(near.begin(), near.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  if (near.empty()) return {};
  std::string text = "did you mean '" + near[0].second + "'";
  for (std::size_t i = 1; i < std::min<std::size_t>(3, near.size()); ++i) {
    text += " or '" + near[i].second + "'";
  }
  return text + "?";
}

}  // namespace facet
