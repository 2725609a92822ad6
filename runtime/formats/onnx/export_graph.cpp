#include "runtime/formats/onnx/export_graph.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <onnx/defs/schema.h>

#include <bit>

#include "ir/error.h"

namespace facet::onnx_export {
namespace {

static_assert(std::endian::native == std::endian::little, "raw tensor data is little-endian");

struct ToAttribute {
  ::onnx::AttributeProto& proto;

  void operator()(bool value) const { (*this)(static_cast<std::int64_t>(value)); }
  void operator()(std::int64_t value) const {
    proto.set_type(::onnx::AttributeProto::INT);
    proto.set_i(value);
  }
  void operator()(double value) const {
    proto.set_type(::onnx::AttributeProto::FLOAT);
    proto.set_f(static_cast<float>(value));
  }
  void operator()(const std::string& value) const {
    proto.set_type(::onnx::AttributeProto::STRING);
    proto.set_s(value);
  }
  void operator()(const Ints& values) const {
    proto.set_type(::onnx::AttributeProto::INTS);
    for (const std::int64_t value : values) proto.add_ints(value);
  }
  void operator()(const Doubles& values) const {
    proto.set_type(::onnx::AttributeProto::FLOATS);
    for (const double value : values) proto.add_floats(static_cast<float>(value));
  }
  void operator()(const Strings& values) const {
    proto.set_type(::onnx::AttributeProto::STRINGS);
    for (const std::string& value : values) proto.add_strings(value);
  }
  void operator()(const HostTensor& value) const {
    proto.set_type(::onnx::AttributeProto::TENSOR);
    *proto.mutable_t() = to_proto(value, "");
  }
};

/// The kind of ONNX attribute that a Facet attribute is written as.
::onnx::AttributeProto::AttributeType kind_of(const Attribute& attribute) {
  ::onnx::AttributeProto proto;
  std::visit(ToAttribute{proto}, attribute);
  return proto.type();
}

std::string fresh(std::set<std::string>& taken, const std::string& wanted) {
  std::string name = wanted;
  for (int i = 1; !taken.insert(name).second; ++i) name = fmt::format("{}_{}", wanted, i);
  return name;
}

}  // namespace

std::int32_t onnx_dtype(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return ::onnx::TensorProto::FLOAT;
    case DType::bf16:
      return ::onnx::TensorProto::BFLOAT16;
    case DType::f16:
      return ::onnx::TensorProto::FLOAT16;
    case DType::f64:
      return ::onnx::TensorProto::DOUBLE;
    case DType::i64:
      return ::onnx::TensorProto::INT64;
    case DType::i32:
      return ::onnx::TensorProto::INT32;
    case DType::i8:
      return ::onnx::TensorProto::INT8;
    case DType::u8:
      return ::onnx::TensorProto::UINT8;
    case DType::boolean:
      return ::onnx::TensorProto::BOOL;
  }
  throw failure("a dtype that ONNX does not know");
}

std::int64_t onnx_dtype_number(DType dtype) { return onnx_dtype(dtype); }

::onnx::TensorProto to_proto(const HostTensor& tensor, const std::string& name) {
  ::onnx::TensorProto proto;
  proto.set_name(name);
  proto.set_data_type(onnx_dtype(tensor.dtype()));
  for (const std::int64_t extent : tensor.shape()) proto.add_dims(extent);
  proto.set_raw_data(tensor.data(), static_cast<std::size_t>(tensor.byte_count()));
  return proto;
}

::onnx::TypeProto to_proto(const Type& type) {
  ::onnx::TypeProto proto;
  auto* tensor = proto.mutable_tensor_type();
  tensor->set_elem_type(onnx_dtype(type.dtype));
  auto* shape = tensor->mutable_shape();
  for (const Dim& dim : type.shape) {
    if (dim.is_static()) {
      shape->add_dim()->set_dim_value(dim.factor);
    } else {
      shape->add_dim()->set_dim_param(to_string(dim));
    }
  }
  return proto;
}

bool maps_one_to_one(const OpDef& op, int opset) {
  if (op.onnx.name().empty() || op.onnx.since_opset() > opset) return false;
  const ::onnx::OpSchema* schema =
      ::onnx::OpSchemaRegistry::Schema(std::string(op.onnx.name()), opset, "");
  if (schema == nullptr) return false;
  for (const AttributeSpec& spec : op.attributes) {
    const auto it = schema->attributes().find(std::string(spec.name));
    if (it == schema->attributes().end() || it->second.type != kind_of(spec.default_value))
      return false;
  }
  return true;
}

GraphWriter::GraphWriter(const Graph& graph, int opset, bool training)
    : graph_(graph), opset_(opset), training_(training) {
  proto_.set_name(graph.name().empty() ? "graph" : graph.name());
}

void GraphWriter::reserve(const std::string& name, std::string_view what) {
  if (name.empty()) {
    throw usage_error(fmt::format("{} of '{}' has no name; ONNX needs one", what, graph_.name()));
  }
  if (taken_.insert(name).second) return;
  throw usage_error(fmt::format(
      "'{}' names two things in '{}', one of them {}: in ONNX inputs, outputs and parameters share "
      "their names; rename one",
      name, graph_.name(), what));
}

std::string GraphWriter::fresh_name(const std::string& wanted) { return fresh(taken_, wanted); }
std::string GraphWriter::fresh_node_name(const std::string& wanted) {
  return fresh(taken_nodes_, wanted);
}

const std::string& GraphWriter::name_of(Value value) const { return names_.at(value); }

std::string GraphWriter::node_name(const Node& node, std::string_view op) {
  const std::string& scope = node.provenance().scope;
  if (!scope.empty() && taken_nodes_.insert(scope).second) return scope;
  return fresh_node_name(scope.empty() ? std::string(op) : fmt::format("{}/{}", scope, op));
}

std::string GraphWriter::shared_tensor(const HostTensor& tensor) {
  const std::string content = to_proto(tensor, "").SerializeAsString();
  const auto it = shared_.find(content);
  if (it != shared_.end()) return it->second;
  std::vector<std::int64_t> values;
  for (std::int64_t i = 0; i < std::min<std::int64_t>(tensor.element_count(), 8); ++i) {
    values.push_back(static_cast<std::int64_t>(tensor.at(i)));
  }
  const std::string name = fresh_name(
      fmt::format("{}_{}", tensor.rank() == 0 ? "integer" : "ints", fmt::join(values, "_")));
  *proto_.add_initializer() = to_proto(tensor, name);
  return shared_[content] = name;
}

::onnx::NodeProto& GraphWriter::add_node(const std::string& name, std::string_view op,
                                         const Names& inputs, const Names& outputs,
                                         const Attributes& attributes) {
  ::onnx::NodeProto& node = *proto_.add_node();
  node.set_name(name);
  node.set_op_type(std::string(op));
  std::size_t used = inputs.size();
  while (used > 0 && inputs[used - 1].empty()) --used;  // optional inputs at the end
  for (std::size_t i = 0; i < used; ++i) node.add_input(inputs[i]);
  for (const std::string& output : outputs) node.add_output(output);
  for (const auto& [key, value] : attributes) {
    ::onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(key);
    std::visit(ToAttribute{attribute}, value);
  }
  return node;
}

Names GraphWriter::result_names(const Node& node, const std::string& wanted) {
  Names names;
  for (int i = 0; i < node.result_count(); ++i) {
    const Value value{const_cast<Node*>(&node), i};
    const auto output = output_names_.find(value);
    if (output != output_names_.end()) {
      names.push_back(output->second);
    } else {  // the first result is called like its node
      names.push_back(fresh_name(i == 0 ? wanted : fmt::format("{}:{}", wanted, i)));
      ::onnx::ValueInfoProto& info = *proto_.add_value_info();
      info.set_name(names.back());
      *info.mutable_type() = to_proto(value.type());
    }
    names_[value] = names.back();
  }
  return names;
}

void GraphWriter::write_inputs() {
  for (Node* node : graph_.inputs()) {
    const std::string& name = node->attributes().text("name");
    reserve(name, "an input");
    names_[node->result()] = name;
    ::onnx::ValueInfoProto& info = *proto_.add_input();
    info.set_name(name);
    *info.mutable_type() = to_proto(node->result_types()[0]);
  }
  for (const Output& output : graph_.outputs()) {
    reserve(output.name, "an output");
    const Node& node = *output.value.node;
    if (node.is("input") || node.is("parameter")) continue;  // those have names of their own
    output_names_.emplace(output.value, output.name);
  }
  std::map<std::string, const Node*> known;
  for (const auto& node : graph_.nodes()) {
    if (!node->is("parameter")) continue;
    const std::string& key = node->attributes().text("key");
    names_[node->result()] = key;
    if (!known.emplace(key, node.get()).second) continue;
    reserve(key, "a parameter");
    parameters_.push_back(node.get());
  }
}

void GraphWriter::write_node(const Node& node) {
  if (node.is("input") || node.is("parameter")) return;
  NodeWriter writer(*this, node);
  if (const WriterEntry* entry = writers().find(node.kind())) return entry->write(writer);
  writer.result(node.op().onnx.name(), writer.operands(), node.attributes());
}

/// The other names of values that have one: outputs that are inputs or parameters, or that are
/// alike.
void GraphWriter::write_outputs() {
  for (const Output& output : graph_.outputs()) {
    const std::string& source = names_.at(output.value);
    if (source != output.name) {
      add_node(fresh_node_name(output.name), "Identity", {source}, {output.name}, {});
    }
    ::onnx::ValueInfoProto& info = *proto_.add_output();
    info.set_name(output.name);
    *info.mutable_type() = to_proto(output.value.type());
  }
}

void GraphWriter::write() {
  write_inputs();
  for (const auto& node : graph_.nodes()) {
    try {
      write_node(*node);
    } catch (Error& error) {
      throw error.add_context(
          fmt::format("writing '{}' ({})", node->provenance().scope, node->kind()));
    }
  }
  write_outputs();
}

int NodeWriter::opset() const { return graph_.opset(); }
bool NodeWriter::training() const { return graph_.training(); }

std::string NodeWriter::operand(int i) const {
  return i < node_.operand_count() ? graph_.name_of(node_.operand(i)) : std::string();
}

Names NodeWriter::operands() const {
  Names names;
  for (int i = 0; i < node_.operand_count(); ++i) names.push_back(operand(i));
  return names;
}

std::string NodeWriter::ints(const Ints& values) {
  HostTensor tensor(DType::i64, {static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.as_mutable<std::int64_t>());
  return graph_.shared_tensor(tensor);
}

std::string NodeWriter::integer(std::int64_t value) {
  HostTensor tensor(DType::i64, {});
  *tensor.as_mutable<std::int64_t>() = value;
  return graph_.shared_tensor(tensor);
}

std::string NodeWriter::scalar(double value, DType dtype) {
  return add("Constant", {}, {{"value", HostTensor::scalar(dtype, value)}});
}

std::string NodeWriter::add(std::string_view op, Names inputs, Attributes attributes) {
  const std::string& scope = node_.provenance().scope;
  const std::string wanted = fmt::format("{}/{}", scope.empty() ? node_.kind() : scope, op);
  const std::string output = graph_.fresh_name(wanted);
  graph_.add_node(graph_.fresh_node_name(wanted), op, inputs, {output}, attributes);
  return output;
}

std::string NodeWriter::cast(std::string name, DType from, DType to) {
  if (from == to) return name;
  return add("Cast", {std::move(name)}, {{"to", onnx_dtype_number(to)}});
}

std::string NodeWriter::reshape(std::string name, const Ints& shape) {
  return add("Reshape", {std::move(name), ints(shape)});
}

std::string NodeWriter::transpose(std::string name, const Ints& permutation) {
  return add("Transpose", {std::move(name)}, {{"perm", permutation}});
}

void NodeWriter::result(std::string_view op, Names inputs, Attributes attributes, int extra_outputs,
                        int first) {
  const std::string name = graph_.node_name(node_, op);
  Names outputs = graph_.result_names(node_, name);
  const auto unread = [&] { return graph_.fresh_name(fmt::format("{}:{}", name, outputs.size())); };
  for (int i = 0; i < first; ++i) outputs.insert(outputs.begin(), unread());
  for (int i = 0; i < extra_outputs; ++i) outputs.push_back(unread());
  graph_.add_node(name, op, inputs, outputs, attributes);
}

}  // namespace facet::onnx_export
