#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "ir/error.h"
#include "runtime/formats/onnx/onnx_export.h"
#include "runtime/formats/safetensors.h"

namespace facet::cli {
namespace {

struct ExportArguments {
  ModelArguments model;
  std::string weights;
  std::string output;
  int opset = OnnxExportOptions{}.opset;
  bool external_data = false;
  bool training = false;
  std::vector<std::string> outputs;
};

/// Where the weights come from, and what their file says of its training.
Metadata origin(const ExportArguments& arguments) {
  Metadata metadata{{"facet.model", std::filesystem::path(arguments.model.model).filename()}};
  std::string settings;
  for (const std::string& setting : arguments.model.settings) {
    settings += (settings.empty() ? "" : " ") + setting;
  }
  if (!settings.empty()) metadata["facet.settings"] = settings;
  if (arguments.weights.empty()) return metadata;  // an ONNX model's own
  if (arguments.weights.starts_with("random:")) {
    metadata["training.weights"] = arguments.weights + " (not trained)";
    return metadata;
  }
  const std::filesystem::path path = arguments.weights;
  metadata["training.weights"] = path.filename().string();
  if (path.extension() == ".safetensors") {
    for (const auto& [key, value] : read_safetensors(path).metadata())
      metadata["training." + key] = value;
  }
  return metadata;
}

void run_export(const ExportArguments& arguments) {
  Model model = load_model(arguments.model);
  require_weights("export", model, arguments.weights);
  if (!arguments.outputs.empty()) model.graph.select_outputs(arguments.outputs);
  OnnxExportOptions options;
  options.opset = arguments.opset;
  options.external_data = arguments.external_data;
  options.training = arguments.training;
  options.preprocess = model.preprocess;
  const TensorMap weights = weights_of(model, model.graph, arguments.weights);
  options.metadata = origin(arguments);
  export_onnx(model.graph, weights, arguments.output, options);
  std::uintmax_t bytes = 0;
  for (const std::string& path : {arguments.output, arguments.output + ".data"}) {
    std::error_code missing;
    const std::uintmax_t size = std::filesystem::file_size(path, missing);
    if (!missing && (path == arguments.output || arguments.external_data)) bytes += size;
  }
  write_text("", fmt::format("{}: opset {}, {}\n", arguments.output, arguments.opset,
                             human_bytes(static_cast<double>(bytes))));
}

}  // namespace

void add_export_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("export", "Write a network with its weights as an ONNX model");
  auto arguments = std::make_shared<ExportArguments>();
  add_model_arguments(*command, arguments->model);
  command
      ->add_option("--weights", arguments->weights,
                   "The module's state_dict, or fresh parameters "
                   "(default: an ONNX model's own)")
      ->type_name("FILE|random:SEED");
  command
      ->add_option("--output", arguments->output, "The model; weights beside it in FILE.onnx.data")
      ->required()
      ->type_name("FILE.onnx");
  command->add_option("--opset", arguments->opset, "Operator set, 13 to 22")->capture_default_str();
  command->add_flag("--external-data", arguments->external_data,
                    "Weights in a file beside the model, as for models above 2 GiB");
  command->add_flag("--training", arguments->training,
                    "Batch normalisation and dropout in training mode");
  command->add_option("--output-name", arguments->outputs, "Keep only this output of the network")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command->callback([arguments] { run_export(*arguments); });
}

}  // namespace facet::cli
