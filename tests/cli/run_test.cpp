#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "backends/reference/reference.h"
#include "runtime/formats/image.h"
#include "runtime/formats/npy.h"
#include "runtime/formats/preprocess.h"
#include "tests/cli/command.h"
#include "tests/support/fill.h"

// `facet run`: values, formats of input and output, and what it says of bad files.
namespace facet {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using test::facet_command;
using test::Outcome;
using test::quoted;
using test::TinyFolder;

/// The largest difference, relative to the norm of what is expected.
double error_of(const HostTensor& actual, const HostTensor& expected) {
  if (actual.shape() != expected.shape()) return INFINITY;
  double difference = 0;
  double norm = 0;
  for (std::int64_t i = 0; i < expected.element_count(); ++i) {
    difference += std::pow(actual.at(i) - expected.at(i), 2);
    norm += std::pow(expected.at(i), 2);
  }
  return std::sqrt(difference / norm);
}

HostTensor tiny_input(std::int64_t batch) { return testing::fill_input("image", {batch, 3, 16, 16}); }

TensorMap expected_outputs(const TinyFolder& folder, const HostTensor& input) {
  return evaluate(folder.graph(), {{"image", input}}, random_weights(folder.graph(), 7));
}

TEST(Run, NpyInputGivesTheReferenceNumbersOnBothDevices) {
  const TinyFolder folder;
  const HostTensor input = tiny_input(3);
  write_npy(folder / "x.npy", input);
  const TensorMap expected = expected_outputs(folder, input);
  for (const std::string options :
       {"", " --no-optimize", " --no-fusion", " --threads 1", " --device reference"}) {
    const Outcome outcome = facet_command("run" + folder.model() + "--input" + quoted(folder / "x.npy") +
                                          "--output" + quoted(folder / "y.safetensors") + options);
    ASSERT_EQ(outcome.code, 0) << outcome.error;
    const SafetensorsFile outputs = read_safetensors(folder / "y.safetensors");
    ASSERT_EQ(outputs.tensors().size(), 2U);
    const double limit = options == " --device reference" ? 1e-12 : 1e-5;
    EXPECT_LT(error_of(outputs.at("embedding"), expected.at("embedding")), limit) << options;
    EXPECT_LT(error_of(outputs.at("logits"), expected.at("logits")), limit) << options;
  }
}

TEST(Run, SafetensorsInputIsReadByTensorNames) {
  const TinyFolder folder;
  const HostTensor input = tiny_input(2);
  const TensorMap expected = expected_outputs(folder, input);
  write_safetensors(folder / "named.safetensors", {{"other", tiny_input(5)}, {"image", input}});
  write_safetensors(folder / "single.safetensors", {{"x", input}});
  for (const std::string& argument :
       {quoted(folder / "named.safetensors"), " image='" + (folder / "single.safetensors").string() + "' "}) {
    const Outcome outcome = facet_command("run" + folder.model() + "--input" + argument + "--output" +
                                          quoted(folder / "y.safetensors"));
    ASSERT_EQ(outcome.code, 0) << outcome.error;
    const SafetensorsFile outputs = read_safetensors(folder / "y.safetensors");
    EXPECT_LT(error_of(outputs.at("logits"), expected.at("logits")), 1e-5) << argument;
  }
  const Outcome unnamed = facet_command("run" + folder.model() + "--input" + quoted(folder / "single.safetensors"));
  EXPECT_EQ(unnamed.code, 2);
  EXPECT_THAT(unnamed.error, HasSubstr("none of the inputs of 'tiny' (image)"));
}

TEST(Run, PhotosArePreprocessedAndMakeABatch) {
  const TinyFolder folder;
  HostTensor input(DType::f32, {2, 3, 16, 16});
  for (int photo = 0; photo < 2; ++photo) {
    Image image = make_image(40, 30);
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      image.pixels[i] = static_cast<std::uint8_t>((i * 7 + static_cast<std::size_t>(photo) * 91) % 251);
    }
    write_png(folder / ("photo" + std::to_string(photo) + ".png"), image);
    preprocess_into(image, {.width = 16, .height = 16},
                    {input.as_mutable<float>() + photo * 768, std::size_t{768}});
  }
  const Outcome outcome =
      facet_command("run" + folder.model() + "--input" + quoted(folder / "photo0.png") + "--input image=" +
                    (folder / "photo1.png").string() + " --output" + quoted(folder / "y.safetensors"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const SafetensorsFile outputs = read_safetensors(folder / "y.safetensors");
  EXPECT_LT(error_of(outputs.at("embedding"), expected_outputs(folder, input).at("embedding")), 1e-5);
}

TEST(Run, WithoutOutputShapesAndNormsArePrinted) {
  const TinyFolder folder;
  write_npy(folder / "x.npy", tiny_input(4));
  const Outcome outcome = facet_command("run" + folder.model() + "--input" + quoted(folder / "x.npy"));
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("embedding f32[4, 6] l2 "));
  EXPECT_THAT(outcome.out, HasSubstr("logits f32[4, 3] l2 "));
}

TEST(Run, TapsAreWrittenUnderTheirScopes) {
  const TinyFolder folder;
  write_npy(folder / "x.npy", testing::fill_input("input", {1, 3, 128, 128}));
  const Outcome outcome = facet_command(
      "run lscnn --set growth_rate=4 --set layers=1,1,1 --set num_classes=5 --weights random:3 --tap lcnn_D1 "
      "--input" + quoted(folder / "x.npy") + "--output" + quoted(folder / "y.safetensors"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const SafetensorsFile outputs = read_safetensors(folder / "y.safetensors");
  EXPECT_EQ(outputs.tensors().size(), 3U);
  EXPECT_EQ(outputs.at("lcnn_D1").rank(), 4);
}

TEST(Run, ProfileAddsUp) {
  const TinyFolder folder;
  write_npy(folder / "x.npy", tiny_input(1));
  const Outcome outcome =
      facet_command("run" + folder.model() + "--profile --input" + quoted(folder / "x.npy"));
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("conv"));
  EXPECT_THAT(outcome.out, HasSubstr(" 100.0 "));
  EXPECT_THAT(outcome.out, HasSubstr("whole run"));
}

TEST(Run, WrongShapesAndMissingInputsSayWhatIsExpected) {
  const TinyFolder folder;
  write_npy(folder / "x.npy", testing::fill_input("image", {1, 3, 16, 17}));
  const Outcome wrong = facet_command("run" + folder.model() + "--input" + quoted(folder / "x.npy"));
  EXPECT_EQ(wrong.code, 2);
  EXPECT_THAT(wrong.error, HasSubstr("input 'image' has shape [1, 3, 16, 17], but 'tiny' takes f32[N, 3, 16, 16]"));
  const Outcome missing = facet_command("run" + folder.model());
  EXPECT_EQ(missing.code, 2);
  EXPECT_THAT(missing.error, HasSubstr("input 'image' is missing"));
  const Outcome unknown = facet_command("run" + folder.model() + "--input imag=" + (folder / "x.npy").string());
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.error, HasSubstr("did you mean 'image'"));
}

TEST(Run, WeightsThatDoNotFitAreListedCompletely) {
  const TinyFolder folder;
  write_npy(folder / "x.npy", tiny_input(1));
  TensorMap weights = random_weights(folder.graph(), 1);
  weights.erase("conv.bias");
  weights.erase("embed.weight");
  weights.emplace("conv.scale", HostTensor(DType::f32, {8}));
  weights["classify.bias"] = HostTensor(DType::f32, {4});
  weights["classify.weight"] = HostTensor(DType::f32, {6, 3});
  folder.write_weights(weights);
  const Outcome outcome = facet_command("run" + folder.model() + "--input" + quoted(folder / "x.npy") +
                                        "--output" + quoted(folder / "y.safetensors"));
  EXPECT_EQ(outcome.code, 1);
  for (const std::string line :
       {"2 missing, 1 unexpected and 2 ill-typed", "missing: conv.bias f32[8]",
        "missing: embed.weight f32[6, 8]", "unexpected: conv.scale f32[8]",
        "ill-typed: classify.bias is f32[4], should be f32[3]",
        "ill-typed: classify.weight is f32[6, 3], should be f32[3, 6]"}) {
    EXPECT_THAT(outcome.error, HasSubstr(line));
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "y.safetensors"));
}

TEST(Run, TruncatedAndMissingFilesAreNamed) {
  const TinyFolder folder;
  write_npy(folder / "x.npy", tiny_input(1));
  const std::string input = "--input" + quoted(folder / "x.npy");
  const std::string whole = test::read_bytes(folder / "tiny.safetensors");
  for (const std::size_t size : {std::size_t{4}, std::size_t{60}, whole.size() - 1}) {
    test::write_bytes(folder / "tiny.safetensors", whole.substr(0, size));
    const Outcome outcome = facet_command("run" + folder.model() + input);
    EXPECT_EQ(outcome.code, 1) << size;
    EXPECT_THAT(outcome.error, HasSubstr("tiny.safetensors: not a valid safetensors file")) << size;
  }
  std::filesystem::remove(folder / "tiny.safetensors");
  EXPECT_EQ(facet_command("run" + folder.model() + input).code, 1);
  const std::string array = test::read_bytes(folder / "x.npy");
  test::write_bytes(folder / "x.npy", array.substr(0, array.size() / 2));
  const Outcome outcome = facet_command("run" + quoted(folder / "tiny.ir") + input);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.error, HasSubstr("x.npy"));
}

TEST(Run, BrokenNetworksAreNamedWithTheirLine) {
  const TinyFolder folder;
  std::string text = to_text(folder.graph());
  const std::size_t at = text.find("= conv(");
  ASSERT_NE(at, std::string::npos);
  text.replace(at, 6, "= cnov");
  test::write_bytes(folder / "tiny.ir", text);
  const Outcome outcome = facet_command("run" + folder.model());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.error, HasSubstr("tiny.ir"));
  EXPECT_THAT(outcome.error, HasSubstr("cnov"));
}

TEST(Run, FullDiskLeavesNoFile) {
  const TinyFolder folder;
  write_npy(folder / "x.npy", tiny_input(2000));  // outputs of 72 kB
  const std::string call = "run" + folder.model() + "--input" + quoted(folder / "x.npy") + "--output";
  const std::ptrdiff_t before = folder.file_count();
  const Outcome limited = facet_command(call + quoted(folder / "y.safetensors"), "ulimit -f 16;");
  EXPECT_EQ(limited.code, 1);
  EXPECT_THAT(limited.error, HasSubstr("y.safetensors"));
  EXPECT_EQ(folder.file_count(), before);
  const Outcome full = facet_command(call + " /dev/full");
  EXPECT_EQ(full.code, 1);
  EXPECT_THAT(full.error, HasSubstr("/dev/full"));
  const Outcome nowhere = facet_command(call + quoted(folder / "no/y.safetensors"));
  EXPECT_EQ(nowhere.code, 1);
}

TEST(Run, AFullDiskBehindStandardOutputIsAFailure) {
  const TinyFolder folder;
  // The inner redirection wins over the one the helper adds.
  const Outcome outcome = facet_command("show" + quoted(folder / "tiny.ir") + ">/dev/full; exit $?; true");
  EXPECT_EQ(outcome.code, 1);
}

TEST(Run, WithoutWeightsItSaysThatTheyAreFresh) {
  const TinyFolder folder;
  write_npy(folder / "x.npy", tiny_input(1));
  const Outcome outcome =
      facet_command("run" + quoted(folder / "tiny.ir") + "--input" + quoted(folder / "x.npy"));
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.error, HasSubstr("random:0"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("random")));
}

}  // namespace
}  // namespace facet
