#include "backends/cuda/cuda_backend.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/cuda/convolution.h"
#include "backends/cuda/cuda_queue.h"
#include "backends/cuda/device_views.h"
#include "backends/cuda/launch_kernel.h"
#include "backends/cuda/lowering.h"
#include "backends/cuda/peaks.h"
#include "ir/error.h"

namespace facet::cuda {

bool CudaBackend::supports(const Node& node) const {
  return find_family(context(), node) != nullptr;
}

bool CudaBackend::accepts_epilogue(const Node& node, std::string_view entry,
                                   const Type* extra) const {
  if (is_matmul(node)) return matmul_takes_entry(node, entry, extra);
  const std::vector<OperationGraph> graphs = graphs_with_entry(node, entry, extra);
  return !graphs.empty() &&
         std::all_of(graphs.begin(), graphs.end(), [&](const OperationGraph& graph) {
           return !planner_->engines(graph, rules_).empty();
         });
}

LayoutChoice CudaBackend::choose_layouts(const Node& node) const {
  const LoweringFamily* const family = find_family(context(), node);
  if (family != nullptr && family->layouts != nullptr) return family->layouts(node);
  return {std::vector<Layout>(static_cast<std::size_t>(node.operand_count())),
          std::vector<Layout>(static_cast<std::size_t>(node.result_count()))};
}

Layout CudaBackend::state_layout(const Type& type) const { return device_view(type).type.layout; }

bool CudaBackend::writes_slices(const Node& node, int) const {
  const LoweringFamily* const family = find_family(context(), node);
  return family != nullptr && family->is_strided;
}

bool CudaBackend::reads_slices(const Node& node, int index) const {
  // A reshape has strides for gaps on one side alone.
  return writes_slices(node, index) && !node.is("reshape");
}

std::unique_ptr<Kernel> CudaBackend::lower(const Node& node, std::span<const View> operands,
                                           std::span<const View> results) const {
  const LoweringFamily* const family = find_family(context(), node);
  if (family == nullptr) {
    throw failure(
        fmt::format("the GPU has no kernel for {} '{}'", node.kind(), node.provenance().scope));
  }
  try {
    return std::make_unique<LaunchKernel>(
        family->name, family->lower(context(), node, operands, results), *driver_, rules_);
  } catch (Error& error) {
    error.add_context(fmt::format("lowering {} '{}'", node.kind(), node.provenance().scope));
    throw;
  }
}

bool CudaBackend::runs_together(const Node& a, const Node& b) const {
  const LoweringFamily* const family = find_family(context(), a);
  return family != nullptr && family->together != nullptr && family->together(a, b) &&
         find_family(context(), b) == family;
}

std::unique_ptr<Kernel> CudaBackend::lower_together(std::span<const Node* const> nodes) const {
  const LoweringFamily& family = *find_family(context(), *nodes.front());
  return std::make_unique<LaunchKernel>(family.name, family.lower_together(nodes), *driver_,
                                        rules_);
}

std::optional<Ceilings> CudaBackend::measure_ceilings() const {
  EngineRules strict = rules_;
  strict.tf32 = false;
  EngineRules loose = rules_;
  loose.tf32 = true;
  try {
    return measure_peaks(CudaBackend(driver_, memory_, planner_, strict),
                         CudaBackend(driver_, memory_, planner_, loose));
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::shared_ptr<DeviceQueue> CudaBackend::make_queue() const {
  return std::make_shared<CudaQueue>(driver_, memory_);
}

}  // namespace facet::cuda
