#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "ir/op.h"

/// What the exporter's writers see of a node that becomes ONNX. Private to runtime/formats/onnx.
namespace facet::onnx_export {

class GraphWriter;

/// The number of a dtype in ONNX: `to` of Cast.
std::int64_t onnx_dtype_number(DType dtype);

/// Names of ONNX values. An empty one leaves an optional input out.
using Names = std::vector<std::string>;

/// One Facet node under translation. A writer reads the node, makes what helps (`add`, constants)
/// and at the end the ONNX node whose outputs are the node's results.
class NodeWriter {
 public:
  NodeWriter(GraphWriter& graph, const Node& node) : graph_(graph), node_(node) {}

  const Node& node() const { return node_; }
  const Attributes& attributes() const { return node_.attributes(); }
  int opset() const;
  bool training() const;

  /// The operand's ONNX name; for one that is left out, empty.
  std::string operand(int i) const;
  Names operands() const;
  const Type& type(int i) const { return node_.operand(i).type(); }
  const Type& result_type() const { return node_.result_types()[0]; }

  /// A tensor [n] of i64, an initializer that equal ones share.
  std::string ints(const Ints& values);
  /// The same of rank 0.
  std::string integer(std::int64_t value);
  /// A Constant of rank 0: floats are never initializers, which are parameters to a reader.
  std::string scalar(double value, DType dtype);

  /// An ONNX node of one fresh output, whose name it returns.
  std::string add(std::string_view op, Names inputs, Attributes attributes = {});
  /// Cast, unless it has the dtype already.
  std::string cast(std::string name, DType from, DType to);
  std::string reshape(std::string name, const Ints& shape);
  std::string transpose(std::string name, const Ints& permutation);

  /// The ONNX node whose first outputs are the node's results, or those from `first` on. The
  /// outputs ahead and `extra_outputs` behind get names that nobody reads.
  void result(std::string_view op, Names inputs, Attributes attributes = {}, int extra_outputs = 0,
              int first = 0);
  /// The result is this value. (An Identity, as a value has one name.)
  void result_is(const std::string& name) { result("Identity", {name}); }

 private:
  GraphWriter& graph_;
  const Node& node_;
};

using Writer = void (*)(NodeWriter&);

/// How one op is written.
struct WriterEntry {
  Writer write = nullptr;
  /// Why this node cannot be written at the opset, or an empty text; null: it always can. What
  /// cannot be written is decomposed, and refused with the reason if it is a plain op.
  std::string (*obstacle)(const Node& node, int opset) = nullptr;
};

/// Writers by Facet op. Ops that are not in it are written by their OnnxMapping alone: the operator
/// of that name with the operands as inputs and the attributes of the same names and kinds.
class WriterTable {
 public:
  void add(std::string_view op, Writer write, std::string (*obstacle)(const Node&, int) = nullptr) {
    entries_[op] = {write, obstacle};
  }
  const WriterEntry* find(std::string_view op) const {
    const auto it = entries_.find(op);
    return it != entries_.end() ? &it->second : nullptr;
  }

 private:
  std::map<std::string_view, WriterEntry> entries_;
};

/// All writers; built once, then read-only.
const WriterTable& writers();

// The families.
void add_network_writers(WriterTable& table);
void add_math_writers(WriterTable& table);
void add_shape_writers(WriterTable& table);
void add_index_writers(WriterTable& table);
void add_vision_writers(WriterTable& table);

/// "NAME is in ONNX since opset 18", or an empty text where it is there.
std::string missing_before(int since, int opset, std::string_view name);

/// Whether the operator that the op's mapping names exists at the opset with all attributes of the
/// op, so that the node is written without a writer of its own.
bool maps_one_to_one(const OpDef& op, int opset);

}  // namespace facet::onnx_export
