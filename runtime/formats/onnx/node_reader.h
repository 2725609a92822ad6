#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/error.h"
#include "ir/graph.h"
#include "ir/host_tensor.h"

/// What the importer's handlers see of an ONNX node. Private to runtime/formats/onnx. A handler
/// reads inputs and attributes, builds Facet nodes and sets results, as the operator's
/// documentation has it; it accepts every spelling of opsets 7 to 22 (axes as attribute or as
/// input).
///
///   void import_elu(NodeReader& node) {
///     const Value x = node.input(0);
///     ...
///     node.set(node.make("where", {...}));
///   }
namespace facet::onnx_import {

class ValueTable;   // values of the model by name: value_table.h
struct DimTensor;   // small integer tensors with symbols in them: value_table.h
struct Entry;       // the same
struct NodeSource;  // the NodeProto: node_source.h

/// Thrown to say that this node cannot be imported. The importer collects the reasons of all nodes.
class Unsupported : public Error {
 public:
  explicit Unsupported(std::string reason) : Error(ErrorKind::failure, std::move(reason)) {}
};

class NodeReader {
 public:
  NodeReader(ValueTable& values, const NodeSource& source);

  /// The node's name, or its first result's when it has none. It is the scope of what is built.
  const std::string& name() const;
  const std::string& op() const;
  /// The version its domain is imported in: 7 to 22 for ONNX's own operators.
  std::int64_t opset() const;

  // ---- Inputs
  // -------------------------------------------------------------------------------------
  /// Inputs up to the last given one; those left out between count.
  int input_count() const;
  /// Whether input i is given.
  bool has_input(int i) const;
  /// Input i as a value of the graph. An initializer becomes a parameter (`role` says what it is to
  /// its operator) or constant the first time it is read. Throws Unsupported for one that is left
  /// out and for a shape with open symbols, which exists at import only.
  Value input(int i, ParameterRole role = ParameterRole::other);
  /// All given inputs.
  std::vector<Value> inputs();
  /// Type of input i, without reading it as a value.
  Type type(int i) const;
  Shape shape(int i) const { return type(i).shape; }
  std::int64_t rank(int i) const { return type(i).rank(); }

  // ---- Inputs that must be known at import
  // --------------------------------------------------------- Known are initializers, constants,
  // what is computed of them, shapes, and bound graph inputs. The throwing forms say which input
  // must be known. They do not make an initializer a parameter.
  /// Any dtype; nothing if it is not known (or has symbols in it).
  std::optional<HostTensor> known(int i);
  HostTensor tensor(int i);
  /// Integers of any shape, in row-major order.
  Ints integers(int i);
  /// Integers that may be multiples of a symbol, as a shape.
  Shape dims(int i);
  /// What shape arithmetic sees: small whole-numbered tensors that are known without computing.
  std::optional<DimTensor> given_dims(int i);
  /// Numbers of any dtype, in row-major order.
  Doubles numbers(int i);
  /// A tensor of one element.
  double number_input(int i);
  std::int64_t integer_input(int i);
  /// Integers that are an attribute in old opsets and input i in new ones; nothing if neither is
  /// given.
  std::optional<Ints> integers(std::string_view attribute, int i);

  // ---- Attributes. Throw Unsupported for one of another kind.
  // --------------------------------------
  bool has(std::string_view attribute) const;
  std::int64_t integer(std::string_view attribute, std::int64_t fallback) const;
  bool flag(std::string_view attribute, bool fallback) const;
  /// The number that was written: the shortest decimal of the float, 0.1 and not 0.100000001.
  double number(std::string_view attribute, double fallback) const;
  static double decimal(float value);
  std::string text(std::string_view attribute, std::string fallback) const;
  Ints ints(std::string_view attribute, Ints fallback) const;
  Doubles doubles(std::string_view attribute, Doubles fallback) const;
  Strings strings(std::string_view attribute, Strings fallback) const;
  /// Throws Unsupported if absent.
  HostTensor tensor_attribute(std::string_view attribute) const;
  /// The same for a whole number, e.g. a reduction's `axis`; negative ones count from the end.
  /// Throws Unsupported when it is outside [-rank, rank).
  std::int64_t axis(std::string_view attribute, std::int64_t fallback, std::int64_t rank) const;
  /// The Facet type of an ONNX `TensorProto.DataType` number, e.g. Cast's `to`. Throws Unsupported
  /// with the type's name for one Facet has not.
  static DType dtype(std::int64_t onnx_type);

  // ---- Building
  // ------------------------------------------------------------------------------------
  /// A node of one result. Errors of inference are reported with this node's name.
  Value make(std::string_view op, std::vector<Value> operands, Attributes attributes = {});
  /// A node of several results.
  Node* make_node(std::string_view op, std::vector<Value> operands, Attributes attributes = {});
  Value constant(HostTensor value);
  /// A rank-0 constant of `like`'s dtype.
  Value scalar(double value, Value like);
  Value scalar(double value, DType dtype = DType::f32);
  /// `x` itself if it is of that dtype already.
  Value cast(Value x, DType dtype);
  /// The same elements in another shape, whose symbols must be those of `x`. `x` itself if equal.
  Value reshape(Value x, const Shape& shape);
  /// `x` in the shape it broadcasts to. `x` itself if equal.
  Value expand(Value x, const Shape& shape);
  /// `x` itself for the identity.
  Value transpose(Value x, const Ints& permutation);
  /// x with `rank` axes, the missing ones of extent 1 in front.
  Value with_rank(Value x, std::int64_t rank);

  // ---- Results
  // -------------------------------------------------------------------------------------
  int output_count() const;
  /// Whether result i is named, so that somebody may read it.
  bool wants(int i) const;
  void set(int i, Value value);
  void set(Value value) { set(0, value); }
  /// A result that is known at import: it becomes a constant when it is read as a value.
  void set(int i, HostTensor value);
  void set(HostTensor value) { set(0, std::move(value)); }
  /// A known integer tensor (i64 unless said) of rank 1 whose elements may be multiples of symbols.
  void set_dims(int i, Shape elements, DType dtype = DType::i64);
  void set_dims(int i, DimTensor dims);
  /// A static tensor with the one element of `fill` everywhere; its bytes are made when it is read.
  void set_filled(int i, Type type, HostTensor fill);
  /// Result i is input `from`, whatever is known of it.
  void pass_through(int i, int from);

  /// Says why this node cannot be imported; the importer goes on with the next.
  [[noreturn]] void unsupported(std::string reason) const;
  /// Throws Unsupported unless result i is unwanted: for results that training or old opsets have.
  void refuse_output(int i, std::string_view what) const;

  ValueTable& values() { return values_; }
  const NodeSource& source() const { return source_; }

 private:
  Entry& entry(int i) const;
  /// Zeros with as many elements as `extent`, a symbol's multiple, says.
  Value zeros_along(const Dim& extent, DType dtype);

  ValueTable& values_;
  const NodeSource& source_;
};

/// Builds the results of one node.
using Handler = void (*)(NodeReader&);

/// Handlers by operator; those of other domains than ONNX's own as "domain::Operator".
class HandlerTable {
 public:
  /// Throws Error(failure) for an operator that has a handler.
  void add(std::string_view op, Handler handler) {
    if (!handlers_.emplace(op, handler).second) {
      throw failure("two handlers of " + std::string(op));
    }
  }
  /// An operator, or all of a domain ("domain::"), that is out of scope, and why.
  void refuse(std::string_view op, std::string_view reason) {
    reasons_[std::string(op)] = std::string(reason);
  }
  /// Null if there is none.
  Handler find(const std::string& op) const {
    const auto it = handlers_.find(op);
    return it != handlers_.end() ? it->second : nullptr;
  }
  /// Why an operator without a handler is refused.
  std::string reason(const std::string& op) const;

 private:
  std::map<std::string, Handler> handlers_;
  std::map<std::string, std::string> reasons_;
};

/// The error that says that `what` ("strings") is out of Facet's scope.
Unsupported out_of_scope(std::string_view what);

/// All handlers; built once, then read-only.
const HandlerTable& handlers();

// The families; handlers.cpp lists them.
void add_vision_handlers(HandlerTable& table);  ///< convolutions
void add_pooling_handlers(HandlerTable& table);
void add_resize_handlers(HandlerTable& table);
void add_normalization_handlers(HandlerTable& table);
void add_shape_handlers(HandlerTable& table);
void add_refusals(HandlerTable& table);
void add_index_handlers(HandlerTable& table);
void add_layout_handlers(HandlerTable& table);
void add_sampling_handlers(HandlerTable& table);
void add_signal_handlers(HandlerTable& table);

}  // namespace facet::onnx_import
