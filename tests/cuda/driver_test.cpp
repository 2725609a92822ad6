#include "backends/cuda/driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

// What the module says where a GPU cannot be used: one message for each reason, each with what to
// do.
namespace facet {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

cuda::DriverProbe working() {
  cuda::DriverProbe probe;
  probe.driver_version = 13000;
  probe.device_count = 1;
  probe.capability = 90;
  probe.device_name = "NVIDIA H200";
  return probe;
}

TEST(Driver, NothingIsMissingOnAWorkingMachine) {
  EXPECT_EQ(cuda::describe_missing(working(), nullptr), "");
  EXPECT_EQ(cuda::describe_missing(working(), "0"), "");
}

TEST(Driver, ItsAbsenceIsSaid) {
  cuda::DriverProbe probe;
  probe.load_error = "libcuda.so.1: cannot open";
  EXPECT_THAT(cuda::describe_missing(probe, nullptr),
              AllOf(HasSubstr("no NVIDIA driver"), HasSubstr("libcuda.so.1: cannot open"),
                    HasSubstr("install the driver, 580"), HasSubstr("--device cpu")));
}

TEST(Driver, AnOldOneIsToBeUpdated) {
  cuda::DriverProbe probe = working();
  probe.driver_version = 12040;
  EXPECT_THAT(
      cuda::describe_missing(probe, nullptr),
      AllOf(HasSubstr("runs CUDA 12.4"), HasSubstr("CUDA 13.0 is needed"), HasSubstr("update")));
}

TEST(Driver, NoDeviceIsSaidWithWhatMayHideIt) {
  cuda::DriverProbe probe = working();
  probe.initialize_code = 100;
  probe.device_count = 0;
  const std::string plain = cuda::describe_missing(probe, nullptr);
  EXPECT_THAT(plain, AllOf(HasSubstr("finds no GPU"), HasSubstr("nvidia-smi")));
  EXPECT_THAT(plain, ::testing::Not(HasSubstr("CUDA_VISIBLE_DEVICES")));
  probe.initialize_code = 0;  // no error, and no device either
  EXPECT_THAT(cuda::describe_missing(probe, ""), HasSubstr("CUDA_VISIBLE_DEVICES='' may hide it"));
}

TEST(Driver, OneThatDoesNotStartGivesItsCode) {
  cuda::DriverProbe probe = working();
  probe.initialize_code = 802;
  EXPECT_THAT(cuda::describe_missing(probe, nullptr), HasSubstr("cuInit: error 802"));
}

TEST(Driver, AnOldDeviceIsNamed) {
  cuda::DriverProbe probe = working();
  probe.capability = 75;
  probe.device_name = "Tesla T4";
  EXPECT_THAT(cuda::describe_missing(probe, nullptr),
              AllOf(HasSubstr("Tesla T4 has compute capability 7.5"), HasSubstr("8.0 or newer")));
}

}  // namespace
}  // namespace facet
