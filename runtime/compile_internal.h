#pragma once

#include <memory>

#include "backends/backend.h"
#include "runtime/compile.h"

namespace facet {

/// The batch size that `inputs` have. Throws Error(usage) for a missing, unknown or mis-shaped input.
std::int64_t resolve_batch(const Graph& graph, const TensorMap& inputs);

/// Whether the output `guard` is finite; true if `guard` is empty.
bool is_guarded_finite(const std::string& guard, const TensorMap& outputs);

/// What an executable owns: the backend that runs its steps, and, if that is not the CPU's, the CPU's for
/// what is computed once.
struct ExecutableBackends {
  std::unique_ptr<Backend> device;
  std::unique_ptr<Backend> host;
};

/// `compile` for given backends; both are null for the reference device.
std::shared_ptr<const Executable> compile_for(ExecutableBackends backends, const Graph& graph,
                                              const TensorMap& weights,
                                              const CompileOptions& options, std::int64_t batch);

/// An executable over a backend's kernels; `optimization` is what the symbolic passes reported.
std::shared_ptr<const Executable> make_compiled_executable(
    Graph graph, Graph optimized, const TensorMap& weights, CompileOptions options,
    ProgramInfo optimization, ExecutableBackends backends, std::int64_t batch);

/// An executable that the float64 oracle evaluates.
std::shared_ptr<const Executable> make_reference_executable(Graph graph, const TensorMap& weights,
                                                            CompileOptions options,
                                                            ProgramInfo optimization);

}  // namespace facet
