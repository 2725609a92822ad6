#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/inputs.h"
#include "cli/onnx_model.h"
#include "ir/error.h"
#include "runtime/formats/safetensors.h"
#include "runtime/report.h"
#include "runtime/weights.h"

namespace facet::cli {
namespace {

struct RunArguments {
  ModelArguments model;
  CompileArguments compile;
  std::string weights;
  std::vector<std::string> inputs;
  std::vector<std::string> taps;
  std::string output;
  bool profile = false;
};

double norm(const HostTensor& tensor) {
  double sum = 0;
  for (std::int64_t i = 0; i < tensor.element_count(); ++i) sum += tensor.at(i) * tensor.at(i);
  return std::sqrt(sum);
}

/// Runs a few times after a warm-up and prints where the mean time goes.
TensorMap profile(const Executable& executable, Context& context, const TensorMap& inputs,
                  std::int64_t batch) {
  constexpr int kRuns = 5;
  TensorMap outputs = context.run(inputs);
  std::vector<std::vector<ProfileRow>> profiles(kRuns);
  const auto start = std::chrono::steady_clock::now();
  for (auto& rows : profiles) outputs = context.profile(inputs, rows);
  const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
  write_text("", fmt::format("mean of {} runs at batch {}\n", kRuns, batch) +
                     profile_text(executable.program(batch), average(profiles),
                                  elapsed.count() / kRuns));
  return outputs;
}

void print_outputs(const TensorMap& outputs) {
  std::string text;
  for (const auto& [name, tensor] : outputs) {
    text += fmt::format("{} {}[{}] l2 {:.9g}\n", name, to_string(tensor.dtype()),
                        fmt::join(tensor.shape(), ", "), norm(tensor));
  }
  write_text("", text);
}

/// An ONNX model may leave more open than the batch: then its inputs, which are read first, say what.
Model load_for_inputs(const RunArguments& arguments) {
  const std::optional<Model> open = open_inputs_of(arguments.model);
  if (!open || !arguments.model.dims.empty()) return load_model(arguments.model);
  ImportOptions options;
  for (const auto& [name, tensor] : read_inputs(*open, arguments.inputs)) {
    options.input_shapes[name] = tensor.shape();
  }
  return load_onnx(arguments.model.model, options);
}

void run_run(const RunArguments& arguments) {
  CompileOptions options = compile_options(arguments.compile);
  options.taps = arguments.taps;
  if (arguments.profile && options.device == Device::reference) {
    throw usage_error("the reference device has no steps to time; profile on --device cpu");
  }
  const Model model = load_for_inputs(arguments);
  model.graph.clone().promote_taps(arguments.taps);  // an unknown scope is named before any work
  const TensorMap inputs = read_inputs(model, arguments.inputs);
  const std::int64_t batch = check_inputs(model.graph, inputs);
  const TensorMap weights = weights_of(model, model.graph, arguments.weights);
  const auto executable = compile(model.graph, weights, options, batch);
  const std::unique_ptr<Context> context = executable->make_context();
  const TensorMap outputs = arguments.profile ? profile(*executable, *context, inputs, batch)
                                              : context->run(inputs);
  if (arguments.output.empty()) return print_outputs(outputs);
  write_safetensors(arguments.output, {outputs.begin(), outputs.end()});
}

}  // namespace

void add_run_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("run", "Run a network on tensors or photos");
  auto arguments = std::make_shared<RunArguments>();
  add_model_arguments(*command, arguments->model);
  command->add_option("--weights", arguments->weights, "The module's state_dict, or fresh parameters (default: an ONNX model's own, else random:0)")
      ->type_name("FILE.safetensors|random:SEED");
  command->add_option("--input", arguments->inputs,
                      "Input values (.safetensors by tensor name, .npy) or a photo (JPEG, PNG); "
                      "several photos make a batch")
      ->type_name("[NAME=]FILE")
      ->allow_extra_args(false);
  command->add_option("--output", arguments->output,
                      "Write outputs and taps here; otherwise their shapes and norms are printed")
      ->type_name("FILE.safetensors");
  command->add_option("--tap", arguments->taps, "Also output what the module at this scope computes")
      ->type_name("SCOPE")
      ->allow_extra_args(false);
  command->add_flag("--profile", arguments->profile, "Print the time of every step");
  add_compile_arguments(*command, arguments->compile);
  command->callback([arguments] { run_run(*arguments); });
}

}  // namespace facet::cli
