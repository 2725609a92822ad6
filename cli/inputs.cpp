#include "cli/inputs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>

#include "ir/error.h"
#include "runtime/formats/image.h"
#include "runtime/formats/npy.h"
#include "runtime/formats/safetensors.h"

namespace facet::cli {
namespace {

std::vector<std::string> input_names(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node* input : graph.inputs()) names.push_back(input->attributes().text("name"));
  return names;
}

struct InputFile {
  std::string name;  ///< empty: not said
  std::string path;
};

/// "name=path", where a path that exists may itself contain '='.
InputFile split(const Graph& graph, const std::string& argument) {
  const std::vector<std::string> names = input_names(graph);
  const std::size_t equals = argument.find('=');
  if (equals == std::string::npos) return {{}, argument};
  const std::string name = argument.substr(0, equals);
  if (std::ranges::find(names, name) != names.end()) return {name, argument.substr(equals + 1)};
  std::error_code ignored;
  if (std::filesystem::exists(argument, ignored)) return {{}, argument};
  throw usage_error(fmt::format("'{}' has no input '{}'; {} (inputs: {})", graph.name(), name,
                                did_you_mean(name, names), fmt::join(names, ", ")));
}

class Reader {
 public:
  explicit Reader(const Model& model) : model_(model) {}

  void read(const std::string& argument) {
    const InputFile file = split(model_.graph, argument);
    if (file.path.ends_with(".safetensors")) return read_tensors(file);
    if (file.path.ends_with(".npy")) return add(only_input(file), read_npy(file.path));
    photos_[only_input(file)].push_back(file.path);
  }

  TensorMap finish() {
    for (const auto& [name, paths] : photos_) add(name, read_photos(name, paths));
    return std::move(inputs_);
  }

 private:
  void read_tensors(const InputFile& file) {
    const SafetensorsFile tensors = read_safetensors(file.path);
    if (!file.name.empty()) {
      const bool single = tensors.tensors().size() == 1;  // then its name does not matter
      return add(file.name, single ? tensors.tensors()[0].second : tensors.at(file.name));
    }
    bool found = false;
    for (const std::string& name : input_names(model_.graph)) {
      const HostTensor* tensor = tensors.find(name);
      if (tensor == nullptr) continue;
      add(name, *tensor);
      found = true;
    }
    if (found) return;
    std::vector<std::string> names;
    for (const auto& item : tensors.tensors()) names.push_back(item.first);
    throw usage_error(fmt::format("{} holds none of the inputs of '{}' ({}) but {}; write --input "
                                  "name=file", file.path, model_.graph.name(),
                                  fmt::join(input_names(model_.graph), ", "), fmt::join(names, ", ")));
  }

  std::string only_input(const InputFile& file) const {
    if (!file.name.empty()) return file.name;
    const std::vector<std::string> names = input_names(model_.graph);
    if (names.size() == 1) return names[0];
    throw usage_error(fmt::format("{}: which input is this? Write --input name=file; '{}' has {}",
                                  file.path, model_.graph.name(), fmt::join(names, ", ")));
  }

  HostTensor read_photos(const std::string& name, const std::vector<std::string>& paths) const {
    if (!model_.preprocess) {
      throw usage_error(fmt::format("'{}' takes no photos: it has no single input [N, 3, H, W]; give "
                                    "'{}' as .npy or .safetensors", model_.graph.name(), name));
    }
    const Preprocess& settings = *model_.preprocess;
    const std::int64_t size = std::int64_t{3} * settings.height * settings.width;
    HostTensor batch(DType::f32, {static_cast<std::int64_t>(paths.size()), 3, settings.height,
                                  settings.width});
    float* to = batch.as_mutable<float>();
    for (const std::string& path : paths) {
      preprocess_into(read_image(path), settings, {to, static_cast<std::size_t>(size)});
      to += size;
    }
    return batch;
  }

  void add(const std::string& name, HostTensor tensor) {
    if (inputs_.emplace(name, std::move(tensor)).second) return;
    throw usage_error(fmt::format("input '{}' is given twice; only photos make a batch", name));
  }

  const Model& model_;
  TensorMap inputs_;
  std::map<std::string, std::vector<std::string>> photos_;
};

}  // namespace

TensorMap read_inputs(const Model& model, const std::vector<std::string>& arguments) {
  Reader reader(model);
  for (const std::string& argument : arguments) reader.read(argument);
  return reader.finish();
}

std::int64_t check_inputs(const Graph& graph, const TensorMap& inputs) {
  std::int64_t batch = 0;
  for (const Node* input : graph.inputs()) {
    const std::string& name = input->attributes().text("name");
    const Type& type = input->result_types()[0];
    const auto given = inputs.find(name);
    if (given == inputs.end()) {
      throw usage_error(fmt::format("input '{}' is missing; '{}' takes {}: give --input {}=file", name,
                                    graph.name(), to_string(type), name));
    }
    const std::vector<std::int64_t>& shape = given->second.shape();
    bool fits = shape.size() == type.shape.size();
    for (std::size_t i = 0; fits && i < shape.size(); ++i) {
      const Dim& dim = type.shape[i];
      if (!dim.is_static() && batch == 0 && shape[i] % dim.factor == 0) batch = shape[i] / dim.factor;
      fits = shape[i] == (dim.is_static() ? dim.factor : dim.factor * batch) && shape[i] > 0;
    }
    if (!fits) {
      throw usage_error(fmt::format("input '{}' has shape [{}], but '{}' takes {}", name,
                                    fmt::join(shape, ", "), graph.name(), to_string(type)));
    }
  }
  return std::max<std::int64_t>(batch, 1);
}

}  // namespace facet::cli
