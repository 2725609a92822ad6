#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "ir/error.h"
#include "ir/text.h"
#include "runtime/svg.h"

namespace facet::cli {
namespace {

struct ShowArguments {
  ModelArguments model;
  CompileArguments compile;
  std::string after = "none";
  std::string format = "text";
  std::string output;
  std::int64_t batch = 0;
  bool parameters = false;
};

/// The graph as it is after the wanted pass ran (for the last time), or after all.
Graph graph_after(const Model& model, const ShowArguments& arguments, CompileOptions options) {
  const bool all = arguments.after == "all";
  if (!all) find_pass(arguments.after);  // an unknown one is named before anything is compiled
  std::optional<Graph> wanted;
  std::vector<std::string> ran;
  options.after_pass = [&](std::string_view pass, const Graph& graph) {
    ran.emplace_back(pass);
    if (all || pass == arguments.after) wanted = graph.clone();
  };
  compile(model.graph, blank_weights(model.graph), options, std::max<std::int64_t>(arguments.batch, 1));
  if (!wanted) {
    throw usage_error(fmt::format("pass '{}' does not run with these options; these do: {}",
                                  arguments.after, fmt::join(ran, ", ")));
  }
  return std::move(*wanted);
}

std::string render(const Graph& graph, const ShowArguments& arguments) {
  if (arguments.format == "dot") return to_dot(graph);
  if (arguments.format == "json") return to_json(graph);
  if (arguments.format == "text") return to_text(graph);
  const std::string stage = arguments.after == "none"  ? "as declared"
                            : arguments.after == "all" ? "after all passes"
                                                       : "after " + arguments.after;
  return to_svg(graph, {arguments.parameters, fmt::format("{}, {}", stage, arguments.compile.precision)});
}

void run_show(const ShowArguments& arguments) {
  const CompileOptions options = compile_options(arguments.compile);
  if (arguments.batch < 0) throw usage_error("--batch must be at least 1");
  const Model model = load_model(arguments.model);
  if (arguments.after != "none") {
    return write_text(arguments.output, render(graph_after(model, arguments, options), arguments));
  }
  const std::vector<std::string> symbols = model.graph.symbols();
  if (arguments.batch == 0 || symbols.empty()) {
    return write_text(arguments.output, render(model.graph, arguments));
  }
  const Graph graph = model.graph.with_symbol(symbols.front(), arguments.batch);
  write_text(arguments.output, render(graph, arguments));
}

}  // namespace

void add_show_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("show", "Print or draw a network, before or after any pass");
  auto arguments = std::make_shared<ShowArguments>();
  add_model_arguments(*command, arguments->model);
  add_compile_arguments(*command, arguments->compile);
  std::vector<std::string> passes;
  for (const Pass& pass : all_passes()) passes.emplace_back(pass.name);
  command->add_option("--after", arguments->after,
                      fmt::format("Show the graph after this pass (its last run): none, all, {}",
                                  fmt::join(passes, ", ")))
      ->type_name("PASS")
      ->capture_default_str();
  command->add_option("--format", arguments->format, "text, dot, svg or json")
      ->check(CLI::IsMember({"text", "dot", "svg", "json"}))
      ->capture_default_str();
  command->add_option("--batch", arguments->batch, "Number in place of the batch's symbol")
      ->type_name("N");
  command->add_flag("--parameters", arguments->parameters, "Draw parameters as boxes, too (svg)");
  command->add_option("-o,--output", arguments->output, "Write here instead of standard output")
      ->type_name("FILE");
  command->callback([arguments] { run_show(*arguments); });
}

}  // namespace facet::cli
