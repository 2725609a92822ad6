#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/formats/npy.h"
#include "tests/cli/command.h"
#include "tests/support/fill.h"
#include "tests/support/op_samples.h"

// `facet export`, and its files where a network is named.
namespace facet {
namespace {

using test::facet_command;
using test::Outcome;
using test::quoted;
using test::TinyFolder;
using ::testing::HasSubstr;

TEST(Export, AModelRunsAsTheNetworkItWasMadeOf) {
  const TinyFolder folder;
  write_npy(folder / "x.npy", testing::fill_input("image", {3, 3, 16, 16}));
  const std::string input = " --input" + quoted(folder / "x.npy") + " --output";
  ASSERT_EQ(
      facet_command("run" + folder.model() + input + quoted(folder / "declared.safetensors")).code,
      0);
  const SafetensorsFile declared = read_safetensors(folder / "declared.safetensors");
  for (const std::string options : {"", " --opset 13", " --opset 22 --external-data"}) {
    SCOPED_TRACE(options);
    const Outcome outcome =
        facet_command("export" + folder.model() + "--output" + quoted(folder / "m.onnx") + options);
    ASSERT_EQ(outcome.code, 0) << outcome.error;
    EXPECT_THAT(outcome.out, HasSubstr("m.onnx: opset "));
    const Outcome run =
        facet_command("run" + quoted(folder / "m.onnx") + input + quoted(folder / "y.safetensors"));
    ASSERT_EQ(run.code, 0) << run.error;
    const SafetensorsFile found = read_safetensors(folder / "y.safetensors");
    for (const auto& [name, values] : declared.tensors()) {
      EXPECT_LE(testing::max_difference(values, found.at(name)), 1e-6) << name;
    }
  }
}

TEST(Export, AnImportedModelIsExportedAgainWithItsWeights) {
  const TinyFolder folder;
  ASSERT_EQ(facet_command("export" + folder.model() + "--output" + quoted(folder / "a.onnx")).code,
            0);
  const Outcome again =
      facet_command("export" + quoted(folder / "a.onnx") +
                    "--opset 20 --output-name embedding --output" + quoted(folder / "b.onnx"));
  ASSERT_EQ(again.code, 0) << again.error;
  const Outcome shown = facet_command("show" + quoted(folder / "b.onnx"));
  EXPECT_THAT(shown.out, HasSubstr("embed.weight"));
  EXPECT_EQ(shown.out.find("classify.weight"), std::string::npos);
}

TEST(Export, WrongCallsSayWhatToDo) {
  const TinyFolder folder;
  const std::string output = " --output" + quoted(folder / "m.onnx");
  const Outcome opset = facet_command("export" + folder.model() + output + "--opset 12");
  EXPECT_EQ(opset.code, 2);
  EXPECT_THAT(opset.error, HasSubstr("opset 13 to 22, not 12"));
  const Outcome weights = facet_command("export" + quoted(folder / "tiny.ir") + output);
  EXPECT_EQ(weights.code, 2);
  EXPECT_THAT(weights.error, HasSubstr("--weights"));
  const Outcome name = facet_command("export" + folder.model() + output + "--output-name logit");
  EXPECT_EQ(name.code, 2);
  EXPECT_THAT(name.error, HasSubstr("logits"));
  const Outcome nowhere =
      facet_command("export" + folder.model() + "--output" + quoted(folder / "no/m.onnx"));
  EXPECT_EQ(nowhere.code, 1);
  EXPECT_FALSE(std::filesystem::exists(folder / "m.onnx"));
}

}  // namespace
}  // namespace facet
