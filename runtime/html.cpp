#include "runtime/html.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>
#include <vector>

#include "passes/prepared.h"
#include "runtime/remark_groups.h"
#include "runtime/svg.h"
#include "runtime/svg_content.h"

namespace facet {
namespace {

using drawing::escape;

// The radio buttons choose which drawings are seen and how large; no script is needed.
constexpr const char* kStyle = R"(
  body { margin: 24px; font: 14px/1.45 Helvetica, Arial, sans-serif; color: #1a1a1a; }
  h1 { font-size: 22px; margin: 0 0 4px; }
  h2 { font-size: 16px; margin: 26px 0 8px; }
  .about { color: #555555; margin: 0 0 16px; }
  table { border-collapse: collapse; }
  th, td { padding: 3px 14px 3px 0; text-align: left; vertical-align: top; }
  th { font-weight: normal; color: #555555; border-bottom: 1px solid #cccccc; }
  td { border-bottom: 1px solid #eeeeee; overflow-wrap: anywhere; }
  .summary td + td, .summary th + th { text-align: right; }
  details { margin: 2px 0 2px 16px; }
  details table { margin: 4px 0 10px 18px; font-size: 12px; }
  summary { cursor: pointer; }
  .pass { font-weight: bold; margin: 10px 0 2px; }
  .count { display: inline-block; min-width: 34px; text-align: right; margin-right: 8px; }
  .reason { color: #a33c00; }
  .choice + .choice { margin-left: 14px; }
  .drawings { display: flex; gap: 12px; margin-top: 10px; }
  .drawing { flex: 1 1 0; min-width: 0; height: 88vh; overflow: auto; border: 1px solid #cccccc; }
  .drawing svg { display: block; }
  #view-before:checked ~ .drawings .after { display: none; }
  #view-after:checked ~ .drawings .before { display: none; }
  #size-fit:checked ~ .drawings svg { width: 100%; height: auto; }
  @media print { .drawing { height: auto; overflow: visible; } }
)";

/// Nodes that run: without inputs and without what is computed when weights are bound.
std::size_t running_nodes(const Graph& graph) {
  const PreparedSet prepared(graph);
  std::size_t count = 0;
  for (const auto& node : graph.nodes()) {
    if (!node->is("input") && !prepared.contains(node.get())) ++count;
  }
  return count;
}

std::string summary_table(const Graph& before, const Graph& after, const ProgramInfo& plain,
                          const ProgramInfo& program, const std::string& stage) {
  std::string rows;
  const auto row = [&](std::string_view what, const std::string& a, const std::string& b) {
    rows += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td></tr>\n", what, a, b);
  };
  const auto counts = [&](std::string_view what, auto a, auto b) {
    row(what, std::to_string(a), std::to_string(b));
  };
  const auto sizes = [&](std::string_view what, std::int64_t a, std::int64_t b) {
    row(what, drawing::size_in_words(a), drawing::size_in_words(b));
  };
  rows += fmt::format("<tr><th>Graphs</th><th>as declared</th><th>{}</th></tr>\n", escape(stage));
  counts("nodes, parameters and what is made of them included", before.size(), after.size());
  counts("nodes that run", running_nodes(before), running_nodes(after));
  rows += "<tr><th>Programs</th><th>without optimisation</th><th>compiled</th></tr>\n";
  counts("steps", plain.steps.size(), program.steps.size());
  sizes("arena for activations", plain.arena_bytes, program.arena_bytes);
  sizes("weights as the kernels read them", plain.prepared_bytes, program.prepared_bytes);
  counts("reorders of activations", plain.reorders, program.reorders);
  counts("concat operands written in place", plain.concat_slices, program.concat_slices);
  counts("concat operands copied", plain.concat_copies, program.concat_copies);
  return "<table class=\"summary\">\n" + rows + "</table>\n";
}

std::string places_table(const RemarkGroup& group) {
  const bool has_origins = group.reason.empty();
  std::string rows =
      fmt::format("<tr><th>place</th>{}</tr>\n", has_origins ? "<th>stands for</th>" : "");
  for (const RemarkPlace& place : group.places) {
    rows += fmt::format("<tr><td>{}</td>", escape(place.scope));
    if (has_origins) {
      rows += fmt::format(
          "<td>{}</td>", escape(fmt::format("{}", fmt::join(compact_scopes(place.origins), ", "))));
    }
    rows += "</tr>\n";
  }
  return "<table>\n" + rows + "</table>\n";
}

/// A heading, and by pass a line for each pattern that opens on its places.
std::string remark_section(std::string_view title, const std::vector<RemarkGroup>& groups) {
  std::string text = fmt::format("<h2>{}</h2>\n", title);
  if (groups.empty()) return text + "<p>nothing</p>\n";
  std::string pass;
  for (const RemarkGroup& group : groups) {
    if (group.pass != pass) text += fmt::format("<p class=\"pass\">{}</p>\n", escape(group.pass));
    pass = group.pass;
    text += fmt::format("<details><summary><span class=\"count\">{}</span>{}", group.places.size(),
                        escape(group.pattern));
    if (!group.reason.empty()) {
      text += fmt::format(": <span class=\"reason\">{}</span>", escape(group.reason));
    }
    text += "</summary>\n" + places_table(group) + "</details>\n";
  }
  return text;
}

std::string choices(std::string_view group,
                    const std::vector<std::pair<std::string_view, std::string_view>>& entries) {
  std::string text;
  for (const auto& [name, label] : entries) {
    text += fmt::format(
        "<input class=\"choice\" type=\"radio\" name=\"{0}\" id=\"{0}-{1}\"{2}/>"
        "<label for=\"{0}-{1}\">{3}</label>\n",
        group, name, text.empty() ? " checked=\"checked\"" : "", label);
  }
  return text;
}

std::string drawings(const Graph& before, const Graph& after, const HtmlPage& page) {
  SvgOptions options;
  options.parameters = page.parameters;
  options.origins = options.bytes = true;
  options.subtitle = "as declared";
  options.id = "before-";
  const std::string left = to_svg(before, options);
  options.subtitle = page.stage;
  options.id = "after-";
  const std::string right = to_svg(after, options);
  return "<h2>Drawings</h2>\n" +
         choices("view", {{"after", "after"}, {"before", "before"}, {"both", "side by side"}}) +
         "<br/>\n" + choices("size", {{"full", "full size"}, {"fit", "fit the width"}}) +
         fmt::format(
             "<div class=\"drawings\">\n<div class=\"drawing before\">\n{}</div>\n"
             "<div class=\"drawing after\">\n{}</div>\n</div>\n",
             left, right);
}

}  // namespace

std::string to_html(const Graph& before, const Graph& after, const ProgramInfo& plain,
                    const ProgramInfo& program, const HtmlPage& page) {
  const std::string precision(to_string(page.precision));
  const std::string model = escape(page.model);
  std::string text = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<title>{0}, {1}, batch {2}</title>\n<style>{3}</style>\n</head>\n<body>\n<h1>{0}</h1>\n"
      "<p class=\"about\">{1}, batch {2}</p>\n",
      model, precision, program.batch, kStyle);
  text += summary_table(before, after, plain, program, page.stage);
  text += remark_section("What was done", group_remarks(program.remarks, Remark::Kind::applied));
  text += remark_section("What was not done, and why",
                         group_remarks(program.remarks, Remark::Kind::missed));
  return text + drawings(before, after, page) + "</body>\n</html>\n";
}

}  // namespace facet
