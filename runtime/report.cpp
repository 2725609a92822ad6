#include "runtime/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

namespace facet {
namespace {

using Json = nlohmann::ordered_json;

/// Remarks that say the same of several places.
struct RemarkGroup {
  std::string pass;
  std::string pattern;
  std::string reason;
  std::vector<std::string> scopes;
};

/// Remarks of one kind together, those of a pass with the most places first.
std::vector<RemarkGroup> group(const std::vector<Remark>& remarks, Remark::Kind kind) {
  std::vector<RemarkGroup> groups;
  for (const Remark& remark : remarks) {
    if (remark.kind != kind) continue;
    auto it = std::ranges::find_if(groups, [&](const RemarkGroup& g) {
      return g.pass == remark.pass && g.pattern == remark.pattern && g.reason == remark.reason;
    });
    if (it == groups.end()) {
      it = groups.insert(it, {remark.pass, remark.pattern, remark.reason, {}});
    }
    it->scopes.push_back(remark.scope.empty() ? "(top)" : remark.scope);
  }
  std::ranges::stable_sort(groups, [](const RemarkGroup& a, const RemarkGroup& b) {
    return a.pass == b.pass && a.scopes.size() > b.scopes.size();
  });
  return groups;
}

/// Words in lines of at most 100 characters.
std::string wrap(const std::vector<std::string>& words, std::string_view indent) {
  std::string text;
  std::string line;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string word = words[i] + (i + 1 < words.size() ? "," : "");
    if (!line.empty() && indent.size() + line.size() + 1 + word.size() > 100) {
      text += fmt::format("{}{}\n", indent, line);
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return text + fmt::format("{}{}\n", indent, line);
}

std::string remark_section(std::string_view title, const std::vector<RemarkGroup>& groups) {
  std::string text = fmt::format("\n{}\n", title);
  if (groups.empty()) return text + "  nothing\n";
  std::string pass;
  for (const RemarkGroup& g : groups) {
    if (g.pass != pass) text += fmt::format("  {}\n", g.pass);
    pass = g.pass;
    text += fmt::format("    {} x {}{}{}\n", g.scopes.size(), g.pattern, g.reason.empty() ? "" : ": ",
                        g.reason);
    text += wrap(compact_scopes(g.scopes), "        ");
  }
  return text;
}

std::string megabytes(std::int64_t bytes) {
  return fmt::format("{:.3f} MB", static_cast<double>(bytes) / 1e6);
}

std::string layout_section(const ProgramInfo& program) {
  std::string text = fmt::format(
      "\nLayouts\n  {} reorders of activations at run time\n  concat operands: {} written in place, {} "
      "copied\n", program.reorders, program.concat_slices, program.concat_copies);
  for (const StepInfo& step : program.steps) {
    if (step.kind == "reorder") {
      text += fmt::format("    reorder to {} at {}\n", step.result_type, step.scope);
    }
  }
  return text;
}

std::string memory_section(const ProgramInfo& program, const FullestStep& fullest) {
  constexpr std::size_t kShown = 6;
  std::string text = fmt::format(
      "\nMemory\n  {:>12}  arena: the peak\n  {:>12}  lower bound: most bytes alive at one step\n"
      "  {:>12}  weights as the kernels read them\n",
      megabytes(program.arena_bytes), megabytes(program.lower_bound_bytes),
      megabytes(program.prepared_bytes));
  if (fullest.values.empty()) return text;
  text += fmt::format("  Alive at the fullest step, {} {}:\n", fullest.kind, fullest.scope);
  for (std::size_t i = 0; i < std::min(kShown, fullest.values.size()); ++i) {
    const LiveValue& value = fullest.values[i];
    text += fmt::format("  {:>12}  {} of {} {}\n", megabytes(value.bytes), value.type, value.kind,
                        value.scope);
  }
  if (fullest.values.size() > kShown) {
    text += fmt::format("  {:>12}  and {} more\n", "", fullest.values.size() - kShown);
  }
  return text;
}

std::string pass_section(const ProgramInfo& program) {
  std::string text = fmt::format("\nPasses\n  {:<34} {:>9} {:>8} {:>8}\n", "pass", "ms", "changed", "nodes");
  double total = 0;
  for (const PassReport& pass : program.passes) {
    total += pass.milliseconds;
    text += fmt::format("  {:<34} {:>9.3f} {:>8} {:>8}\n", pass.name, pass.milliseconds,
                        pass.changed ? "yes" : "no", pass.nodes_after);
  }
  return text + fmt::format("  {:<34} {:>9.3f}\n  compiled in {:.3f} s, weights prepared in {:.3f} s\n",
                            "all", total, program.compile_seconds, program.prepare_seconds);
}

Json remarks_json(const std::vector<RemarkGroup>& groups) {
  Json list = Json::array();
  for (const RemarkGroup& g : groups) {
    Json entry = {{"pass", g.pass}, {"pattern", g.pattern}, {"count", g.scopes.size()},
                  {"scopes", g.scopes}};
    if (!g.reason.empty()) entry["reason"] = g.reason;
    list.push_back(entry);
  }
  return list;
}

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
    for (std::size_t i = 0; i < parts.numbers.size(); ++i) family.numbers[i].insert(parts.numbers[i]);
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

std::string explain_text(const ProgramInfo& program, const Graph& last) {
  std::map<std::string, int> kinds;
  for (const StepInfo& step : program.steps) ++kinds[step.kind];
  std::vector<std::string> counts;
  for (const auto& [kind, count] : kinds) counts.push_back(fmt::format("{} {}", count, kind));
  return fmt::format("{} steps at batch {}\n", program.steps.size(), program.batch) +
         wrap(counts, "  ") +
         remark_section("Done", group(program.remarks, Remark::Kind::applied)) +
         remark_section("Not done, and why", group(program.remarks, Remark::Kind::missed)) +
         layout_section(program) + memory_section(program, fullest_step(last)) +
         pass_section(program);
}

std::string explain_json(const ProgramInfo& program, const Graph& last) {
  Json passes = Json::array();
  for (const PassReport& pass : program.passes) {
    passes.push_back({{"name", pass.name}, {"changed", pass.changed},
                      {"milliseconds", pass.milliseconds}, {"nodes_before", pass.nodes_before},
                      {"nodes_after", pass.nodes_after}});
  }
  Json steps = Json::array();
  for (const StepInfo& step : program.steps) {
    steps.push_back({{"op", step.kind}, {"scope", step.scope}, {"origins", step.origins},
                     {"implementation", step.implementation}, {"result", step.result_type},
                     {"flops", step.flops}, {"bytes", step.bytes}});
  }
  const FullestStep fullest = fullest_step(last);
  Json live = Json::array();
  for (const LiveValue& value : fullest.values) {
    live.push_back({{"type", value.type}, {"op", value.kind}, {"scope", value.scope},
                    {"bytes", value.bytes}});
  }
  const Json report = {
      {"batch", program.batch},
      {"done", remarks_json(group(program.remarks, Remark::Kind::applied))},
      {"not_done", remarks_json(group(program.remarks, Remark::Kind::missed))},
      {"reorders", program.reorders},
      {"concat_slices", program.concat_slices},
      {"concat_copies", program.concat_copies},
      {"memory",
       {{"peak_bytes", program.arena_bytes}, {"lower_bound_bytes", program.lower_bound_bytes},
        {"prepared_bytes", program.prepared_bytes},
        {"fullest_step", {{"op", fullest.kind}, {"scope", fullest.scope}, {"values", live}}}}},
      {"passes", passes},
      {"steps", steps},
      {"compile_seconds", program.compile_seconds},
      {"prepare_seconds", program.prepare_seconds}};
  return report.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace facet
