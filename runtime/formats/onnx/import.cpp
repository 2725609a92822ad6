#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <set>

#include "ir/error.h"
#include "runtime/formats/mapped_file.h"
#include "runtime/formats/onnx/dimensions.h"
#include "runtime/formats/onnx/model_file.h"
#include "runtime/formats/onnx/node_reader.h"
#include "runtime/formats/onnx/node_source.h"
#include "runtime/formats/onnx/onnx_import.h"
#include "runtime/formats/onnx/prepare.h"
#include "runtime/formats/onnx/recompose.h"
#include "runtime/formats/onnx/shape_arithmetic.h"
#include "runtime/formats/onnx/tensor_proto.h"
#include "runtime/formats/onnx/value_table.h"
#include "runtime/formats/onnx/wire_scan.h"

namespace facet {
namespace onnx_import {
namespace {

using ::onnx::GraphProto;
using ::onnx::ModelProto;
using ::onnx::NodeProto;

/// What cannot be imported, over the whole model.
class Problems {
 public:
  void add(const NodeSource& node, std::string_view reason) {
    lines_.push_back(fmt::format("{} '{}': {}", node.op, node.name, reason));
  }
  void add(std::string line) { lines_.push_back(std::move(line)); }

  void report(std::size_t nodes) const {
    if (lines_.empty()) return;
    std::string text =
        fmt::format("it has {} that cannot be imported, of {} nodes", lines_.size(), nodes);
    for (std::size_t i = 0; i < lines_.size() && i < kMostLines; ++i) text += "\n  " + lines_[i];
    if (lines_.size() > kMostLines)
      text += fmt::format("\n  and {} more", lines_.size() - kMostLines);
    throw failure(text);
  }

 private:
  static constexpr std::size_t kMostLines = 500;
  std::vector<std::string> lines_;
};

class Importer {
 public:
  Importer(ModelFile file, const ImportOptions& options, const std::string& name)
      : file_(std::move(file)),
        options_(options),
        dimensions_(options),
        values_(model_.graph, model_.weights, options.bindings) {
    model_.graph.set_name(file_.proto.graph().name().empty() ? name : file_.proto.graph().name());
  }

  ImportedModel run() {
    read_header();
    inline_functions(file_.proto);
    // A model with operators that nothing is known of is not worth converting: it is read as it is,
    // to say all that is amiss.
    if (all_known()) check_and_convert(file_.proto, model_.warnings);
    add_inputs();
    add_initializers();
    for (const NodeProto& node : graph().node()) add_node(node);
    problems_.report(static_cast<std::size_t>(graph().node_size()));
    add_outputs();
    recompose(model_.graph);
    remove_unread();
    verify(model_.graph);
    return std::move(model_);
  }

 private:
  const GraphProto& graph() const { return file_.proto.graph(); }

  void read_header() {
    const ModelProto& proto = file_.proto;
    model_.opset = imported_opset(proto, "");
    if (model_.opset > kNewestOpset) {
      throw failure(fmt::format("it is of opset {}; the newest that is read is {}", model_.opset,
                                kNewestOpset));
    }
    for (const auto& item : proto.metadata_props()) model_.metadata[item.key()] = item.value();
    const auto note = [&](const char* key, const std::string& value) {
      if (!value.empty()) model_.metadata.emplace(key, value);
    };
    note("producer_name", proto.producer_name());
    note("producer_version", proto.producer_version());
    note("doc_string", proto.doc_string());
  }

  bool all_known() const {
    for (const NodeProto& node : graph().node()) {
      if (handlers().find(operator_name(node.domain(), node.op_type())) == nullptr) return false;
    }
    return true;
  }

  void add_inputs() {
    std::vector<std::pair<std::string, Entry>> inputs;
    for (const ::onnx::ValueInfoProto& input : graph().input()) {
      if (file_.payloads.contains(input.name())) continue;  // an initializer with a declared type
      Entry entry;
      try {
        entry.type = dimensions_.declare(input);
      } catch (const Error& error) {
        if (error.kind() == ErrorKind::usage) throw;
        entry.kind = Entry::Kind::unavailable;
        problems_.add(fmt::format("input '{}': {}", input.name(), error.what()));
      }
      inputs.emplace_back(input.name(), std::move(entry));
    }
    dimensions_.check_names();
    for (auto& [name, entry] : inputs) {
      if (entry.kind != Entry::Kind::unavailable) {
        entry.type = dimensions_.resolve(entry.type);
        Node* node =
            model_.graph.create("input", {}, {{"name", name}, {"type", to_string(entry.type)}});
        entry.value = node->result();
      }
      values_.define(name, std::move(entry));
    }
  }

  void add_initializers() {
    std::int64_t order = 0;
    for (const ::onnx::TensorProto& proto : graph().initializer()) {
      Entry entry;
      entry.kind = Entry::Kind::initializer;
      entry.order = order++;
      const auto payload = file_.payloads.find(proto.name());
      if (payload != file_.payloads.end() && !payload->second.problem.empty()) {
        entry.kind = Entry::Kind::unavailable;
        entry.problem = payload->second.problem;
      } else {
        // The version converter may have added some of its own.
        entry.tensor =
            payload != file_.payloads.end() ? payload->second.tensor : read_tensor(proto);
        entry.type = Type{entry.tensor.dtype(),
                          Shape(entry.tensor.shape().begin(), entry.tensor.shape().end()),
                          {}};
      }
      values_.define(proto.name(), std::move(entry));
    }
  }

  void add_node(const NodeProto& proto) {
    NodeSource source{proto, proto.name(), operator_name(proto.domain(), proto.op_type()),
                      imported_opset(file_.proto, proto.domain())};
    if (source.name.empty() && proto.output_size() > 0) source.name = proto.output(0);
    try {
      build(source);
    } catch (const Error& error) {
      problems_.add(source, error.what());
      for (const std::string& output : proto.output()) give_up(output);
    }
  }

  void build(const NodeSource& source) {
    const Handler handler = handlers().find(source.op);
    if (handler == nullptr) throw Unsupported(handlers().reason(source.op));
    for (const std::string& input : source.proto.input()) {
      if (input.empty()) continue;
      const Entry* entry = values_.find(input);
      if (entry == nullptr) {
        throw Unsupported(fmt::format("it reads '{}', which nothing ahead of it gives", input));
      }
      if (entry->kind != Entry::Kind::unavailable || !entry->problem.empty()) continue;
      for (const std::string& output : source.proto.output()) give_up(output);
      return;  // its producer is on the list already
    }
    NodeReader node(values_, source);
    if (!fold_shape_arithmetic(node)) handler(node);
    for (const std::string& output : source.proto.output()) {
      if (!output.empty() && values_.find(output) == nullptr) {
        throw Unsupported(fmt::format("its result '{}' is not computed", output));
      }
    }
    remember_tap(source);
  }

  void give_up(const std::string& output) {
    if (output.empty() || values_.find(output) != nullptr) return;
    Entry entry;
    entry.kind = Entry::Kind::unavailable;
    values_.define(output, std::move(entry));
  }

  void remember_tap(const NodeSource& source) {
    if (source.proto.output_size() == 0) return;
    const Entry* entry = values_.find(source.proto.output(0));
    if (entry == nullptr || !entry->value || entry->value.node->is("input")) return;
    if (tap_names_.insert(source.name).second)
      model_.graph.taps().push_back({source.name, entry->value});
  }

  void add_outputs() {
    for (const ::onnx::ValueInfoProto& output : graph().output()) {
      Entry* entry = values_.find(output.name());
      if (entry == nullptr) throw failure(fmt::format("output '{}' is not defined", output.name()));
      if (entry->kind == Entry::Kind::unavailable) {
        throw failure(fmt::format("output '{}': {}", output.name(), entry->problem));
      }
      model_.graph.outputs().push_back({output.name(), values_.read(*entry, ParameterRole::other)});
    }
    if (model_.graph.outputs().empty()) throw failure("it has no outputs");
  }

  /// What no output needs: operands that were read and then known, results nobody wanted. Inputs
  /// stay, unless their values are built in.
  void remove_unread() {
    Graph& graph = model_.graph;
    std::vector<Node*> nodes = graph.node_list();
    for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
      bool read = false;
      for (int i = 0; i < (*it)->result_count(); ++i)
        read = read || graph.use_count((*it)->result(i)) > 0;
      if (read) continue;
      if ((*it)->is("input")) {
        const std::string& name = (*it)->attributes().text("name");
        if (!values_.bound_inputs().contains(name)) continue;
      }
      graph.erase(*it);
    }
    model_.bound_inputs.assign(values_.bound_inputs().begin(), values_.bound_inputs().end());
    values_.sort_parameters();
    std::set<std::string> read;
    for (const auto& node : graph.nodes()) {
      if (node->is("parameter")) read.insert(node->attributes().text("key"));
    }
    std::erase_if(graph.parameters(), [&](const Parameter& p) { return !read.contains(p.key); });
    std::erase_if(model_.weights, [&](const auto& item) { return !read.contains(item.first); });
  }

  ModelFile file_;
  const ImportOptions& options_;
  Dimensions dimensions_;
  ImportedModel model_;
  ValueTable values_;
  Problems problems_;
  std::set<std::string> tap_names_;
};

}  // namespace

OnnxSignature signature_of(const ModelFile& file) {
  OnnxSignature signature;
  const GraphProto& proto = file.proto.graph();
  signature.graph.set_name(proto.name());
  const ImportOptions options;
  Dimensions dimensions(options);
  for (const ::onnx::ValueInfoProto& input : proto.input()) {
    if (file.payloads.contains(input.name())) continue;
    signature.inputs.push_back(input.name());
    try {
      const Type type = dimensions.declare(input);
      signature.graph.create("input", {}, {{"name", input.name()}, {"type", to_string(type)}});
    } catch (const Error&) {
      continue;  // of a type Facet has not, or without a shape
    }
  }
  for (const ::onnx::ValueInfoProto& output : proto.output())
    signature.outputs.push_back(output.name());
  return signature;
}

}  // namespace onnx_import

namespace {

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

OnnxSignature read_onnx_signature(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  try {
    return onnx_import::signature_of(onnx_import::read_model(file->bytes(), folder_of(path)));
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}: {}", path.string(), error.what()));
  }
}

HostTensor read_onnx_tensor(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  try {
    onnx_import::parsed_size(file->bytes(), onnx_import::WireMessage::tensor);
    ::onnx::TensorProto proto;
    if (!proto.ParseFromArray(file->bytes().data(), static_cast<int>(file->bytes().size()))) {
      throw failure("it is no ONNX tensor");
    }
    return onnx_import::read_tensor(proto);
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}: {}", path.string(), error.what()));
  }
}

ImportedModel import_onnx(std::span<const std::byte> bytes, const std::filesystem::path& folder,
                          const std::string& name, const ImportOptions& options) {
  try {
    return onnx_import::Importer(onnx_import::read_model(bytes, folder), options, name).run();
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}: {}", name, error.what()));
  }
}

ImportedModel import_onnx(const std::filesystem::path& path, const ImportOptions& options) {
  const auto file = MappedFile::open(path);
  return import_onnx(file->bytes(), folder_of(path), path.string(), options);
}

}  // namespace facet
