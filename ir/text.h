#pragma once

#include <string>
#include <string_view>

#include "ir/graph.h"

namespace facet {

/// The canonical text form: one line a node, values numbered in order, attributes sorted, e.g.
///
///   graph "tiny" {
///     param "conv.weight" : f32[8, 3, 3, 3] weight uniform(-0.19, 0.19)
///     %0 = input() {name = "x", type = "f32[N, 3, 8, 8]"} : f32[N, 3, 8, 8] @ "x"
///     %1 = parameter() {key = "conv.weight", type = "f32[8, 3, 3, 3]"} : f32[8, 3, 3, 3] @ "conv"
///     %2 = conv(%0, %1) {pads = [1, 1, 1, 1]} : f32[N, 8, 8, 8] @ "conv"
///     return "y" = %2
///   }
///
/// Attributes equal to the op's default are left out.
/// A node with several results is "%3:2 = ..." with types in parentheses, read as %3.0 and %3.1.
/// Constants of more than 64 elements print as a hash and do not read back, unless they are index
/// tables (ir/index_table.h).
struct TextOptions {
  bool parameters = true;  ///< the `param` lines
  bool scopes = true;      ///< the trailing @ "scope"
  bool attributes = true;  ///< the {...} behind the operands
};
std::string to_text(const Graph& graph, const TextOptions& options = {});
/// Inverse of `to_text`; the result is verified. Throws Error(usage) with line, column and what was
/// expected there.
Graph parse_graph(std::string_view text);

/// Graphviz source: a node per step, dtype, shape and layout on the edges.
std::string to_dot(const Graph& graph);
/// {"name", "parameters": [{key, type}], "inputs": [{name, type}],
///  "nodes": [{id, op, scope, operands, types, attributes}], "outputs": [{name, value}]}; values are
/// spelt as in the text form ("%3"), attributes as their text.
std::string to_json(const Graph& graph);

}  // namespace facet
