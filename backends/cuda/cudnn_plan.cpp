#include "backends/cuda/cudnn_plan.h"

#include <fmt/format.h>

#include <list>
#include <vector>

#include "backends/cuda/cudnn_graph.h"
#include "ir/error.h"

namespace facet::cuda {

void CudnnPlan::run(cudnnHandle_t handle, const OperationGraph& graph,
                    std::span<std::byte* const> addresses, std::byte* workspace) const {
  std::vector<std::int64_t> ids;
  std::vector<void*> pointers;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (addresses[i] == nullptr) continue;
    ids.push_back(tensor_id(i));
    pointers.push_back(addresses[i]);
  }
  std::list<float> settings;  // read from the host during the call
  for (std::size_t step = 0; step < graph.steps.size(); ++step) {
    const std::vector<double>& values = graph.steps[step].settings;
    for (std::size_t i = 0; i < values.size(); ++i) {
      settings.push_back(static_cast<float>(values[i]));
      ids.push_back(setting_id(step, i));
      pointers.push_back(&settings.back());
    }
  }
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, "addresses of a run");
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids);
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
           std::span<void* const>(pointers));
  void* const at = workspace_bytes_ > 0 ? workspace : nullptr;
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, std::span(&at, 1));
  pack.finalize();
  const cudnnStatus_t status = cudnnBackendExecute(handle, plan_.raw(), pack.raw());
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw failure(fmt::format("cuDNN does not run a plan: {}; the graph is\n{}", describe(status),
                            to_text(graph)));
}

}  // namespace facet::cuda
