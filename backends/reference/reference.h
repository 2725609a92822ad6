#pragma once

#include <map>
#include <string>

#include "ir/graph.h"
#include "ir/host_tensor.h"

namespace facet {

/// Runs `graph` in float64 and returns its outputs by name, as row-major f64 tensors of their
/// logical shape. This is the oracle everything else is compared with, so it is written to be
/// obviously right: each op straight from its definition, fused ops (epilogues, elementwise
/// programs) directly and not through their decompositions.
///
/// Values are doubles whatever dtype the graph declares, so nothing is rounded to f32 or bf16, and
/// integers are exact up to 2^53. Layouts have no meaning here. Symbols of the input types take
/// their extents from `inputs`; entries of `inputs` and `parameters` that the graph does not read
/// are ignored. An intermediate value is freed after its last reader.
///
/// Throws Error(usage) that lists every missing or mis-shaped input and parameter, and
/// Error(failure) for an op without an evaluator. Safe to call from several threads.
std::map<std::string, HostTensor> evaluate(const Graph& graph, const TensorMap& inputs,
                                           const TensorMap& parameters);

struct EvaluatedStep {
  TensorMap outputs;
  TensorMap updates;  ///< the new state, by key
};

/// The same with the graph's updates: `parameters` hold the old state.
EvaluatedStep evaluate_step(const Graph& graph, const TensorMap& inputs, const TensorMap& parameters);

}  // namespace facet
