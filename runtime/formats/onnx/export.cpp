#include <fmt/format.h>
#include <fmt/ranges.h>
#include <onnx/checker.h>

#include <array>

#include "ir/error.h"
#include "ir/op.h"
#include "passes/pass.h"
#include "runtime/formats/onnx/export_file.h"
#include "runtime/formats/onnx/export_graph.h"
#include "runtime/formats/onnx/onnx_export.h"
#include "runtime/formats/onnx/preprocess_metadata.h"

// Export: decompose until every node has a writer, translate, let ONNX's checker see the model,
// write.

namespace facet::onnx_export {
namespace {

constexpr const char* kProducerVersion = "0.1.0";
/// The format's version that came with opset 13, 14, ...: older readers take no newer one.
constexpr std::array<int, 10> kIrVersions = {7, 7, 8, 8, 8, 8, 9, 9, 10, 10};

void check_options(const OnnxExportOptions& options) {
  if (options.opset >= kFirstOnnxOpset && options.opset <= kLastOnnxOpset) return;
  throw usage_error(fmt::format("ONNX models are written in opset {} to {}, not {}",
                                kFirstOnnxOpset, kLastOnnxOpset, options.opset));
}

/// Why the node cannot be written at the opset; empty if it can.
std::string obstacle_of(const Node& node, int opset) {
  if (node.is("input") || node.is("parameter")) return "";
  if (const WriterEntry* entry = writers().find(node.kind())) {
    return entry->obstacle != nullptr ? entry->obstacle(node, opset) : "";
  }
  const OnnxMapping& mapping = node.op().onnx;
  if (maps_one_to_one(node.op(), opset)) return "";
  if (!mapping.reason().empty()) return std::string(mapping.reason());
  const std::string early = missing_before(mapping.since_opset(), opset, mapping.name());
  return early.empty() ? "ONNX has no operator for it" : early;
}

/// Decomposes what cannot be written, and the parts of that, and so on.
void legalize(Graph& graph, int opset) {
  std::string refusals;
  for (bool changed = true; changed && refusals.empty();) {
    changed = false;
    for (Node* node : graph.node_list()) {
      const std::string obstacle = obstacle_of(*node, opset);
      if (obstacle.empty()) continue;
      const std::string where =
          fmt::format("\n  {} ({}): ", node->provenance().scope, node->kind());
      if (decompose(graph, node)) {
        changed = true;
      } else {
        refusals += where + obstacle;
      }
    }
  }
  if (!refusals.empty()) {
    throw usage_error(
        fmt::format("'{}' cannot be written in ONNX opset {}:{}", graph.name(), opset, refusals));
  }
}

/// The graph in ops that have writers, without what no output needs.
Graph prepared(const Graph& given, int opset) {
  if (!given.updates().empty()) {
    throw usage_error(
        fmt::format("'{}' changes its state '{}' when it runs, which ONNX's inference models "
                    "cannot: export the "
                    "network ahead of to_training_mode, in training mode if wanted",
                    given.name(), given.updates()[0].name));
  }
  Graph graph = given.clone();
  PassContext context;
  eliminate_dead_code(graph, context);
  legalize(graph, opset);
  eliminate_dead_code(graph, context);
  return graph;
}

Weights weights_of(const Graph& graph, const std::vector<const Node*>& nodes,
                   const TensorMap& tensors) {
  Weights weights;
  std::string problems;
  for (const Node* node : nodes) {
    const std::string& key = node->attributes().text("key");
    const Type& type = node->result_types()[0];
    const Parameter* parameter = graph.find_parameter(key);
    const auto given = tensors.find(key);
    HostTensor tensor = given != tensors.end() ? given->second
                        : parameter != nullptr ? parameter->fixed
                                               : HostTensor();
    if (tensor.empty()) {
      problems += fmt::format("\n  {} is missing", key);
    } else if (tensor.shape() != static_extents(type.shape)) {
      problems += fmt::format("\n  {} is [{}], the network has {}", key,
                              fmt::join(tensor.shape(), ", "), to_string(type));
    } else {
      weights.emplace_back(key, tensor.dtype() == type.dtype ? tensor : tensor.cast(type.dtype));
    }
  }
  if (!problems.empty()) {
    throw usage_error(fmt::format("the weights do not fit '{}':{}", graph.name(), problems));
  }
  return weights;
}

void add_metadata(::onnx::ModelProto& model, const Metadata& metadata) {
  for (const auto& [key, value] : metadata) {
    auto* entry = model.add_metadata_props();
    entry->set_key(key);
    entry->set_value(value);
  }
}

::onnx::ModelProto model_around(::onnx::GraphProto graph, const OnnxExportOptions& options) {
  ::onnx::ModelProto model;
  model.set_ir_version(kIrVersions.at(static_cast<std::size_t>(options.opset - kFirstOnnxOpset)));
  model.set_producer_name("facet");
  model.set_producer_version(kProducerVersion);
  *model.mutable_graph() = std::move(graph);
  auto* opset = model.add_opset_import();
  opset->set_domain("");
  opset->set_version(options.opset);
  Metadata metadata = options.metadata;
  if (options.preprocess) metadata.merge(preprocess_metadata(*options.preprocess));
  add_metadata(model, metadata);
  return model;
}

/// ONNX's checker and strict shape inference. The weights stand in as inputs of their types, so
/// that nothing copies them.
void check(const ::onnx::ModelProto& model, const std::vector<const Node*>& parameters) {
  ::onnx::ModelProto copy = model;
  for (const Node* node : parameters) {
    ::onnx::ValueInfoProto& info = *copy.mutable_graph()->add_input();
    info.set_name(node->attributes().text("key"));
    *info.mutable_type() = to_proto(node->result_types()[0]);
  }
  try {
    ::onnx::checker::check_model(copy, /*full_check=*/true);
  } catch (const std::exception& error) {
    throw failure(fmt::format("'{}' does not become a valid ONNX model of opset {}: {}",
                              model.graph().name(), model.opset_import(0).version(), error.what()));
  }
}

}  // namespace

std::string missing_before(int since, int opset, std::string_view name) {
  return opset >= since ? "" : fmt::format("{} is in ONNX since opset {}", name, since);
}

const WriterTable& writers() {
  static const WriterTable instance = [] {
    WriterTable table;
    add_network_writers(table);
    add_math_writers(table);
    add_shape_writers(table);
    add_index_writers(table);
    add_vision_writers(table);
    return table;
  }();
  return instance;
}

}  // namespace facet::onnx_export

namespace facet {

void export_onnx(const Graph& graph, const TensorMap& weights, const std::filesystem::path& path,
                 const OnnxExportOptions& options) {
  using namespace onnx_export;
  check_options(options);
  const Graph plain = prepared(graph, options.opset);
  GraphWriter writer(plain, options.opset, options.training);
  writer.write();
  const Weights tensors = weights_of(plain, writer.parameters(), weights);
  const ::onnx::ModelProto model = model_around(std::move(writer.proto()), options);
  check(model, writer.parameters());
  write_model(model, tensors, path, options.external_data);
}

}  // namespace facet
