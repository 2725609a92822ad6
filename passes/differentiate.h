#pragma once

#include <span>
#include <vector>

#include "ir/graph.h"

namespace facet {

/// Where differentiation starts: a value and its cotangent, of the same shape.
struct Seed {
  Value value;
  Value cotangent;
};

/// Reverse-mode differentiation on the graph: appends nodes that compute, for every value of `wrt`,
/// the sum over the seeds of cotangent times derivative. A null Value: no path leads there. Nodes
/// whose gradient is that of their decomposition are decomposed first. Gradients that nobody reads
/// are left to eliminate-dead-code.
/// Throws Error(usage) if a shape is symbolic, if a seed's cotangent does not fit, and, naming the
/// node and its reason, if a path meets an op without gradient.
std::vector<Value> differentiate(Graph& graph, std::span<const Seed> seeds,
                                 std::span<const Value> wrt);

}  // namespace facet
