#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "ir/host_tensor.h"

/// The fill the golden numbers were computed on (tests/golden/README.md): every value is a formula
/// of its tensor's name and its place, so no weights are stored.
namespace facet::testing {

/// f32 values in [lo, hi); element i is a hash of `name` and i, computed in double and rounded.
HostTensor uniform(std::string_view name, std::vector<std::int64_t> shape, double lo, double hi);

/// Every parameter of the state_dict under its key: f32 in the range of its role, i64 zero for the
/// batch counters, and its own values for a parameter that has fixed ones.
TensorMap fill_parameters(const Graph& graph);

/// The golden input `name`: uniform in [-1, 1).
HostTensor fill_input(std::string_view name, std::vector<std::int64_t> shape);
/// One golden input per `input` node; the symbols of its shape become `batch`.
TensorMap fill_inputs(const Graph& graph, std::int64_t batch);

}  // namespace facet::testing
