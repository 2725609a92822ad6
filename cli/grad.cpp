#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/inputs.h"
#include "ir/error.h"
#include "passes/vector_jacobian.h"
#include "runtime/formats/safetensors.h"
#include "runtime/weights.h"

namespace facet::cli {
namespace {

struct GradArguments {
  ModelArguments model;
  CompileArguments compile;
  std::string weights;
  std::vector<std::string> inputs;
  std::vector<std::string> cotangents;
  std::string output;
};

/// A stand-in whose inputs are the network's outputs, so that cotangents are read as inputs are.
Model cotangent_model(const Graph& graph) {
  Model model{graph.name(), Graph("cotangents of " + graph.name()), std::nullopt, {}};
  for (const Output& output : graph.outputs()) {
    model.graph.create("input", {}, {{"name", output.name}, {"type", to_string(output.value.type())}});
  }
  return model;
}

void run_grad(const GradArguments& arguments) {
  const CompileOptions options = compile_options(arguments.compile);
  const Model model = load_model(arguments.model);
  TensorMap inputs = read_inputs(model, arguments.inputs);
  const std::int64_t batch = check_inputs(model.graph, inputs);
  const std::vector<std::string> symbols = model.graph.symbols();
  const Graph fixed =
      symbols.empty() ? model.graph.clone() : model.graph.with_symbol(symbols.front(), batch);
  const Model cotangents = cotangent_model(fixed);
  std::vector<std::string> seeded;
  for (auto& [name, tensor] : read_inputs(cotangents, arguments.cotangents)) {
    seeded.push_back(name);
    inputs.emplace("cotangent:" + name, tensor);
  }
  const Graph product = vector_jacobian_product(fixed, seeded, options.optimize);
  const auto executable =
      compile(product, weights_of(model, product, arguments.weights), options, 1);
  const TensorMap results = executable->make_context()->run(inputs);
  write_safetensors(arguments.output, {results.begin(), results.end()});
}

}  // namespace

void add_grad_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "grad", "Gradients of inputs and parameters for given cotangents (training mode, dropout 0)");
  auto arguments = std::make_shared<GradArguments>();
  add_model_arguments(*command, arguments->model);
  command->add_option("--weights", arguments->weights, "The module's state_dict, or fresh parameters (default: an ONNX model's own, else random:0)")
      ->type_name("FILE.safetensors|random:SEED");
  command->add_option("--input", arguments->inputs,
                      "Input values (.safetensors by tensor name, .npy) or a photo")
      ->type_name("[NAME=]FILE")
      ->required()
      ->allow_extra_args(false);
  command->add_option("--cotangent", arguments->cotangents,
                      "Cotangents of outputs (.safetensors by tensor name, .npy)")
      ->type_name("[NAME=]FILE")
      ->required()
      ->allow_extra_args(false);
  command->add_option("--output", arguments->output,
                      "output:NAME, input:NAME, the parameters' gradients under their keys, and "
                      "state:KEY for updated running statistics")
      ->type_name("FILE.safetensors")
      ->required();
  add_compile_arguments(*command, arguments->compile);
  command->callback([arguments] { run_grad(*arguments); });
}

}  // namespace facet::cli
