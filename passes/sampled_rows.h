#pragma once

#include <string>

#include "ir/graph.h"

namespace facet {

/// A table [C, D] of which a training step reads some rows only: the parameter `key` is read by one
/// `gather_rows` or `owed_rows`, whose result [K, D] is what the loss is differentiated by.
/// Throws Error(usage) unless there is exactly one such reader and no other.
Node* sampled_rows(Graph& graph, const std::string& key);

/// Makes the table one dense parameter of SGD, though a step touches the sampled rows only.
///
///   before   %3 = gather_rows(%table, %rows)
///   after    %4 = parameter() {key = "optimizer.<key>.velocity"}    %5 = input() {name = "owed"} :
///   f32[4 K]
///            %6 = owed_rows(%table, %4, %rows, %5)
///
/// The velocity [C, D] is new state that starts at zero and is not trainable; `append_optimizer`
/// finds it. Whoever runs the graph computes `owed` from what the rows missed
/// (training/missed_steps.h). Throws as `sampled_rows`, and Error(usage) if the graph has that
/// velocity already.
void owe_missed_steps(Graph& graph, const std::string& key);

}  // namespace facet
