#include "tests/cli/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/cuda/driver.h"
#include "ir/error.h"
#include "runtime/device_modules.h"

// `facet ... --device cuda` on machines that lack something: exit code 1 and one message, before
// any work and any file.
namespace facet {
namespace {

using test::facet_command;
using test::Outcome;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// The commands that compute on a device, with what they need to get that far.
std::vector<std::string> commands() {
  return {"run lscnn --device cuda",
          "bench lscnn --device cuda",
          "explain lscnn --device cuda",
          "grad lscnn --device cuda --input none --cotangent none --output none/g.safetensors",
          "train fashion_dcr --device cuda --output none/runs",
          "eval lscnn --weights random:1 --data none --device cuda"};
}

void expect_failure(const std::string& command, const std::string& before,
                    const std::vector<std::string>& words) {
  const Outcome outcome = facet_command(command, before);
  EXPECT_EQ(outcome.code, 1) << command << "\n" << outcome.error;
  EXPECT_THAT(outcome.error, StartsWith("facet: ")) << command;
  for (const std::string& word : words) EXPECT_THAT(outcome.error, HasSubstr(word)) << command;
  EXPECT_EQ(outcome.out, "") << command;
}

/// A folder of FAKE_DRIVERS, in which the loader looks first.
std::string with_driver(const std::string& kind) {
  return "LD_LIBRARY_PATH='" FAKE_DRIVERS "/" + kind + "' CUDA_VISIBLE_DEVICES=3";
}

TEST(DeviceCuda, NeedsItsModule) {
  const test::TempFolder empty;
  for (const std::string& command : commands()) {
    expect_failure(command, "FACET_MODULES='" + (empty / "none").string() + "'",
                   {"the device 'cuda' needs Facet's module", "libfacet_cuda.so", "FACET_CUDA=ON",
                    "FACET_MODULES"});
  }
}

TEST(DeviceCuda, RefusesAFileThatIsNoModule) {
  const test::TempFolder folder;
  test::write_bytes(folder / "libfacet_cuda.so", "not a library");
  expect_failure("run lscnn --device cuda", "FACET_MODULES='" + (folder / "").string() + "'",
                 {"the module of the device 'cuda' cannot be loaded"});
}

TEST(DeviceCuda, NeedsADriver) {
  if (cuda::probe_driver().load_error.empty()) GTEST_SKIP() << "this machine has NVIDIA's driver";
  for (const std::string& command : commands()) {
    expect_failure(
        command, "",
        {"the device 'cuda' cannot be used", "there is no NVIDIA driver", "install the driver"});
  }
}

TEST(DeviceCuda, NeedsADeviceBehindTheDriver) {
  for (const std::string& command : commands()) {
    expect_failure(command, with_driver("no_device"),
                   {"finds no GPU", "CUDA_VISIBLE_DEVICES='3' may hide it"});
  }
}

TEST(DeviceCuda, NeedsADriverOfCuda13) {
  expect_failure("run lscnn --device cuda", with_driver("old"),
                 {"runs CUDA 12.4", "update the driver"});
}

// The error is thrown in the module, which has a copy of the exception's type of its own.
TEST(DeviceCuda, ADriverThatFailsInsideTheModuleIsAMessage) {
  expect_failure("explain lscnn --device cuda", with_driver("broken"),
                 {"libcuda.so.1 has no function cuGetErrorString"});
}

TEST(DeviceCuda, AnErrorOfTheModuleIsCaughtAsWhatItIs) {
  if (cuda::probe_driver().load_error.empty()) GTEST_SKIP() << "this machine has NVIDIA's driver";
  try {
    device_module("cuda").make_backend({});
    ADD_FAILURE() << "there is a device";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::failure);
    EXPECT_THAT(error.what(), HasSubstr("libcuda.so.1, NVIDIA's driver, cannot be loaded"));
  }
}

TEST(DeviceCuda, PrecisionsAndLimitsOfGpusAreForGpus) {
  for (const std::string option : {"--precision tf32", "--precision f16", "--device-memory 1GB",
                                   "--tune"}) {
    const Outcome outcome = facet_command("explain lscnn " + option);
    EXPECT_EQ(outcome.code, 2) << option;
    EXPECT_THAT(outcome.error, HasSubstr("take --device cuda")) << option;
  }
}

TEST(DeviceCuda, AnUnknownDeviceListsTheKnown) {
  const Outcome outcome = facet_command("run lscnn --device gpu");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.error, HasSubstr("unknown device 'gpu'; there are cpu, cuda and reference"));
}

}  // namespace
}  // namespace facet
