#pragma once

#include <onnx/onnx_pb.h>

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/graph.h"
#include "runtime/formats/onnx/node_writer.h"

namespace facet::onnx_export {

std::int32_t onnx_dtype(DType dtype);
/// Header and bytes of `tensor`.
::onnx::TensorProto to_proto(const HostTensor& tensor, const std::string& name);
::onnx::TypeProto to_proto(const Type& type);

/// Translates a graph whose nodes all have writers. Parameters are not in the message: their names
/// are `parameters`, in the order of first use.
class GraphWriter {
 public:
  GraphWriter(const Graph& graph, int opset, bool training);
  void write();

  ::onnx::GraphProto& proto() { return proto_; }
  const std::vector<const Node*>& parameters() const { return parameters_; }
  int opset() const { return opset_; }
  bool training() const { return training_; }

  const std::string& name_of(Value value) const;
  /// A name for a value: `wanted`, or that with a number behind it.
  std::string fresh_name(const std::string& wanted);
  /// The same for a node; the two kinds of names do not meet.
  std::string fresh_node_name(const std::string& wanted);
  /// The name of a node that `node` becomes: its scope first, then "SCOPE/Operator".
  std::string node_name(const Node& node, std::string_view op);
  std::string shared_tensor(const HostTensor& tensor);
  ::onnx::NodeProto& add_node(const std::string& name, std::string_view op, const Names& inputs,
                              const Names& outputs, const Attributes& attributes);
  /// Names of the node's results; taken ones are the graph's outputs.
  Names result_names(const Node& node, const std::string& wanted);

 private:
  void reserve(const std::string& name, std::string_view what);
  void write_inputs();
  void write_node(const Node& node);
  void write_outputs();

  const Graph& graph_;
  int opset_;
  bool training_;
  ::onnx::GraphProto proto_;
  std::vector<const Node*> parameters_;
  std::set<std::string> taken_;  // names of values
  std::set<std::string> taken_nodes_;
  std::map<Value, std::string> names_;
  std::map<Value, std::string>
      output_names_;  // values that a node can write under an output's name
  std::map<std::string, std::string> shared_;  // tensors by their serialised form
};

}  // namespace facet::onnx_export
