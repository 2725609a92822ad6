#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "backends/backend.h"
#include "backends/cuda/cudnn_planner.h"
#include "backends/cuda/driver_api.h"
#include "backends/cuda/kernels/kernel_source.h"
#include "backends/cuda/kernels/update.h"
#include "backends/cuda/matmul.h"
#include "backends/cuda/operation_graph.h"

/// What nodes become on the GPU, one row for each family of nodes.
namespace facet::cuda {

/// What a lowering may ask.
struct LoweringContext {
  CudnnPlanner& planner;
  DriverApi& driver;
  EngineRules rules;
};

/// One thing to launch: a generated kernel, a cuDNN graph, a product, or a kernel over a table of
/// tensors.
using Launch = std::variant<KernelSource, OperationGraph, Matmul, UpdateKernel>;

/// A node as launches in order. They share temporary memory: part `i` begins `scratch[i]` bytes
/// behind its start.
struct Lowered {
  std::vector<Launch> launches;
  std::int64_t scratch_bytes = 0;
  std::vector<std::int64_t> scratch = {0};
};

/// Nodes that the same code lowers. All functions may be called for nodes with symbolic shapes but
/// `lower`.
struct LoweringFamily {
  std::string_view name;
  bool (*supports)(const LoweringContext& context, const Node& node);
  /// The layouts of a node that chooses them; null: row-major.
  LayoutChoice (*layouts)(const Node& node);
  /// Views in node order, with static shapes. Throws Error(failure) with the reason.
  Lowered (*lower)(const LoweringContext& context, const Node& node, std::span<const View> operands,
                   std::span<const View> results);
  /// Operands and results may be slices of wider values, with gaps.
  bool is_strided = false;
  /// Whether `lower_together` takes both nodes; null: never.
  bool (*together)(const Node& a, const Node& b) = nullptr;
  /// Nodes of which `together` holds, whose operands are numbered one node behind the other.
  Lowered (*lower_together)(std::span<const Node* const> nodes) = nullptr;
};

/// All families; a node belongs to the first that supports it.
const std::vector<LoweringFamily>& lowering_families();
/// Null if none supports the node.
const LoweringFamily* find_family(const LoweringContext& context, const Node& node);

}  // namespace facet::cuda
