#include <gmock/gmock.h>

#include "runtime/formats/npy.h"
#include "tests/cli/command.h"
#include "tests/support/paths.h"

namespace facet::test {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::filesystem::path data_file(const std::string& name) {
  return testing::test_data() / "data" / name;
}

class PyTorchWeights : public ::testing::Test {
 protected:
  PyTorchWeights() {
    std::vector<float> values;
    for (int i = 0; i < 18; ++i) values.push_back(static_cast<float>(i - 9) / 16);
    write_npy(folder_ / "x.npy", HostTensor::from_floats({1, 2, 3, 3}, values));
  }

  /// What tests/data/net.ir computes with `weights`.
  std::vector<double> run(const std::filesystem::path& weights) const {
    const Outcome outcome = facet_command("run" + quoted(data_file("net.ir")) + "--weights" +
                                          quoted(weights) + "--input" + quoted(folder_ / "x.npy") +
                                          "--output" + quoted(folder_ / "y.safetensors"));
    EXPECT_EQ(outcome.code, 0) << outcome.error;
    return outcome.code == 0 ? read_safetensors(folder_ / "y.safetensors").at("y").to_doubles()
                             : std::vector<double>();
  }
  const TempFolder folder_;
};

/// As PyTorch computes it in float64 with the same state_dict.
const auto kExpected =
    ElementsAre(DoubleNear(4.148397888333568, 4.1e-05), DoubleNear(5.47697130992837, 5.5e-05),
                DoubleNear(6.805544731523171, 6.8e-05), DoubleNear(8.134118153117972, 8.1e-05));

TEST_F(PyTorchWeights, RunAsTheyAre) { EXPECT_THAT(run(data_file("state_dict.pth")), kExpected); }

TEST_F(PyTorchWeights, RunOutOfACheckpointInHalfPrecision) {
  EXPECT_THAT(run(data_file("checkpoint.pth")), kExpected);
}

TEST_F(PyTorchWeights, AreImportedAsSafetensors) {
  const Outcome outcome = facet_command("import" + quoted(data_file("state_dict.pth")) + "-o" +
                                        quoted(folder_ / "w.safetensors"));
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("w.safetensors: 9 tensors"));
  EXPECT_THAT(run(folder_ / "w.safetensors"), kExpected);
}

TEST_F(PyTorchWeights, WithCodeAreRefused) {
  const Outcome outcome = facet_command("import" + quoted(data_file("module.pth")) + "-o" +
                                        quoted(folder_ / "w.safetensors"));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.error, HasSubstr("torch.nn.modules.container.Sequential"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "w.safetensors"));
}

}  // namespace
}  // namespace facet::test
