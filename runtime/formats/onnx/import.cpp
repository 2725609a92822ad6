#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <set>

#include "ir/error.h"
#include "runtime/formats/mapped_file.h"
#include "runtime/formats/onnx/node_reader.h"
#include "runtime/formats/onnx/node_source.h"
#include "runtime/formats/onnx/onnx_import.h"
#include "runtime/formats/onnx/tensor_proto.h"
#include "runtime/formats/onnx/value_table.h"

namespace facet {
namespace onnx_import {
namespace {

class Importer {
 public:
  Importer(::onnx::ModelProto& proto, const ImportOptions& options, const std::string& name)
      : proto_(proto), options_(options), values_(model_.graph, model_.weights, options.bindings) {
    model_.graph.set_name(name);
  }

  ImportedModel run() {
    for (::onnx::TensorProto& tensor : *proto_.mutable_graph()->mutable_initializer()) {
      Entry entry;
      entry.kind = Entry::Kind::initializer;
      entry.tensor = take_tensor(tensor);
      entry.type = Type{entry.tensor.dtype(), Shape(entry.tensor.shape().begin(), entry.tensor.shape().end()), {}};
      entry.order = order_++;
      values_.define(tensor.name(), std::move(entry));
    }
    for (const ::onnx::ValueInfoProto& input : proto_.graph().input()) add_input(input);
    for (const ::onnx::NodeProto& node : proto_.graph().node()) add_node(node);
    if (!problems_.empty()) throw failure(fmt::format("cannot import:\n{}", problems_));
    for (const ::onnx::ValueInfoProto& output : proto_.graph().output()) {
      Entry* entry = values_.find(output.name());
      if (entry == nullptr) throw failure(fmt::format("output '{}' is not defined", output.name()));
      model_.graph.outputs().push_back({output.name(), values_.read(*entry, ParameterRole::other)});
    }
    values_.sort_parameters();
    verify(model_.graph);
    return std::move(model_);
  }

 private:
  void add_input(const ::onnx::ValueInfoProto& input) {
    if (values_.find(input.name()) != nullptr) return;
    Type type{facet_dtype(input.type().tensor_type().elem_type()), {}, {}};
    for (const auto& dim : input.type().tensor_type().shape().dim()) {
      type.shape.push_back(dim.has_dim_value() ? Dim(dim.dim_value()) : Dim(dim.dim_param()));
    }
    Entry entry;
    entry.type = type;
    entry.value = model_.graph.create("input", {}, {{"name", input.name()}, {"type", to_string(type)}})->result();
    values_.define(input.name(), std::move(entry));
  }

  void add_node(const ::onnx::NodeProto& proto) {
    NodeSource source{proto, proto.name(), proto.op_type(), proto_.opset_import(0).version()};
    if (source.name.empty() && proto.output_size() > 0) source.name = proto.output(0);
    NodeReader node(values_, source);
    try {
      const Handler handler = handlers().find(source.op);
      if (handler == nullptr) throw Unsupported("there is no such operator");
      handler(node);
    } catch (const Error& error) {
      problems_ += fmt::format("  {} {}: {}\n", source.op, source.name, error.what());
    }
  }

  ::onnx::ModelProto& proto_;
  const ImportOptions& options_;
  ImportedModel model_;
  ValueTable values_;
  std::string problems_;
  std::int64_t order_ = 0;
};

}  // namespace
}  // namespace onnx_import

ImportedModel import_onnx(std::span<const std::byte> bytes, const std::filesystem::path&,
                          const std::string& name, const ImportOptions& options) {
  ::onnx::ModelProto proto;
  if (!proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    throw failure(name + ": not an ONNX model");
  }
  return onnx_import::Importer(proto, options, name).run();
}

ImportedModel import_onnx(const std::filesystem::path& path, const ImportOptions& options) {
  const auto file = MappedFile::open(path);
  return import_onnx(file->bytes(), path.parent_path(), path.stem().string(), options);
}

}  // namespace facet
