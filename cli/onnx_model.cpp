#include "cli/onnx_model.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>

#include "ir/error.h"
#include "runtime/formats/onnx/preprocess_metadata.h"

namespace facet::cli {

bool is_onnx_file(const std::string& model) { return model.ends_with(".onnx"); }

ImportOptions import_options(const std::vector<std::string>& dims) {
  ImportOptions options;
  for (const std::string& dim : dims) {
    const std::size_t equals = dim.rfind('=');
    std::int64_t extent = 0;
    bool valid = equals != std::string::npos && equals > 0;
    if (valid) {
      const char* const end = dim.data() + dim.size();
      const auto read = std::from_chars(dim.data() + equals + 1, end, extent);
      valid = read.ec == std::errc() && read.ptr == end && extent > 0;
    }
    if (!valid)
      throw usage_error(fmt::format("--dim {}: write --dim NAME=EXTENT, an extent from 1", dim));
    if (!options.dims.emplace(dim.substr(0, equals), extent).second) {
      throw usage_error(fmt::format("--dim {} is given twice", dim.substr(0, equals)));
    }
  }
  return options;
}

void print_warnings(const std::string& path, const ImportedModel& model) {
  for (const std::string& warning : model.warnings) {
    fmt::print(stderr, "facet: {}: {}\n", path, warning);
  }
}

Model load_onnx(const std::string& path, const ImportOptions& options) {
  ImportedModel imported = import_onnx(path, options);
  print_warnings(path, imported);
  Model model{path, std::move(imported.graph), std::nullopt, std::move(imported.weights)};
  model.name = model.graph.name();
  model.preprocess = preprocess_for(model.graph, {});
  if (model.preprocess) {  // for one image input, the model may say itself how to fill it
    if (const auto stated = preprocess_of(imported.metadata)) model.preprocess = stated;
  }
  return model;
}

std::optional<Model> open_inputs_of(const ModelArguments& arguments) {
  if (!is_onnx_file(arguments.model)) return std::nullopt;
  OnnxSignature signature = read_onnx_signature(arguments.model);
  if (signature.graph.symbols().size() < 2) return std::nullopt;
  Model model{arguments.model, std::move(signature.graph), std::nullopt, {}};
  model.preprocess = preprocess_for(model.graph, {});
  return model;
}

}  // namespace facet::cli
