#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/attributes.h"
#include "ir/type.h"

namespace facet {

class Graph;
class Node;
struct OpDef;

/// One result of a node. Free to copy; valid as long as its node is in the graph.
struct Value {
  Node* node = nullptr;
  int index = 0;

  const Type& type() const;
  const Shape& shape() const { return type().shape; }
  DType dtype() const { return type().dtype; }
  explicit operator bool() const { return node != nullptr; }
  friend bool operator==(const Value&, const Value&) = default;
  friend auto operator<=>(const Value&, const Value&) = default;
};

/// A place that reads a value: operand number `operand` of `node`.
struct Use {
  Node* node = nullptr;
  int operand = 0;
  friend bool operator==(const Use&, const Use&) = default;
};

/// Where a node came from: the DSL scope ("layer1.0.conv1") and the user's "file:line".
/// `origins` are the scopes a fused node stands for.
struct Provenance {
  std::string scope;
  std::string location;
  std::vector<std::string> origins;
};

/// An operation. Operands register with their producers, so `uses` is never stale.
class Node {
 public:
  const OpDef& op() const { return *op_; }
  /// The op's name, e.g. "conv".
  std::string_view kind() const;
  bool is(std::string_view op_name) const { return kind() == op_name; }

  std::span<const Value> operands() const { return operands_; }
  Value operand(int i) const { return operands_.at(static_cast<std::size_t>(i)); }
  int operand_count() const { return static_cast<int>(operands_.size()); }
  void set_operand(int i, Value value);

  std::span<const Type> result_types() const { return types_; }
  int result_count() const { return static_cast<int>(types_.size()); }
  Value result(int i = 0) { return {this, i}; }
  /// Passes that decide dtypes or layouts write them here; `verify` checks that they still agree.
  void set_result_type(int i, Type type) { types_.at(static_cast<std::size_t>(i)) = std::move(type); }

  const Attributes& attributes() const { return attributes_; }
  Attributes& attributes() { return attributes_; }

  /// Readers of result `i`, in no particular order. Graph outputs are not among them.
  std::vector<Use> uses(int i = 0) const;
  const std::vector<std::pair<int, Use>>& all_uses() const { return uses_; }

  const Provenance& provenance() const { return provenance_; }
  Provenance& provenance() { return provenance_; }
  Graph& graph() const { return *graph_; }

 private:
  friend class Graph;
  Node() = default;

  Graph* graph_ = nullptr;
  const OpDef* op_ = nullptr;
  std::vector<Value> operands_;
  std::vector<Type> types_;
  Attributes attributes_;
  std::vector<std::pair<int, Use>> uses_;  // {result index, reader}
  Provenance provenance_;
  std::list<std::unique_ptr<Node>>::iterator position_;
};

inline const Type& Value::type() const { return node->result_types()[static_cast<std::size_t>(index)]; }

/// What a parameter is to its module: decides golden fills, weight-decay groups, initial values.
enum class ParameterRole { weight, bias, bn_weight, bn_bias, running_mean, running_var,
                           batches_tracked, prelu_slope, other };

/// Distribution of a fresh parameter: uniform in [a, b), normal(mean a, std b), the constant a, or
/// an integer range 0, 1, ... (index buffers).
struct Initializer {
  enum class Kind { constant, uniform, normal } kind = Kind::constant;
  double a = 0;
  double b = 0;
};

/// One entry of the module's state_dict, whether or not the graph at hand reads it.
struct Parameter {
  std::string key;
  Type type;
  ParameterRole role = ParameterRole::other;
  Initializer init;
  bool trainable = true;
  HostTensor fixed;  ///< non-empty: an index buffer with values of its own
};

struct Output {
  std::string name;
  Value value;
};

/// A network as a list of nodes in an order where producers stand before their readers.
/// Not synchronised. Movable (nodes keep their addresses); copied by `clone`.
class Graph {
 public:
  explicit Graph(std::string name = "graph") : name_(std::move(name)) {}
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&& other) noexcept;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph();

  const std::string& name() const { return name_; }
  void set_name(std::string name) { name_ = std::move(name); }

  /// Creates a node behind the others, or before `before`. Fills in default attributes and infers the
  /// result types. Throws Error(usage) that names op, operands' types, scope and location.
  Node* create(const OpDef& op, std::vector<Value> operands, Attributes attributes = {},
               Provenance provenance = {}, Node* before = nullptr);
  /// The same by op name.
  Node* create(std::string_view op, std::vector<Value> operands, Attributes attributes = {},
               Provenance provenance = {}, Node* before = nullptr);
  /// Every reader of `from` (outputs, updates and taps included) reads `to` instead.
  void replace_uses(Value from, Value to);
  /// Throws Error(failure) if a result is still read.
  void erase(Node* node);
  /// Moves `node` directly before `at`.
  void move_before(Node* node, Node* at);
  /// Puts nodes into a producer-before-reader order, keeping the present order where it can.
  /// Throws Error(failure) on a cycle.
  void sort_topologically();
  /// Infers all result types anew in order, e.g. after a symbol was replaced. Keeps layouts.
  void infer_types();

  const std::list<std::unique_ptr<Node>>& nodes() const { return nodes_; }
  /// Pointers to all nodes in order: safe to iterate while the graph is edited.
  std::vector<Node*> node_list() const;
  std::size_t size() const { return nodes_.size(); }
  /// The `input` nodes in order.
  std::vector<Node*> inputs() const;

  const std::vector<Output>& outputs() const { return outputs_; }
  std::vector<Output>& outputs() { return outputs_; }
  /// Whether an output or an update names it: it outlives the steps.
  bool is_output(Value value) const;
  /// Reads of `value` by nodes, outputs and updates together.
  int use_count(Value value) const;

  /// The module's state_dict, in its order.
  const std::vector<Parameter>& parameters() const { return parameters_; }
  std::vector<Parameter>& parameters() { return parameters_; }
  const Parameter* find_parameter(std::string_view key) const;

  /// State that a run changes: after it, the parameter `name` holds `value`. These count as uses, as
  /// outputs do. A `parameter` node of such a key has the attribute `mutable`.
  const std::vector<Output>& updates() const { return updates_; }
  std::vector<Output>& updates() { return updates_; }
  /// Declares that state `key` becomes `value` (of the same type) after a run, in place of what was
  /// declared before, and marks the node that reads it. Throws Error(usage) if the state_dict has no
  /// such key or the types differ.
  void add_update(const std::string& key, Value value);
  /// The `parameter` node that reads `key`, made at the front if there is none. Throws Error(usage)
  /// if the state_dict has no such key.
  Node* read_parameter(const std::string& key);

  /// Named values inside ("layer1" -> output of that module's first call). Never read by passes:
  /// `promote_taps` turns the wanted ones into outputs and forgets the rest.
  const std::vector<Output>& taps() const { return taps_; }
  std::vector<Output>& taps() { return taps_; }
  /// Throws Error(usage) with the nearest names for one that is not there.
  void promote_taps(const std::vector<std::string>& names);
  /// Keeps only the named outputs. Throws Error(usage) with the nearest names.
  void select_outputs(const std::vector<std::string>& names);

  Graph clone() const;
  /// A copy in which the symbol has the given extent everywhere.
  Graph with_symbol(std::string_view symbol, std::int64_t extent) const;
  /// Symbols of the inputs' shapes, in order of appearance.
  std::vector<std::string> symbols() const;

 private:
  void adopt();

  std::string name_;
  std::list<std::unique_ptr<Node>> nodes_;
  std::vector<Output> outputs_;
  std::vector<Output> updates_;
  std::vector<Output> taps_;
  std::vector<Parameter> parameters_;
};

/// Checks every invariant: operands stand before readers, use lists are exact, arity and attributes
/// fit the op's definition, stored types equal inferred ones (layouts apart), parameters are declared
/// once and with the type they are read at, inputs have distinct names, outputs too, outputs and taps
/// exist. Throws Error(failure) that prints the node, expected and found.
void verify(const Graph& graph);

/// 64-bit hash of what the graph computes: ops, attributes, types, layouts, wiring, parameter keys,
/// output names; not scopes, locations, taps or the graph's name.
std::uint64_t fingerprint(const Graph& graph);

}  // namespace facet
