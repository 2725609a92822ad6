#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "backends/cuda/convolution.h"
#include "backends/cuda/cudnn_planner.h"
#include "backends/cuda/matmul.h"
#include "tests/formats/temp_folder.h"
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

}  // namespace facet::test
