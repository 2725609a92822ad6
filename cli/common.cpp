#include "cli/common.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>

#include "cli/onnx_model.h"
#include "ir/error.h"
#include "ir/op.h"
#include "ir/text.h"
#include "runtime/device_modules.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/formats/mapped_file.h"
#include "runtime/threads.h"
#include "runtime/weights.h"

namespace facet::cli {
namespace {

bool is_buffer(const Parameter& parameter) {
  return parameter.role == ParameterRole::running_mean ||
         parameter.role == ParameterRole::running_var ||
         parameter.role == ParameterRole::batches_tracked || !parameter.fixed.empty();
}

std::map<std::string, std::string> parse_settings(const std::vector<std::string>& settings) {
  std::map<std::string, std::string> result;
  for (const std::string& setting : settings) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw usage_error(fmt::format("--set {}: write --set key=value", setting));
    }
    const std::string key = setting.substr(0, equals);
    if (!result.emplace(key, setting.substr(equals + 1)).second) {
      throw usage_error(fmt::format("--set {} is given twice", key));
    }
  }
  return result;
}

/// What --no-fusion turns off: the passes that make one step of several. lower-batch-norm stays, as
/// batch norms that are not folded need it to run.
constexpr std::array kFusingPasses = {"split-term-sums", "fuse-attention",  "fold-batch-norm",
                                      "fuse-gate",       "fuse-epilogue",   "merge-branches",
                                      "fuse-cotangents", "move-slices",     "fuse-elementwise"};

bool names_file(const std::string& model) {
  return model.ends_with(".ir") || is_onnx_file(model) || model.find('/') != std::string::npos;
}

Model load_file(const std::string& path) {
  const std::string text = read_text(path);
  try {
    Model model{path, parse_graph(text), std::nullopt, {}};
    model.name = model.graph.name();
    model.preprocess = preprocess_for(model.graph, {});
    return model;
  } catch (const Error& error) {
    throw failure(fmt::format("{}: {}", path, error.what()));
  }
}

}  // namespace

std::optional<Preprocess> preprocess_for(const Graph& graph, const zoo::Preprocessing& way) {
  const std::vector<Node*> inputs = graph.inputs();
  if (inputs.size() != 1) return std::nullopt;
  const Shape& shape = inputs[0]->result_types()[0].shape;
  if (shape.size() != 4 || shape[1] != Dim(3) || !shape[2].is_static() || !shape[3].is_static()) {
    return std::nullopt;
  }
  Preprocess settings;
  settings.height = static_cast<int>(shape[2].factor);
  settings.width = static_cast<int>(shape[3].factor);
  settings.fit = way.fit == zoo::Preprocessing::Fit::center_crop ? Preprocess::Fit::center_crop
                                                                 : Preprocess::Fit::stretch;
  settings.mean = way.mean;
  settings.std = way.std;
  return settings;
}

void add_dim_option(CLI::App& command, std::vector<std::string>& dims) {
  command.add_option("--dim", dims, "The extent of a dynamic dimension of an ONNX model; one, the batch, may stay open")
      ->type_name("NAME=EXTENT")
      ->allow_extra_args(false);
}

void add_set_option(CLI::App& command, std::vector<std::string>& settings) {
  command.add_option("--set", settings, "An option of the model; see `facet models MODEL`")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
}

void add_model_arguments(CLI::App& command, ModelArguments& arguments) {
  command.add_option("model", arguments.model, "A model of the zoo, a network in text form (.ir), or an ONNX model")
      ->required()
      ->type_name("MODEL|FILE.ir|FILE.onnx");
  add_set_option(command, arguments.settings);
  add_dim_option(command, arguments.dims);
}

void add_threads_option(CLI::App& command, int& threads) {
  command.add_option("--threads", threads, "Threads to compute with (default: all)")->type_name("N");
}

void add_device_options(CLI::App& command, DeviceArguments& arguments) {
  command.add_option("--device", arguments.name, "cpu, cuda (an NVIDIA GPU), or reference: float64, slow, exact")
      ->capture_default_str();
  command
      .add_option("--device-memory", arguments.memory,
                  "What may be taken of the GPU's memory, 20GB say (default: all)")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->type_name("BYTES");
  command.add_flag("--tune", arguments.tune,
                   "On cuda take cuDNN's fastest engines by running them, once for each step and machine");
}

Device chosen_device(const std::string& name) {
  const Device device = parse_device(name);
  if (device == Device::cuda) require_device(name);
  return device;
}

void add_compile_arguments(CLI::App& command, CompileArguments& arguments) {
  add_device_options(command, arguments.device);
  command.add_option("--precision", arguments.precision, "f32 or bf16; on cuda f16 and tf32, too")->capture_default_str();
  add_threads_option(command, arguments.threads);
  command.add_flag("--no-optimize", arguments.no_optimize, "No fusion, no sharing of memory");
  add_pass_arguments(command, arguments);
}

void add_pass_arguments(CLI::App& command, CompileArguments& arguments) {
  command.add_flag("--no-fusion", arguments.no_fusion,
                   "No fusing pass; layouts, memory plan and kernels stay");
  command.add_option("--disable", arguments.disabled, "Skip this pass")
      ->type_name("PASS")
      ->allow_extra_args(false);
}

CompileOptions compile_options(const CompileArguments& arguments) {
  if (arguments.threads != 0) set_threads(arguments.threads);
  CompileOptions options;
  options.device = chosen_device(arguments.device.name);
  options.memory_limit = static_cast<std::int64_t>(arguments.device.memory);
  options.tune = arguments.device.tune;
  options.precision = parse_precision(arguments.precision);
  options.optimize = !arguments.no_optimize;
  options.disabled_passes = arguments.disabled;
  if (arguments.no_fusion) {
    options.disabled_passes.insert(options.disabled_passes.end(), kFusingPasses.begin(),
                                   kFusingPasses.end());
  }
  for (const std::string& pass : options.disabled_passes) find_pass(pass);  // throws before any work
  return options;
}

Model load_model(const std::string& name, const std::vector<std::string>& settings,
                 const std::vector<std::string>& dims) {
  const auto values = parse_settings(settings);
  if (!dims.empty() && !is_onnx_file(name)) throw usage_error("--dim is for ONNX models");
  if (!names_file(name)) {
    const zoo::ModelSpec& spec = zoo::find_model(name);
    Model model{name, zoo::build(name, values), std::nullopt, {}};
    model.preprocess = preprocess_for(model.graph, spec.preprocessing);
    return model;
  }
  if (!values.empty()) throw usage_error("--set is for models of the zoo; a file is taken as it is");
  if (is_onnx_file(name)) return load_onnx(name, import_options(dims));
  if (!name.ends_with(".ir")) {
    throw usage_error(fmt::format("{}: networks are read from files in text form, named *.ir, and from "
                                  "*.onnx; `facet show MODEL -o model.ir` writes one", name));
  }
  return load_file(name);
}

Model load_model(const ModelArguments& arguments) {
  return load_model(arguments.model, arguments.settings, arguments.dims);
}

void require_weights(std::string_view command, const Model& model, const std::string& given) {
  if (!given.empty() || !model.weights.empty()) return;
  throw usage_error(fmt::format("{}: --weights is required: a file, or random:SEED to try it out", command));
}

TensorMap weights_of(const Model& model, const Graph& graph, const std::string& given) {
  if (!given.empty()) return resolve_weights(graph, given);
  if (!model.weights.empty()) return model.weights;
  if (!graph.parameters().empty()) {
    fmt::print(stderr, "facet: no --weights are given: fresh ones are made (random:0)\n");
  }
  return resolve_weights(graph, "random:0");
}

std::int64_t parameter_count(const Graph& graph) {
  std::int64_t count = 0;
  for (const Parameter& parameter : graph.parameters()) {
    if (!is_buffer(parameter)) count += element_count(parameter.type.shape).factor;
  }
  return count;
}

std::int64_t parameter_bytes(const Graph& graph) {
  std::int64_t bytes = 0;
  for (const Parameter& parameter : graph.parameters()) {
    bytes += element_count(parameter.type.shape).factor * size_of(parameter.type.dtype);
  }
  return bytes;
}

double multiply_adds(const Graph& graph) {
  const std::vector<std::string> symbols = graph.symbols();
  Graph one = symbols.empty() ? graph.clone() : graph.with_symbol(symbols.front(), 1);
  double flops = 0;
  for (const auto& node : one.nodes()) {
    if (node->op().cost.is_compute()) flops += node->op().cost.flops(*node);
  }
  return flops / 2;
}

TensorMap blank_weights(const Graph& graph) {
  TensorMap weights;
  for (const Parameter& parameter : graph.parameters()) {
    weights.emplace(parameter.key,
                    parameter.fixed.empty()
                        ? HostTensor(parameter.type.dtype, static_extents(parameter.type.shape))
                        : parameter.fixed);
  }
  return weights;
}

double cosine_similarity(const float* a, const float* b, std::int64_t count) {
  double dot = 0;
  double a2 = 0;
  double b2 = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double x = a[i];
    const double y = b[i];
    dot += x * y;
    a2 += x * x;
    b2 += y * y;
  }
  return a2 > 0 && b2 > 0 ? dot / std::sqrt(a2 * b2) : 0;
}

Flip flip_named(const std::string& name) {
  if (name == "none") return Flip::none;
  if (name == "sum") return Flip::sum;
  if (name == "concatenate") return Flip::concatenate;
  throw usage_error(fmt::format("--flip {}: give none, sum or concatenate", name));
}

std::string human_bytes(double bytes) {
  if (bytes >= 1e9) return fmt::format("{:.2f} GB", bytes / 1e9);
  if (bytes >= 1e6) return fmt::format("{:.1f} MB", bytes / 1e6);
  if (bytes >= 1e3) return fmt::format("{:.1f} kB", bytes / 1e3);
  return fmt::format("{:.0f} B", bytes);
}

std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  const std::size_t first = number < 0 ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

void write_text(const std::string& path, std::string_view text) {
  if (path.empty()) {
    std::fwrite(text.data(), 1, text.size(), stdout);  // main checks the stream at the end
    return;
  }
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string read_text(const std::string& path) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace facet::cli
