#include "runtime/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/remark_groups.h"

namespace facet {
namespace {

using Json = nlohmann::ordered_json;

/// Words in lines, behind what `line` starts with, of at most 100 characters.
std::string wrap(const std::vector<std::string>& words, std::string_view indent,
                 std::string line = {}) {
  std::string text;
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
    text += fmt::format("    {} x {}{}{}\n", g.places.size(), g.pattern, g.reason.empty() ? "" : ": ",
                        g.reason);
    text += wrap(compact_scopes(scopes_of(g)), "        ");
    const std::vector<std::string> origins = compact_scopes(further_origins(g));
    if (!origins.empty()) text += wrap(origins, "          ", "from");
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

/// `origins` has a list for each of the `scopes`; what was not done has none.
Json remarks_json(const std::vector<RemarkGroup>& groups) {
  Json list = Json::array();
  for (const RemarkGroup& g : groups) {
    Json entry = {{"pass", g.pass}, {"pattern", g.pattern}, {"count", g.places.size()},
                  {"scopes", scopes_of(g)}};
    if (g.reason.empty()) {
      Json origins = Json::array();
      for (const RemarkPlace& place : g.places) origins.push_back(place.origins);
      entry["origins"] = origins;
    } else {
      entry["reason"] = g.reason;
    }
    list.push_back(entry);
  }
  return list;
}

}  // namespace

std::string explain_text(const ProgramInfo& program, const Graph& last) {
  std::map<std::string, int> kinds;
  for (const StepInfo& step : program.steps) ++kinds[step.kind];
  std::vector<std::string> counts;
  for (const auto& [kind, count] : kinds) counts.push_back(fmt::format("{} {}", count, kind));
  return fmt::format("{} steps at batch {}\n", program.steps.size(), program.batch) +
         wrap(counts, "  ") +
         remark_section("Done", group_remarks(program.remarks, Remark::Kind::applied)) +
         remark_section("Not done, and why", group_remarks(program.remarks, Remark::Kind::missed)) +
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
      {"done", remarks_json(group_remarks(program.remarks, Remark::Kind::applied))},
      {"not_done", remarks_json(group_remarks(program.remarks, Remark::Kind::missed))},
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
