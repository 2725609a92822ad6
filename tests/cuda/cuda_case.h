#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "backends/cuda/convolution.h"
#include "backends/cuda/cudnn_planner.h"
#include "backends/cuda/matmul.h"
#include "tests/formats/temp_folder.h"
#include "tests/passes/fake_target.h"
#include "tests/support/paths.h"

/// What tests of the GPU backend share: an H200, described.
namespace facet::test {

inline std::string h200_description() {
  return read_bytes(testing::test_data() / "golden/h200_deviceprop.json");
}

/// Plans for an H200, made once: cuDNN takes most of a second to load.
inline cuda::CudnnPlanner& h200_planner() {
  static const bool has_library = cuda::provide_driver_for_planning();
  EXPECT_TRUE(has_library) << "neither a driver nor CUDA's stub of it is there";
  static cuda::CudnnPlanner planner(h200_description());
  return planner;
}

/// A target that fuses what cuDNN computes on an H200 in one graph, or cuBLASLt in one product.
class H200Target : public testing::FakeTarget {
 public:
  explicit H200Target(cuda::EngineRules rules) {
    supported = [](const Node& node) { return !node.is("conv_branches"); };
    takes_entry = [rules](const Node& node, std::string_view entry, const Type* extra) {
      if (node.is("linear")) return cuda::matmul_takes_entry(node, entry, extra);
      const auto graphs = cuda::graphs_with_entry(node, entry, extra);
      for (const cuda::OperationGraph& graph : graphs) {
        if (h200_planner().engines(graph, rules).empty()) return false;
      }
      return !graphs.empty();
    };
    layouts = [](const Node& node) {
      if (cuda::is_convolution(node)) return cuda::convolution_layouts(node);
      return LayoutChoice{std::vector<Layout>(static_cast<std::size_t>(node.operand_count())),
                          std::vector<Layout>(static_cast<std::size_t>(node.result_count()))};
    };
  }
};

}  // namespace facet::test
