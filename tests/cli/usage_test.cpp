#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/formats/npy.h"
#include "tests/cli/command.h"

// A wrong call: exit code 2, one message that names what is near.
namespace facet {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using test::facet_command;
using test::Outcome;

/// The call must be refused with a message that starts as all do and says `words`.
void expect_refused(const std::string& arguments, const std::vector<std::string>& words) {
  const Outcome outcome = facet_command(arguments);
  EXPECT_EQ(outcome.code, 2) << arguments << "\n" << outcome.error;
  EXPECT_THAT(outcome.error, StartsWith("facet: ")) << arguments;
  for (const std::string& word : words) EXPECT_THAT(outcome.error, HasSubstr(word)) << arguments;
  EXPECT_EQ(outcome.out, "") << arguments;
}

TEST(Usage, EveryCommandExplainsItself) {
  for (const std::string command : {"models", "show", "explain", "run", "bench", "embed", "verify"}) {
    const Outcome help = facet_command(command + " --help");
    EXPECT_EQ(help.code, 0) << command;
    EXPECT_THAT(help.out, HasSubstr(command));
    EXPECT_EQ(help.error, "") << command;
    EXPECT_THAT(facet_command("--help").out, HasSubstr(command));
  }
}

TEST(Usage, VersionIsPrinted) {
  const Outcome version = facet_command("--version");
  EXPECT_EQ(version.code, 0);
  EXPECT_THAT(version.out, HasSubstr("facet 0."));
}

TEST(Usage, NoCommandListsThem) { expect_refused("", {"models", "verify"}); }

TEST(Usage, UnknownCommandNamesTheNearest) {
  expect_refused("modles", {"unknown command 'modles'", "did you mean 'models'"});
}

TEST(Usage, UnknownOptionNamesTheNearest) {
  expect_refused("run lscnn --tapp conv1", {"run", "unknown option '--tapp'", "did you mean '--tap'"});
  expect_refused("show lscnn --formt=svg", {"'--formt'", "'--format'"});
}

TEST(Usage, MissingArgumentsAreNamed) {
  expect_refused("run", {"run", "model"});
  expect_refused("embed lscnn x.jpg --output e.npy", {"embed", "--weights"});
}

TEST(Usage, UnknownModelNamesTheNearest) {
  for (const std::string command : {"show ", "explain ", "run ", "bench "}) {
    expect_refused(command + "lscn", {"unknown model 'lscn'", "did you mean 'lscnn'"});
  }
  expect_refused("models arcface_iresnet52", {"'arcface_iresnet50'"});
}

TEST(Usage, UnknownModelOptionsNameTheNearest) {
  expect_refused("show lscnn --set num_clases=3", {"no option 'num_clases'", "'num_classes'"});
  expect_refused("show dcr --set backbone=DCRTrnk", {"'DCRTrunk'"});
  expect_refused("show lscnn --set num_classes=few", {"num_classes='few'", "integer"});
  expect_refused("show lscnn --set num_classes", {"key=value"});
  expect_refused("show lscnn --set num_classes=3 --set num_classes=4", {"given twice"});
}

TEST(Usage, UnknownPassesNameTheNearest) {
  expect_refused("show lscnn --after fuse-epilog", {"'fuse-epilogue'"});
  expect_refused("explain lscnn --disable fuse-epilog", {"'fuse-epilogue'"});
}

TEST(Usage, ValuesAreChecked) {
  expect_refused("show lscnn --format png", {"--format"});
  expect_refused("run lscnn --device cuba", {"unknown device 'cuba'", "cpu", "reference"});
  expect_refused("run lscnn --precision f23", {"unknown precision 'f23'", "bf16"});
  expect_refused("run lscnn --threads -2", {"-2 threads"});
  expect_refused("run lscnn --threads many", {"--threads"});
  expect_refused("bench lscnn --batch 0", {"--batch"});
  expect_refused("bench lscnn --seconds 0", {"--seconds"});
  expect_refused("bench lscnn --recompute budget:0.5", {"--recompute", "--train"});
  expect_refused("bench lscnn --train --recompute bugdet:0.5", {"did you mean 'budget'?"});
  expect_refused("verify a.jpg b.jpg --model lscnn --weights random:1 --threshold 2", {"--threshold"});
}

TEST(Usage, UnknownScopesAndOutputsNameTheNearest) {
  expect_refused("run lscnn --set growth_rate=4 --tap conv_1", {"conv_1", "did you mean"});
  expect_refused("embed lscnn x.png --weights random:1 --output e.npy --output-name embeding",
                 {"'embeding'", "did you mean 'embedding'"});
}

TEST(Usage, WeightsSpecificationIsChecked) {
  const test::TinyFolder folder;
  write_npy(folder / "x.npy", HostTensor(DType::f32, {1, 3, 16, 16}));
  expect_refused("run" + test::quoted(folder / "tiny.ir") + "--weights random:x --input" +
                     test::quoted(folder / "x.npy"),
                 {"random:SEED"});
}

TEST(Usage, OutputFormatsAreNamed) {
  expect_refused("embed lscnn x.png --weights random:1 --output e.txt", {".safetensors", ".npy"});
}

}  // namespace
}  // namespace facet
