#pragma once

#include <memory>

#include "backends/backend.h"
#include "runtime/compile.h"

namespace facet {

/// The batch size that `inputs` have. Throws Error(usage) for a missing, unknown or mis-shaped input.
std::int64_t resolve_batch(const Graph& graph, const TensorMap& inputs);

/// Whether the output `guard` is finite; true if `guard` is empty.
bool is_guarded_finite(const std::string& guard, const TensorMap& outputs);

/// An executable over a backend's kernels; `optimization` is what the symbolic passes reported.
std::shared_ptr<const Executable> make_compiled_executable(
    Graph graph, Graph optimized, const TensorMap& weights, CompileOptions options,
    ProgramInfo optimization, std::unique_ptr<Backend> backend, std::int64_t batch);

/// An executable that the float64 oracle evaluates.
std::shared_ptr<const Executable> make_reference_executable(Graph graph, const TensorMap& weights,
                                                            CompileOptions options,
                                                            ProgramInfo optimization);

}  // namespace facet
