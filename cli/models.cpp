#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "zoo/zoo.h"

namespace facet::cli {
namespace {

struct ModelsArguments {
  std::string model;
  bool json = false;
};

std::string input_type(const Graph& graph) { return to_string(graph.inputs().at(0)->result_types()[0]); }

nlohmann::ordered_json model_json(const zoo::ModelSpec& spec) {
  const Graph graph = zoo::build(spec.name);
  nlohmann::ordered_json options = nlohmann::ordered_json::array();
  for (const zoo::OptionSpec& option : spec.options) {
    options.push_back({{"name", option.name},
                       {"default", option.default_value},
                       {"values", zoo::describe_values(option)},
                       {"doc", option.doc}});
  }
  nlohmann::ordered_json outputs = nlohmann::ordered_json::array();
  for (const zoo::OutputSpec& output : spec.outputs) {
    outputs.push_back({{"name", output.name}, {"doc", output.doc}});
  }
  return {{"name", spec.name},
          {"doc", spec.doc},
          {"parameters", parameter_count(graph)},
          {"macs", static_cast<std::int64_t>(multiply_adds(graph))},
          {"input", input_type(graph)},
          {"outputs", outputs},
          {"options", options}};
}

void print_table(const std::vector<zoo::ModelSpec>& models) {
  std::string text = fmt::format("{:<20} {:>13} {:>11}  {:<24} {}\n", "model", "parameters", "GMACs",
                                 "input", "options (--set)");
  for (const zoo::ModelSpec& spec : models) {
    const Graph graph = zoo::build(spec.name);
    std::vector<std::string> names;
    for (const zoo::OptionSpec& option : spec.options) names.push_back(option.name);
    text += fmt::format("{:<20} {:>13} {:>11.3f}  {:<24} {}\n", spec.name,
                        grouped(parameter_count(graph)), multiply_adds(graph) * 1e-9,
                        input_type(graph), fmt::join(names, " "));
  }
  write_text("", text + "`facet models MODEL` explains the options.\n");
}

void print_model(const zoo::ModelSpec& spec) {
  const Graph graph = zoo::build(spec.name);
  std::string text = fmt::format(
      "{}\n{}\n\n  parameters  {}\n  MACs        {} for one image\n  input       {} : {}\n", spec.name,
      spec.doc, grouped(parameter_count(graph)),
      grouped(static_cast<std::int64_t>(multiply_adds(graph))),
      graph.inputs().at(0)->attributes().text("name"), input_type(graph));
  const zoo::Preprocessing& way = spec.preprocessing;
  text += fmt::format("  photos      {}, (pixel / 255 - mean) / std, mean {}, std {}\n",
                      way.fit == zoo::Preprocessing::Fit::stretch
                          ? "stretched to that size"
                          : "shorter side to that size, middle cut out",
                      fmt::join(way.mean, " "), fmt::join(way.std, " "));
  text += "\nOutputs\n";
  for (const zoo::OutputSpec& output : spec.outputs) {
    text += fmt::format("  {:<22} {}\n", output.name, output.doc);
  }
  text += "\nOptions (--set name=value)\n";
  for (const zoo::OptionSpec& option : spec.options) {
    text += fmt::format("  {:<22} {}\n  {:<22} {}; default {}\n", option.name, option.doc, "",
                        zoo::describe_values(option), option.default_value);
  }
  write_text("", text);
}

void run_models(const ModelsArguments& arguments) {
  if (!arguments.model.empty()) {
    const zoo::ModelSpec& spec = zoo::find_model(arguments.model);
    if (!arguments.json) return print_model(spec);
    return write_text("", model_json(spec).dump(2) + "\n");
  }
  if (!arguments.json) return print_table(zoo::models());
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const zoo::ModelSpec& spec : zoo::models()) list.push_back(model_json(spec));
  write_text("", list.dump(2) + "\n");
}

}  // namespace

void add_models_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("models", "List the networks of the zoo, or explain one");
  auto arguments = std::make_shared<ModelsArguments>();
  command->add_option("model", arguments->model, "Explain this model")->type_name("MODEL");
  command->add_flag("--json", arguments->json, "Print JSON");
  command->callback([arguments] { run_models(*arguments); });
}

}  // namespace facet::cli
