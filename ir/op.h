#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace facet {

/// What inference sees of a node that does not exist yet.
struct InferContext {
  const OpDef& op;
  std::span<const Type> operands;
  const Attributes& attributes;

  const Type& operand(std::size_t i) const { return operands[i]; }
};

/// Operand names in order. A trailing '?' marks an optional last operand, a trailing "..." any
/// number of further ones. Results are named too; "..." there: as many as the attributes say.
struct Signature {
  Signature(std::vector<std::string_view> operand_names, std::vector<std::string_view> result_names)
      : operands(std::move(operand_names)), results(std::move(result_names)) {}
  std::vector<std::string_view> operands;
  std::vector<std::string_view> results;
  /// {fewest, most} operands; most is -1 when there is no bound.
  std::pair<int, int> arity() const;
};

/// One declared attribute: its default gives the kind; `required` says that the default is only the
/// kind and a node must set it.
struct AttributeSpec {
  std::string_view name;
  Attribute default_value;
  bool required = false;
};

/// Builds nodes in place of, or beside, an existing one: decompositions and gradients use it.
class Builder {
 public:
  /// New nodes stand before `before` (null: at the end) and inherit `provenance`.
  Builder(Graph& graph, Node* before, Provenance provenance)
      : graph_(&graph), before_(before), provenance_(std::move(provenance)) {}
  /// One-result ops: the result. Throws as Graph::create.
  Value operator()(std::string_view op, std::vector<Value> operands, Attributes attributes = {});
  /// Ops of several results. Throws as Graph::create.
  Node* node(std::string_view op, std::vector<Value> operands, Attributes attributes = {});
  Value scalar(double value, DType dtype = DType::f32);
  Graph& graph() { return *graph_; }

 private:
  Graph* graph_;
  Node* before_;
  Provenance provenance_;
};

/// Reverse-mode rule: given the node and the cotangents of its results (a null Value: zero), returns
/// one cotangent per operand (null: zero or not differentiable). A rule may read the node's operands
/// and results; all shapes are static. A cotangent has the shape of the value it belongs to.
class Gradient {
 public:
  using Rule = std::vector<Value> (*)(Builder& build, Node& node, std::span<const Value> cotangents);
  static Gradient rule(Rule function) { return Gradient(function, {}); }
  /// The gradient of the op's decomposition.
  static Gradient decomposed() { return Gradient(nullptr, {}); }
  /// No gradient, and why.
  static Gradient none(std::string_view reason) { return Gradient(nullptr, reason); }
  Rule function() const { return rule_; }
  std::string_view reason() const { return reason_; }

 private:
  Gradient(Rule how, std::string_view why) : rule_(how), reason_(why) {}
  Rule rule_;
  std::string_view reason_;
};

/// How the layout pass treats an op.
///   compute:    the target is asked for the layouts it wants of every operand and of the result;
///   follow:     works in any one layout that all full-size operands and the result share;
///   axis_aware: follows, and reads named axes (concat, slice, reduce, softmax, pooling);
///   plain:      needs row-major operands and makes row-major results (reshape, ...).
enum class LayoutRole { compute, follow, axis_aware, plain };

/// What the memory plan may do with results.
///   fresh:    own storage;
///   view:     result 0 may be the bytes of operand 0 (reshape where no element has to move);
///   in_place: result 0 may overwrite any operand of the same type and layout that dies here, or
///             results those that the op's `overwrites` says;
///   update:   result i is the new value of operand i, which is state, and lies in its place.
enum class Aliasing { fresh, view, in_place, update };

struct Overwrite {
  int result = 0, operand = 0;
  friend bool operator==(const Overwrite&, const Overwrite&) = default;
};

/// What the precision pass does when bf16 is asked for.
///   low:    operands and results become bf16 (heavy compute with f32 accumulation);
///   follow: takes what arrives, computes in f32 inside, gives the narrowest operand type;
///   f32:    stays f32.
enum class PrecisionPolicy { low, follow, f32 };

/// The op in plainer ops. Every fused op has one: it is its oracle, gradient, fallback and export.
class Decomposition {
 public:
  using Rule = std::vector<Value> (*)(Builder& build, Node& node);
  /// The op is a plain one.
  static Decomposition primitive() { return Decomposition(nullptr); }
  static Decomposition rule(Rule function) { return Decomposition(function); }
  Rule function() const { return rule_; }

 private:
  explicit Decomposition(Rule how) : rule_(how) {}
  Rule rule_;
};

/// Arithmetic work of a node with static shapes. Bytes are the operands' and results' sizes.
class Cost {
 public:
  using Flops = double (*)(const Node& node);
  /// Multiply-adds count two. `compute` marks the steps whose time a floor is computed for.
  static Cost compute(Flops count) { return Cost(count, true); }
  static Cost memory(Flops count) { return Cost(count, false); }
  static Cost free() { return Cost(nullptr, false); }
  double flops(const Node& node) const { return flops_ != nullptr ? flops_(node) : 0; }
  bool is_compute() const { return compute_; }
  bool is_free() const { return flops_ == nullptr; }

 private:
  Cost(Flops count, bool heavy) : flops_(count), compute_(heavy) {}
  Flops flops_;
  bool compute_;
};

/// The op's place in ONNX: an operator with the first opset that has it in this meaning, its
/// decomposition, or not at all, with the reason.
class OnnxMapping {
 public:
  static OnnxMapping op(std::string_view name, int since_opset) {
    return OnnxMapping(name, since_opset, {});
  }
  static OnnxMapping decomposed() { return OnnxMapping({}, 0, {}); }
  static OnnxMapping none(std::string_view reason) { return OnnxMapping({}, 0, reason); }
  std::string_view name() const { return name_; }
  int since_opset() const { return since_; }
  std::string_view reason() const { return reason_; }

 private:
  OnnxMapping(std::string_view name, int since, std::string_view reason)
      : name_(name), since_(since), reason_(reason) {}
  std::string_view name_;
  int since_;
  std::string_view reason_;
};

/// One case of the op matrix: operand types and attributes. Operand values are drawn from [lo, hi).
struct Sample {
  std::vector<Type> operands;
  Attributes attributes;
  double lo = -1;
  double hi = 1;
};

/// Cases that cover the op: ranks, broadcasting, strides, groups, odd extents.
class Samples {
 public:
  using Make = std::vector<Sample> (*)();
  static Samples cases(Make function) { return Samples(function, {}); }
  /// No case of its own, and why (leaf ops).
  static Samples none(std::string_view why) { return Samples(nullptr, why); }
  std::vector<Sample> make() const { return make_ != nullptr ? make_() : std::vector<Sample>{}; }
  std::string_view reason() const { return reason_; }

 private:
  Samples(Make function, std::string_view why) : make_(function), reason_(why) {}
  Make make_;
  std::string_view reason_;
};

/// Everything Facet knows of one operation. The concern types have no default constructor: a
/// definition that leaves one out does not compile.
struct OpDef {
  std::string_view name;
  std::string_view doc;
  Signature signature;
  std::vector<AttributeSpec> attributes;
  std::vector<Type> (*infer)(const InferContext&);  ///< throws Error(usage) without location
  Gradient gradient;
  LayoutRole layout;
  Aliasing aliasing;
  PrecisionPolicy precision;
  Decomposition decomposition;
  Cost cost;
  OnnxMapping onnx;
  Samples samples;
  /// Of an in_place op: results with operands they may overwrite, the best place first. None:
  /// result 0 with every operand.
  std::vector<Overwrite> overwrites = {};
};

/// What the results of an in_place node may overwrite, the best place first; none for other nodes.
std::vector<Overwrite> overwrites_of(const Node& node);

/// Throws Error(usage) that names the attribute if one is not declared by `op`, is of another kind
/// than its default, or is missing.
void check_attributes(const OpDef& op, const Attributes& attributes);

/// The op table: built once from the explicit list in ops/registry.cpp, then read-only.
/// Throws Error(usage) with the nearest names for an unknown op.
const OpDef& find_op(std::string_view name);
const std::vector<const OpDef*>& all_ops();

/// Replaces `node` by its decomposition. Returns false (and changes nothing) for a primitive op or a
/// node that is plain already (an empty epilogue).
bool decompose(Graph& graph, Node* node);

}  // namespace facet
