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
#include "runtime/html.h"
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

/// In words.
std::string stage_of(const std::string& after) {
  if (after == "none") return "as declared";
  return after == "all" ? "after all passes" : "after " + after;
}

std::int64_t batch_of(const ShowArguments& arguments) {
  return std::max<std::int64_t>(arguments.batch, 1);
}

struct Compiled {
  Graph after;  ///< the wanted pass (its last run), or all
  std::shared_ptr<const Executable> executable;
};

Compiled compile_until(const Model& model, const ShowArguments& arguments, CompileOptions options) {
  const bool all = arguments.after == "all" || arguments.after == "none";
  if (!all) find_pass(arguments.after);  // an unknown one is named before anything is compiled
  std::optional<Graph> wanted;
  std::vector<std::string> ran;
  options.after_pass = [&](std::string_view pass, const Graph& graph) {
    ran.emplace_back(pass);
    if (all || pass == arguments.after) wanted = graph.clone();
  };
  auto executable = compile(model.graph, blank_weights(model.graph), options, batch_of(arguments));
  if (!wanted) {
    throw usage_error(fmt::format("pass '{}' does not run with these options; these do: {}",
                                  arguments.after, fmt::join(ran, ", ")));
  }
  return {std::move(*wanted), std::move(executable)};
}

Graph at_batch(const Graph& graph, std::int64_t batch) {
  const std::vector<std::string> symbols = graph.symbols();
  return symbols.empty() ? graph.clone() : graph.with_symbol(symbols.front(), batch);
}

/// The page compares the network as declared with what was made of it, at one batch.
std::string render_page(const Model& model, const ShowArguments& arguments,
                        CompileOptions options) {
  if (options.device == Device::reference) {
    throw usage_error("the reference device runs a network as it was declared; show --device cpu");
  }
  const std::int64_t batch = batch_of(arguments);
  const Compiled compiled = compile_until(model, arguments, options);
  HtmlPage page;
  page.model = model.name;
  page.precision = options.precision;
  page.stage = stage_of(arguments.after == "none" ? "all" : arguments.after);
  page.parameters = arguments.parameters;
  options.optimize = false;
  const auto plain = compile(model.graph, blank_weights(model.graph), options, batch);
  return to_html(at_batch(model.graph, batch), at_batch(compiled.after, batch),
                 plain->program(batch), compiled.executable->program(batch), page);
}

std::string render(const Graph& graph, const ShowArguments& arguments) {
  if (arguments.format == "dot") return to_dot(graph);
  if (arguments.format == "json") return to_json(graph);
  if (arguments.format == "text") return to_text(graph);
  SvgOptions options;
  options.parameters = arguments.parameters;
  options.subtitle = fmt::format("{}, {}", stage_of(arguments.after), arguments.compile.precision);
  return to_svg(graph, options);
}

void run_show(const ShowArguments& arguments) {
  const CompileOptions options = compile_options(arguments.compile);
  if (arguments.batch < 0) throw usage_error("--batch must be at least 1");
  const Model model = load_model(arguments.model);
  std::string text;
  if (arguments.format == "html") {
    text = render_page(model, arguments, options);
  } else if (arguments.after != "none") {
    text = render(compile_until(model, arguments, options).after, arguments);
  } else if (arguments.batch == 0) {
    text = render(model.graph, arguments);
  } else {
    text = render(at_batch(model.graph, arguments.batch), arguments);
  }
  write_text(arguments.output, text);
}

}  // namespace

void add_show_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("show", "Print or draw a network, before or after any pass");
  auto arguments = std::make_shared<ShowArguments>();
  add_model_arguments(*command, arguments->model);
  add_compile_arguments(*command, arguments->compile);
  std::vector<std::string> passes;
  for (const Pass& pass : all_passes()) passes.emplace_back(pass.name);
  command
      ->add_option("--after", arguments->after,
                   fmt::format("Show the graph after this pass (its last run): none, all, {}",
                               fmt::join(passes, ", ")))
      ->type_name("PASS")
      ->capture_default_str();
  command
      ->add_option(
          "--format", arguments->format,
          "text, dot, svg, json, or html: a page with the network as declared and after PASS "
          "(none: after all)")
      ->check(CLI::IsMember({"text", "dot", "svg", "json", "html"}))
      ->capture_default_str();
  command
      ->add_option("--batch", arguments->batch,
                   "Number in place of the batch's symbol (html: 1 if not given)")
      ->type_name("N");
  command->add_flag("--parameters", arguments->parameters,
                    "Draw parameters as boxes, too (svg, html)");
  command->add_option("-o,--output", arguments->output, "Write here instead of standard output")
      ->type_name("FILE");
  command->callback([arguments] { run_show(*arguments); });
}

}  // namespace facet::cli
