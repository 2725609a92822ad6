#pragma once

#include <string>
#include <vector>

#include "cli/common.h"
#include "runtime/formats/onnx/onnx_import.h"

namespace facet::cli {

/// Whether the command line means an ONNX model.
bool is_onnx_file(const std::string& model);
/// "NAME=EXTENT" each, as --dim takes them. Throws Error(usage).
ImportOptions import_options(const std::vector<std::string>& dims);
/// Prints what was read in another way than the file says.
void print_warnings(const std::string& path, const ImportedModel& model);
/// The network with its own weights.
Model load_onnx(const std::string& path, const ImportOptions& options);
/// What stands in for a model whose inputs leave more than the batch open, until they are read:
/// nothing if the model is no such one.
std::optional<Model> open_inputs_of(const ModelArguments& arguments);

}  // namespace facet::cli
