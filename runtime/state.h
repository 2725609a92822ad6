#pragma once

#include <cstddef>
#include <string>

#include "ir/graph.h"
#include "ir/host_tensor.h"

namespace facet {

/// What runs of a graph change: parameters under training, running statistics, an optimizer's moments.
/// Row-major tensors by key, in memory of its own; the programs of one training run share it. A run
/// writes it, so not synchronised.
class State {
 public:
  /// Copies the tensors that `graph` updates. `dtype` f64 keeps them in float64 (the reference
  /// device); otherwise each has its declared type. Throws Error(usage) that lists those that are
  /// missing from `tensors` or mis-shaped.
  State(const Graph& graph, const TensorMap& tensors, bool float64 = false);
  /// The same without a copy of what has its type already: the bytes of `tensors` become the state's, so
  /// they must be writable (no mapped file) and read by nobody else.
  State(const Graph& graph, TensorMap&& tensors);

  /// A deep copy of all tensors.
  TensorMap snapshot() const;
  /// The tensors themselves: they change with the next run.
  const TensorMap& tensors() const { return tensors_; }
  /// Overwrites tensors with those of the same keys. Throws Error(usage) for an unknown key or another
  /// shape; then nothing is changed.
  void assign(const TensorMap& tensors);
  /// Address of a tensor. Throws Error(failure) for an unknown key.
  std::byte* bytes(const std::string& key);

 private:
  /// Fills `tensors_`; throws as the constructors.
  void adopt(const Graph& graph, const TensorMap& tensors, bool float64);

  TensorMap tensors_;
};

}  // namespace facet
