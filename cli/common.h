#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "ir/host_tensor.h"
#include "runtime/compile.h"
#include "runtime/formats/preprocess.h"
#include "training/evaluation/embedder.h"
#include "zoo/zoo.h"

namespace CLI {
class App;
}

/// What several subcommands share: options, networks, output.
namespace facet::cli {

/// MODEL|file.ir|file.onnx, --set key=value and --dim name=extent.
struct ModelArguments {
  std::string model;
  std::vector<std::string> settings;
  std::vector<std::string> dims;
};
void add_model_arguments(CLI::App& command, ModelArguments& arguments);
void add_set_option(CLI::App& command, std::vector<std::string>& settings);
void add_dim_option(CLI::App& command, std::vector<std::string>& dims);

/// --device, --device-memory, --tune.
struct DeviceArguments {
  std::string name = "cpu";
  std::uint64_t memory = 0;  ///< bytes; 0: all
  bool tune = false;
};
void add_device_options(CLI::App& command, DeviceArguments& arguments);

/// Those of the device, --precision, --threads and the switches of the passes.
struct CompileArguments {
  DeviceArguments device;
  std::string precision = "f32";
  int threads = 0;  ///< 0: all
  bool no_optimize = false;
  bool no_fusion = false;
  std::vector<std::string> disabled;
};
void add_compile_arguments(CLI::App& command, CompileArguments& arguments);
/// Of these --no-fusion and --disable alone.
void add_pass_arguments(CLI::App& command, CompileArguments& arguments);
/// The device of that name, which can be used: throws Error(usage) for an unknown name and, before
/// any work, as `require_device`.
Device chosen_device(const std::string& name);
void add_threads_option(CLI::App& command, int& threads);
/// Sets the thread count, too. Throws Error(usage), and as `chosen_device`.
CompileOptions compile_options(const CompileArguments& arguments);

/// A network as the command line named it.
struct Model {
  std::string name;
  Graph graph;
  /// How photos become its input; nothing if it has no single input [N, 3, H, W].
  std::optional<Preprocess> preprocess;
  /// Its own weights, if it came with some (ONNX).
  TensorMap weights;
};
/// A zoo model with its options, or a file in text form or ONNX's. Throws Error(usage) for an unknown
/// model, option or value, Error(failure) for a file that cannot be read.
Model load_model(const ModelArguments& arguments);
/// The same by name, as `bench` takes several.
Model load_model(const std::string& name, const std::vector<std::string>& settings,
                 const std::vector<std::string>& dims = {});
/// Settings for a network's image input: its size, and the model's way to fill it. Nothing unless it
/// has one input [N, 3, H, W].
std::optional<Preprocess> preprocess_for(const Graph& graph, const zoo::Preprocessing& way);
/// Where fresh weights would be no use: throws Error(usage) if there are no others.
void require_weights(std::string_view command, const Model& model, const std::string& given);
/// Weights for `graph`, the model's network or made from it: what `given` (of --weights) names; the
/// model's own when it is empty; else fresh ones, which is said.
TensorMap weights_of(const Model& model, const Graph& graph, const std::string& given);

/// Numbers training changes: the state_dict without running statistics and index buffers.
std::int64_t parameter_count(const Graph& graph);
/// Bytes of the whole state_dict.
std::int64_t parameter_bytes(const Graph& graph);
/// Multiply-adds of convolutions and matrix products for one sample.
double multiply_adds(const Graph& graph);
/// Zeros (and fixed values) for every parameter: what compiling needs when nothing is computed.
TensorMap blank_weights(const Graph& graph);

/// The cosine of the angle between rows of `count` numbers; 0 if one of them is all zeros.
double cosine_similarity(const float* a, const float* b, std::int64_t count);

/// "none", "sum" or "concatenate". Throws Error(usage).
Flip flip_named(const std::string& name);

/// "12.3 MB" in decimal units.
std::string human_bytes(double bytes);
/// "12,345,678".
std::string grouped(std::int64_t number);

/// Writes to the file, atomically, or to standard output if `path` is empty.
void write_text(const std::string& path, std::string_view text);
/// Throws Error(failure) that names the file.
std::string read_text(const std::string& path);

}  // namespace facet::cli
