#include "runtime/remark_groups.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

namespace facet {
namespace {

/// A scope without its numbers: {"layer", ".", ".conv"} and {1, 0}.
struct Numbered {
  std::vector<std::string> words = {""};
  std::vector<std::int64_t> numbers;
};

Numbered split_numbers(const std::string& scope) {
  constexpr std::size_t kMostDigits = 9;  // longer ones are no counters
  Numbered parts;
  for (std::size_t at = 0; at < scope.size();) {
    const std::size_t end = std::min(scope.find_first_not_of("0123456789", at), scope.size());
    if (end > at && end - at <= kMostDigits) {
      parts.numbers.push_back(std::stoll(scope.substr(at, end - at)));
      parts.words.emplace_back();
      at = end;
    } else {
      parts.words.back() += scope[at++];
    }
  }
  return parts;
}

/// {0, 1, 2, 5} is "0-2,5".
std::string ranges_of(const std::set<std::int64_t>& numbers) {
  std::vector<std::string> ranges;
  for (auto it = numbers.begin(); it != numbers.end();) {
    const std::int64_t first = *it;
    std::int64_t last = first;
    while (++it != numbers.end() && *it == last + 1) ++last;
    ranges.push_back(first == last ? std::to_string(first) : fmt::format("{}-{}", first, last));
  }
  return fmt::format("{}", fmt::join(ranges, ","));
}

}  // namespace

std::vector<RemarkGroup> group_remarks(const std::vector<Remark>& remarks, Remark::Kind kind) {
  std::vector<RemarkGroup> groups;
  for (const Remark& remark : remarks) {
    if (remark.kind != kind) continue;
    auto it = std::ranges::find_if(groups, [&](const RemarkGroup& g) {
      return g.pass == remark.pass && g.pattern == remark.pattern && g.reason == remark.reason;
    });
    if (it == groups.end()) {
      const auto same_pass = [&](const RemarkGroup& g) { return g.pass == remark.pass; };
      const auto last = std::find_if(groups.rbegin(), groups.rend(), same_pass);
      it = groups.insert(last == groups.rend() ? groups.end() : last.base(),
                         {remark.pass, remark.pattern, remark.reason, {}});
    }
    it->places.push_back({remark.scope.empty() ? "(top)" : remark.scope, remark.origins});
  }
  for (auto first = groups.begin(); first != groups.end();) {
    const auto last = std::find_if(first, groups.end(),
                                   [&](const RemarkGroup& g) { return g.pass != first->pass; });
    std::stable_sort(first, last, [](const RemarkGroup& a, const RemarkGroup& b) {
      return a.places.size() > b.places.size();
    });
    first = last;
  }
  return groups;
}

std::vector<std::string> scopes_of(const RemarkGroup& group) {
  std::vector<std::string> scopes;
  for (const RemarkPlace& place : group.places) scopes.push_back(place.scope);
  return scopes;
}

std::vector<std::string> further_origins(const RemarkGroup& group) {
  std::vector<std::string> further;
  for (const RemarkPlace& place : group.places) {
    for (const std::string& origin : place.origins) {
      if (origin != place.scope && !origin.empty()) further.push_back(origin);
    }
  }
  return further;
}

std::vector<std::string> compact_scopes(const std::vector<std::string>& scopes) {
  struct Family {
    std::vector<std::string> words;
    std::vector<std::set<std::int64_t>> numbers;  // one set per place
    std::set<std::string> members;
  };
  std::vector<Family> families;
  std::map<std::vector<std::string>, std::size_t> index;
  for (const std::string& scope : scopes) {
    const Numbered parts = split_numbers(scope);
    const auto [it, is_new] = index.try_emplace(parts.words, families.size());
    if (is_new) families.push_back({parts.words, {}, {}});
    Family& family = families[it->second];
    family.numbers.resize(parts.numbers.size());
    for (std::size_t i = 0; i < parts.numbers.size(); ++i)
      family.numbers[i].insert(parts.numbers[i]);
    family.members.insert(scope);
  }
  std::vector<std::string> result;
  for (const Family& family : families) {
    std::string text = family.words[0];
    for (std::size_t i = 0; i < family.numbers.size(); ++i) {
      const std::string numbers = ranges_of(family.numbers[i]);
      text += family.numbers[i].size() == 1 ? numbers : "[" + numbers + "]";
      text += family.words[i + 1];
    }
    if (family.members.size() > 1) text += fmt::format(" ({})", family.members.size());
    result.push_back(std::move(text));
  }
  return result;
}

}  // namespace facet
