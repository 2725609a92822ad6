#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/formats/npy.h"
#include "tests/cli/command.h"
#include "tests/onnx/model_writer.h"

// ONNX models where a network is named, and `facet import`.
namespace facet {
namespace {

using namespace facet::testing;
using test::facet_command;
using test::Outcome;
using test::quoted;
using ::testing::HasSubstr;

/// y = x w over [batch, time, 2], with an input beside it, and a folder for it.
class OnnxFolder : public test::TempFolder {
 public:
  OnnxFolder() {
    Model model;
    model.inputs = {value_info("x", {"batch", "time", 2})};
    model.outputs = {value_info("y", {"batch", "time", 2})};
    model.initializers = {tensor<float>("w", {2, 2}, {1, 2, 3, 4})};
    model.nodes = {node("MatMul", "layer", {"x", "w"}, {"y"})};
    test::write_bytes(*this / "m.onnx", model.bytes());
    write_npy(*this / "x.npy", HostTensor::from_floats({1, 2, 2}, {1, 0, 0, 1}));
  }
};

std::vector<double> output_of(const std::filesystem::path& path) {
  return read_safetensors(path).at("y").to_doubles();
}

TEST(Onnx, RunsWithItsOwnWeightsAndTheShapesOfItsInputs) {
  const OnnxFolder folder;
  const Outcome outcome =
      facet_command("run" + quoted(folder / "m.onnx") + "--input" + quoted(folder / "x.npy") +
                    "--output" + quoted(folder / "y.safetensors"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(output_of(folder / "y.safetensors"), (std::vector<double>{1, 2, 3, 4}));
}

TEST(Onnx, ImportWritesTextAndWeightsThatRunAlike) {
  const OnnxFolder folder;
  Outcome outcome = facet_command("import" + quoted(folder / "m.onnx") + "--dim time=2 -o" +
                                  quoted(folder / "m.ir"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("input x f32[batch, 2, 2]"));
  outcome = facet_command("run" + quoted(folder / "m.ir") + "--weights" +
                          quoted(folder / "m.safetensors") + "--input" + quoted(folder / "x.npy") +
                          "--output" + quoted(folder / "y.safetensors"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(output_of(folder / "y.safetensors"), (std::vector<double>{1, 2, 3, 4}));
}

TEST(Onnx, IsShownAndExplained) {
  const OnnxFolder folder;
  EXPECT_THAT(facet_command("show" + quoted(folder / "m.onnx") + "--dim time=2").out,
              HasSubstr("linear"));
  EXPECT_THAT(facet_command("explain" + quoted(folder / "m.onnx") + "--dim time=2").out,
              HasSubstr("1 linear"));
}

TEST(Onnx, SaysWhatIsWrongWithACall) {
  const OnnxFolder folder;
  Outcome outcome = facet_command("show" + quoted(folder / "m.onnx") + "--dim tine=2");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.error, HasSubstr("did you mean 'time'"));
  outcome = facet_command("show" + quoted(folder / "m.onnx") + "--dim time=x");
  EXPECT_EQ(outcome.code, 2);
  outcome = facet_command("show" + quoted(folder / "x.onnx"));
  EXPECT_EQ(outcome.code, 1);
  outcome = facet_command("import" + quoted(folder / "m.onnx") + "-o" + quoted(folder / "m.txt"));
  EXPECT_EQ(outcome.code, 2);
}

}  // namespace
}  // namespace facet
