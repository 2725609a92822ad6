#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/training_step.h"
#include "ir/error.h"
#include "runtime/report.h"

namespace facet::cli {
namespace {

struct ExplainArguments {
  ModelArguments model;
  CompileArguments compile;
  std::int64_t batch = 1;
  bool train = false;
  bool json = false;
};

void run_explain(const ExplainArguments& arguments) {
  CompileOptions options = compile_options(arguments.compile);
  if (arguments.batch < 1) throw usage_error("--batch must be at least 1");
  if (options.device == Device::reference) {
    throw usage_error("the reference device runs a network as it was declared; explain --device cpu");
  }
  const Model model = load_model(arguments.model);
  std::optional<Graph> last;
  options.after_pass = [&](std::string_view, const Graph& graph) { last = graph.clone(); };
  PassContext ahead;
  const Graph graph = arguments.train ? training_step(model, arguments.batch, options.precision, ahead)
                                      : model.graph.clone();
  const std::int64_t batch = arguments.train ? 1 : arguments.batch;  // a step has fixed shapes
  const auto executable = compile(graph, blank_weights(graph), options, batch);
  ProgramInfo program = executable->program(batch);
  program.batch = arguments.batch;
  program.remarks.insert(program.remarks.begin(), ahead.remarks.begin(), ahead.remarks.end());
  if (arguments.json) return write_text("", explain_json(program, *last));
  write_text("", fmt::format("{}{}: {} on {}, {} nodes as declared\n", model.name,
                             arguments.train ? ", a training step" : "",
                             to_string(options.precision), to_string(options.device),
                             graph.size()) +
                     explain_text(program, *last));
}

}  // namespace

void add_explain_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "explain", "Say what the compiler did with a network, what it did not do, and why");
  auto arguments = std::make_shared<ExplainArguments>();
  add_model_arguments(*command, arguments->model);
  add_compile_arguments(*command, arguments->compile);
  command->add_option("--batch", arguments->batch, "Compile for this batch")->type_name("N")
      ->capture_default_str();
  command->add_flag("--train", arguments->train,
                    "Explain the training step that bench --train times: fusions ahead of "
                    "differentiation, too");
  command->add_flag("--json", arguments->json, "Print JSON");
  command->callback([arguments] { run_explain(*arguments); });
}

}  // namespace facet::cli
