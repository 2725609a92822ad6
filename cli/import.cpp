#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/onnx_model.h"
#include "ir/error.h"
#include "ir/text.h"
#include "runtime/formats/safetensors.h"
#include "runtime/formats/weights_file.h"

namespace facet::cli {
namespace {

struct ImportArguments {
  std::string model;
  std::string output;
  std::string weights;
  std::vector<std::string> dims;
};

/// Weights alone, without a network.
void import_weights(const ImportArguments& arguments) {
  const std::size_t count = convert_weights(arguments.model, arguments.output);
  write_text("", fmt::format("{}: {} tensors\n", arguments.output, count));
}

void run_import(const ImportArguments& arguments) {
  if (arguments.output.ends_with(".safetensors") && !arguments.model.ends_with(".onnx")) {
    return import_weights(arguments);
  }
  if (!arguments.output.ends_with(".ir")) {
    throw usage_error(fmt::format("-o {}: networks in text form are files named *.ir, "
                                  "weights *.safetensors", arguments.output));
  }
  const ImportedModel model = import_onnx(arguments.model, import_options(arguments.dims));
  print_warnings(arguments.model, model);
  const std::string weights =
      arguments.weights.empty()
          ? std::filesystem::path(arguments.output).replace_extension(".safetensors").string()
          : arguments.weights;
  // The weights first: a network without them would look complete.
  NamedTensors tensors;
  for (const Parameter& parameter : model.graph.parameters()) {
    tensors.emplace_back(parameter.key, model.weights.at(parameter.key));
  }
  if (!tensors.empty()) write_safetensors(weights, tensors, model.metadata);
  write_text(arguments.output, to_text(model.graph));
  std::string text = fmt::format("{}: {} nodes, {} parameters, opset {}\n", arguments.output,
                                 model.graph.size(), tensors.size(), model.opset);
  for (const Node* input : model.graph.inputs()) {
    text += fmt::format("  input {} {}\n", input->attributes().text("name"),
                        to_string(input->result_types()[0]));
  }
  for (const Output& output : model.graph.outputs()) {
    text += fmt::format("  output {} {}\n", output.name, to_string(output.value.type()));
  }
  if (!tensors.empty()) text += fmt::format("  weights in {}\n", weights);
  write_text("", text);
}

}  // namespace

void add_import_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "import",
      "Turn an ONNX model into a network in text form, with its weights beside it; or PyTorch's "
      "weights (.pth) or a sharded model (.index.json) into one safetensors file");
  auto arguments = std::make_shared<ImportArguments>();
  command->add_option("model", arguments->model, "An ONNX model of opset 7 to 22, or weights")
      ->required()
      ->type_name("FILE.onnx|FILE.pth");
  command->add_option("-o,--output", arguments->output, "The network in text form, or the weights")
      ->required()
      ->type_name("FILE.ir|FILE.safetensors");
  command->add_option("--weights", arguments->weights,
                      "Where its weights go (default: beside it, FILE.safetensors); give them to other "
                      "commands with --weights")
      ->type_name("FILE.safetensors");
  add_dim_option(*command, arguments->dims);
  command->callback([arguments] { run_import(*arguments); });
}

}  // namespace facet::cli
