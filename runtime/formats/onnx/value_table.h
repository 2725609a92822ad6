#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/host_tensor.h"

/// The values of a model under import, by their ONNX names. Private to runtime/formats/onnx.
namespace facet::onnx_import {

/// A small tensor of whole numbers known at import: extents, some of which are multiples of
/// symbols. An element that cannot be expressed so is empty. The dtype may be a float one on the
/// way through Cast, Mul and Floor.
struct DimTensor {
  DType dtype = DType::i64;
  Ints shape;
  std::vector<std::optional<Dim>> elements;  ///< row-major

  bool is_static() const;
  /// Throws unless is_static().
  HostTensor tensor() const;
};
/// Nothing for more than 4096 elements and for numbers that are not whole.
std::optional<DimTensor> dim_tensor(const HostTensor& tensor);

/// What is known of one ONNX value.
struct Entry {
  enum class Kind {
    computed,     ///< `value` is set, or `dims`
    initializer,  ///< `tensor` is set
    constant,     ///< the same, but it never becomes a parameter
    filled,       ///< ConstantOfShape: `fill` in every element of `type`
    unavailable   ///< its node could not be imported
  };
  Kind kind = Kind::computed;
  std::string name;  ///< the first ONNX name it had: key of the parameter it becomes
  Type type;
  Value value;  ///< once it is read
  HostTensor tensor;
  HostTensor fill;  ///< one element
  std::optional<DimTensor> dims;
  std::string problem;     ///< why it is unavailable; empty: its own node says so
  std::int64_t order = 0;  ///< of initializers in the file
};

class ValueTable {
 public:
  /// `bindings`: values of graph inputs that may be used where one must be known.
  ValueTable(Graph& graph, TensorMap& weights, const TensorMap& bindings)
      : graph_(graph), weights_(weights), bindings_(bindings) {}

  /// Null for an unknown name.
  Entry* find(const std::string& name) const;
  /// Throws Error(failure) if the name is taken.
  void define(const std::string& name, Entry entry);
  /// `name` is another name of `entry`.
  void alias(const std::string& name, const std::string& of);

  /// The entry as a value of the graph; a parameter, constant or filled tensor is made the first
  /// time. Throws Error(failure) for a tensor with open symbols and for filled ones beyond the
  /// budget.
  Value read(Entry& entry, ParameterRole role);
  /// The elements, computed from constants if need be, within a budget of work.
  std::optional<HostTensor> known(Entry& entry);
  std::optional<DimTensor> known_dims(Entry& entry);

  Graph& graph() { return graph_; }
  /// Inputs whose bound values were used.
  const std::set<std::string>& bound_inputs() const { return bound_; }
  /// The parameters made so far into the order of the file.
  void sort_parameters();

 private:
  Value read_tensor(Entry& entry, ParameterRole role);
  std::optional<HostTensor> fold(Value value);

  Graph& graph_;
  TensorMap& weights_;
  const TensorMap& bindings_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;
  std::map<std::string, std::int64_t> parameter_order_;
  std::map<Value, std::optional<HostTensor>> folded_;
  std::set<std::string> bound_;
  std::int64_t filled_bytes_ = 0;
};

}  // namespace facet::onnx_import
