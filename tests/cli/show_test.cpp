#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "backends/cpu/cpu_backend.h"
#include "passes/pass.h"
#include "tests/cli/command.h"

// What the command tells of networks: models, show, explain, bench.
namespace facet {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using test::facet_command;
using test::Outcome;
using test::quoted;
using test::TinyFolder;

TEST(Models, JsonHasThePublishedNumbers) {
  const Outcome outcome = facet_command("models --json");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const nlohmann::json models = nlohmann::json::parse(outcome.out);
  EXPECT_GE(models.size(), 12U);
  for (const nlohmann::json& model : models) {
    if (model.at("name") != "lscnn") continue;
    EXPECT_EQ(model.at("parameters"), 10'048'960);
    EXPECT_EQ(model.at("macs"), 2'206'142'758 + 5'666'128);
    EXPECT_EQ(model.at("input"), "f32[N, 3, 128, 128]");
    EXPECT_EQ(model.at("options")[0].at("name"), "num_classes");
    return;
  }
  FAIL() << "lscnn is not listed";
}

TEST(Models, TextListsAllAndExplainsOne) {
  const Outcome list = facet_command("models");
  EXPECT_EQ(list.code, 0);
  EXPECT_THAT(list.out, HasSubstr("mla_iresnet200"));
  EXPECT_THAT(list.out, HasSubstr("10,048,960"));
  const Outcome one = facet_command("models dcr");
  EXPECT_EQ(one.code, 0);
  EXPECT_THAT(one.out, HasSubstr("NewDCRTrunk"));
  EXPECT_THAT(one.out, HasSubstr("trunk_embeddings"));
}

TEST(Show, TextReadsBackAsTheSameNetwork) {
  const TinyFolder folder;
  const Outcome outcome = facet_command("show" + quoted(folder / "tiny.ir"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(outcome.out, to_text(folder.graph()));
  EXPECT_EQ(fingerprint(parse_graph(outcome.out)), fingerprint(folder.graph()));
}

TEST(Show, EveryFormatIsWritten) {
  const TinyFolder folder;
  const std::string call = "show" + quoted(folder / "tiny.ir") + "--format ";
  EXPECT_THAT(facet_command(call + "dot").out, StartsWith("digraph \"tiny\""));
  const nlohmann::json json = nlohmann::json::parse(facet_command(call + "json").out);
  EXPECT_EQ(json.at("name"), "tiny");
  const Outcome svg = facet_command(call + "svg -o" + quoted(folder / "tiny.svg"));
  EXPECT_EQ(svg.code, 0) << svg.error;
  EXPECT_EQ(svg.out, "");
  EXPECT_THAT(test::read_bytes(folder / "tiny.svg"), HasSubstr("conv 3x3 /2"));
}

TEST(Show, PassesChangeWhatIsShown) {
  const TinyFolder folder;
  const std::string call = "show" + quoted(folder / "tiny.ir");
  const std::string declared = facet_command(call).out;
  EXPECT_THAT(declared, HasSubstr("relu("));
  const Outcome fused = facet_command(call + "--after fuse-epilogue");
  ASSERT_EQ(fused.code, 0) << fused.error;
  EXPECT_THAT(fused.out, HasSubstr("\"relu\""));   // an epilogue entry
  // The other relu reads `embedding`, an output of the network: it has to stay.
  EXPECT_EQ(fused.out.find("relu("), fused.out.rfind("relu("));
  EXPECT_NE(declared.find("relu("), declared.rfind("relu("));
  EXPECT_THAT(fused.out, HasSubstr("[N, 3, 16, 16]"));
  const Outcome all = facet_command(call + "--after all --batch 4");
  ASSERT_EQ(all.code, 0) << all.error;
  EXPECT_THAT(all.out, HasSubstr("[4, 3, 16, 16]"));
  const Outcome unfused = facet_command(call + "--after all --disable fuse-epilogue");
  ASSERT_EQ(unfused.code, 0) << unfused.error;
  EXPECT_THAT(unfused.out, Not(HasSubstr("\"relu\"")));
}

TEST(Show, APassThatDoesNotRunIsRefused) {
  const TinyFolder folder;
  const std::string call = "show" + quoted(folder / "tiny.ir") + "--after lower-to-bf16";
  const Outcome f32 = facet_command(call);
  EXPECT_EQ(f32.code, 2);
  EXPECT_THAT(f32.error, HasSubstr("does not run"));
  const Outcome bf16 = facet_command(call + " --precision bf16");
  EXPECT_EQ(bf16.code, 0) << bf16.error;
  EXPECT_THAT(bf16.out, HasSubstr("bf16["));
}

TEST(Show, NoFusionLeavesOutTheFusingPassesAndNoOthers) {
  const TinyFolder folder;
  const auto call = [&](std::string_view pass) {
    return facet_command("show" + quoted(folder / "tiny.ir") +
                         "--precision bf16 --no-fusion --after " + std::string(pass));
  };
  for (const Pass& pass : all_passes()) {
    const bool fuses = pass.name.starts_with("fuse-") || pass.name.starts_with("merge-") ||
                       pass.name == "fold-batch-norm" || pass.name == "split-term-sums" ||
                       pass.name == "move-slices";
    const bool is_absent = fuses || pass.name == "lower-to-f16";
    const Outcome outcome = call(pass.name);
    EXPECT_EQ(outcome.code, is_absent ? 2 : 0) << pass.name << "\n" << outcome.error;
  }
  const Outcome all = call("all");
  ASSERT_EQ(all.code, 0) << all.error;
  EXPECT_THAT(all.out, Not(HasSubstr("\"relu\"")));
  EXPECT_THAT(all.out, HasSubstr("relu("));
  EXPECT_THAT(all.out, HasSubstr("acdb"));  // layouts are still chosen
}

TEST(Show, BatchReplacesTheSymbol) {
  const TinyFolder folder;
  const Outcome outcome = facet_command("show" + quoted(folder / "tiny.ir") + "--batch 3");
  EXPECT_THAT(outcome.out, HasSubstr("f32[3, 3, 16, 16]"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("[N,")));
}

TEST(Show, HtmlIsAPageOfBothGraphs) {
  const TinyFolder folder;
  const std::string call = "show" + quoted(folder / "tiny.ir") + "--format html";
  const Outcome outcome = facet_command(call + " --batch 4 --precision bf16 -o" + quoted(folder / "a.html"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(outcome.out, "");
  const std::string page = test::read_bytes(folder / "a.html");
  EXPECT_THAT(page, StartsWith("<!DOCTYPE html>"));
  for (const char* part : {"bf16, batch 4", ">f32 [4, 3, 16, 16], 12 KB<", "NHWC, ", "as declared",
                           "after all passes", "fuse-epilogue", "conv+bias+relu"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_THAT(page, Not(HasSubstr("[N,")));
}

TEST(Show, HtmlDrawsTheGraphAfterAPass) {
  const TinyFolder folder;
  const std::string call = "show" + quoted(folder / "tiny.ir") + "--format html";
  const Outcome outcome = facet_command(call + " --after fuse-epilogue");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("; after fuse-epilogue</text>"));
  EXPECT_THAT(outcome.out, HasSubstr(">f32 [1, 8, 8, 8], 2.0 KB<"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("NHWC")));  // layouts come later
  EXPECT_EQ(facet_command(call + " --after lower-to-bf16").code, 2);
  const Outcome reference = facet_command(call + " --device reference");
  EXPECT_EQ(reference.code, 2);
  EXPECT_THAT(reference.error, HasSubstr("--device cpu"));
}

/// The origins of each place of a pass, by its scope.
std::map<std::string, std::vector<std::string>> origins_of(const std::string& model,
                                                           const std::string& pass) {
  const Outcome outcome = facet_command("explain " + model + " --json");
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  std::map<std::string, std::vector<std::string>> origins;
  const nlohmann::json report = nlohmann::json::parse(outcome.out);
  for (const nlohmann::json& group : report.at("done")) {
    EXPECT_EQ(group.at("scopes").size(), group.at("origins").size());
    for (const nlohmann::json& list : group.at("origins")) EXPECT_FALSE(list.empty());
    if (group.at("pass") != pass) continue;
    for (std::size_t i = 0; i < group.at("scopes").size(); ++i) {
      origins[group.at("scopes")[i]] = group.at("origins")[i];
    }
  }
  return origins;
}

TEST(Explain, AMergedConvolutionNamesAllItsBranches) {
  const auto merged = origins_of("lscnn", "merge-branches");
  if (!cpu_features().avx2) {  // no convolution writes several results: 13 near misses
    EXPECT_TRUE(merged.empty());
    EXPECT_THAT(facet_command("explain lscnn").out,
                HasSubstr("13 x 3 convs side by side: the cpu target has no wide form of them"));
    return;
  }
  EXPECT_EQ(merged.size(), 13U);
  const std::string layer = "lscnn_D3.DenseBlock_4.DenseLayer_4.";
  ASSERT_TRUE(merged.contains(layer + "branch1_1x1.conv"));
  EXPECT_THAT(merged.at(layer + "branch1_1x1.conv"),
              ::testing::IsSupersetOf({layer + "branch1_1x1.conv", layer + "branch2_1x1.conv",
                                       layer + "branch3_1x1.conv", layer + "branch3_1x1.bn"}));
}

TEST(Explain, GatesAndAttentionsNameWhatTheyStandFor) {
  const auto gates = origins_of("mla_iresnet18", "fuse-gate");
  EXPECT_EQ(gates.size(), 8U);
  EXPECT_THAT(gates.at("layer1.0.attn"),
              ::testing::IsSupersetOf({"layer1.0.attn.ca.fc.0", "layer1.0.attn.sa.conv1"}));
  const auto attentions = origins_of("lesa_resnet50", "fuse-attention");
  EXPECT_EQ(attentions.size(), 8U);
  EXPECT_THAT(attentions.at("layer4.2.conv2"),
              ::testing::IsSupersetOf({"layer4.2.conv2.bn_output", "layer4.2.conv2.bn_similarity"}));
}

TEST(Explain, TextOfALargeNetworkStaysShort) {
  const Outcome outcome = facet_command("explain lscnn");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_LT(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 150);
  EXPECT_THAT(outcome.out, HasSubstr("from lcnn_D1.DenseBlock_[0-2].DFA_[0-2].LANet.spatial_atten.[0,2] (6)"));
}

TEST(Explain, ListsEveryAttentionWithItsScope) {
  const Outcome outcome = facet_command("explain lesa_resnet50 --json");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const nlohmann::json json = nlohmann::json::parse(outcome.out);
  std::vector<std::string> scopes;
  for (const nlohmann::json& remark : json.at("done")) {
    if (remark.at("pass") != "fuse-attention") continue;
    for (const nlohmann::json& scope : remark.at("scopes")) scopes.push_back(scope);
  }
  EXPECT_THAT(scopes, ::testing::ElementsAre("layer3.1.conv2", "layer3.2.conv2", "layer3.3.conv2",
                                             "layer3.4.conv2", "layer3.5.conv2", "layer4.0.conv2",
                                             "layer4.1.conv2", "layer4.2.conv2"));
}

/// What is fused ahead of differentiation, and with it the gradients.
TEST(Explain, ATrainingStepNamesItsFusions) {
  const Outcome outcome = facet_command("explain lesa_resnet50 --train --json");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const nlohmann::json json = nlohmann::json::parse(outcome.out);
  std::map<std::string, std::size_t> places;
  std::vector<std::string> attentions;
  for (const nlohmann::json& remark : json.at("done")) {
    places[remark.at("pattern")] += remark.at("scopes").size();
    if (remark.at("pass") != "fuse-attention") continue;
    for (const nlohmann::json& scope : remark.at("scopes")) attentions.push_back(scope);
  }
  EXPECT_THAT(attentions, ::testing::ElementsAre("layer3.1.conv2", "layer3.2.conv2", "layer3.3.conv2",
                                                 "layer3.4.conv2", "layer3.5.conv2", "layer4.0.conv2",
                                                 "layer4.1.conv2", "layer4.2.conv2"));
  EXPECT_GT(places["batch_norm_train+relu"], 0U);
  EXPECT_EQ(places["batch_norm_train+add+relu"], 16U);
  const auto& steps = json.at("steps");
  const auto gradients = std::count_if(
      steps.begin(), steps.end(), [](const auto& step) { return step.at("op") == "sdpa_bwd"; });
  EXPECT_EQ(gradients, 8);
}

TEST(Explain, ATrainingStepHasTheBatchThatIsAskedFor) {
  const TinyFolder folder;
  const std::string call = "explain" + quoted(folder / "tiny.ir") + "--train --batch 3";
  const Outcome text = facet_command(call);
  ASSERT_EQ(text.code, 0) << text.error;
  EXPECT_THAT(text.out, HasSubstr("tiny, a training step: f32 on cpu"));
  EXPECT_THAT(text.out, HasSubstr("steps at batch 3"));
  EXPECT_THAT(text.out, HasSubstr("sgd_update"));
  const Outcome outcome = facet_command(call + " --json");
  EXPECT_EQ(nlohmann::json::parse(outcome.out).at("batch"), 3);
}

TEST(Explain, NamesFusionsMemoryAndPasses) {
  const TinyFolder folder;
  const std::string call = "explain" + quoted(folder / "tiny.ir");
  const Outcome text = facet_command(call);
  ASSERT_EQ(text.code, 0) << text.error;
  for (const char* part : {"fuse-epilogue", "Not done", "reorders", "lower bound", "Passes", "compiled in"}) {
    EXPECT_THAT(text.out, HasSubstr(part));
  }
  const Outcome outcome = facet_command(call + "--json --batch 2");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const nlohmann::json json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json.at("batch"), 2);
  EXPECT_GE(json.at("memory").at("peak_bytes"), json.at("memory").at("lower_bound_bytes"));
  EXPECT_FALSE(json.at("steps").empty());
  bool found = false;
  for (const nlohmann::json& remark : json.at("done")) {
    found |= remark.at("pass") == "fuse-epilogue" && remark.at("scopes")[0] == "conv";
  }
  EXPECT_TRUE(found) << outcome.out;
}

TEST(Bench, RowsAreWrittenAsJson) {
  const TinyFolder folder;
  const Outcome outcome =
      facet_command("bench" + quoted(folder / "tiny.ir") + "--batch 1,3 --precision f32,bf16 --threads 1 "
                    "--seconds 0.01 --json" + quoted(folder / "rows.json"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("floor ms"));
  const nlohmann::json rows = nlohmann::json::parse(test::read_bytes(folder / "rows.json"));
  ASSERT_EQ(rows.size(), 4U);
  for (const nlohmann::json& row : rows) {
    EXPECT_EQ(row.at("device"), "cpu");
    EXPECT_EQ(row.at("threads"), 1);
    EXPECT_LE(row.at("min_ms"), row.at("median_ms"));
    EXPECT_GT(row.at("min_ms"), 0);
    EXPECT_GT(row.at("floor_ms"), 0);
    EXPECT_GT(row.at("compile_s"), 0);
    EXPECT_GT(row.at("peak_bytes"), 0);
    EXPECT_GT(row.at("parameter_bytes"), 0);
    EXPECT_NEAR(row.at("images_per_s").get<double>(),
                row.at("batch").get<double>() * 1e3 / row.at("median_ms").get<double>(), 1e-6);
  }
  EXPECT_EQ(rows[1].at("batch"), 3);
  EXPECT_EQ(rows[2].at("precision"), "bf16");
}

TEST(Bench, FusionCanBeSwitchedOff) {
  const TinyFolder folder;
  const auto measured = [&](const std::string& options) {
    const Outcome outcome =
        facet_command("bench" + quoted(folder / "tiny.ir") + "--seconds 0.01 --json" +
                      quoted(folder / "rows.json") + options);
    EXPECT_EQ(outcome.code, 0) << outcome.error;
    const nlohmann::json row = nlohmann::json::parse(test::read_bytes(folder / "rows.json"))[0];
    EXPECT_EQ(outcome.out.find("no fusion") == std::string::npos, row.at("fusion").get<bool>());
    return row;
  };
  const nlohmann::json fused = measured("");
  EXPECT_EQ(fused.at("fusion"), true);
  EXPECT_TRUE(fused.at("disabled_passes").empty());
  const nlohmann::json unfused = measured("--no-fusion");
  EXPECT_EQ(unfused.at("fusion"), false);
  EXPECT_GE(unfused.at("disabled_passes").size(), 7U);
  EXPECT_GT(unfused.at("peak_bytes"), 0);
  EXPECT_EQ(measured("--device reference").at("fusion"), false);  // it never fuses
  const nlohmann::json one = measured("--disable fuse-epilogue --disable fuse-gate");
  EXPECT_EQ(one.at("fusion"), true);
  EXPECT_EQ(one.at("disabled_passes"), nlohmann::json({"fuse-epilogue", "fuse-gate"}));
}

TEST(Bench, ResidentMemoryIsTheNetworksAndNotTheCeilings) {
  const TinyFolder folder;
  const Outcome outcome = facet_command("bench" + quoted(folder / "tiny.ir") +
                                        "--batch 8192 --threads 1 --seconds 0.01 --json" +
                                        quoted(folder / "rows.json"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const nlohmann::json row = nlohmann::json::parse(test::read_bytes(folder / "rows.json"))[0];
  const auto baseline = row.at("baseline_rss_bytes").get<std::int64_t>();
  const auto above = row.at("peak_rss_bytes").get<std::int64_t>() - baseline;
  const auto arena = row.at("peak_bytes").get<std::int64_t>();
  constexpr std::int64_t kMiB = 1 << 20;
  ASSERT_GT(arena, 24 * kMiB);  // the input alone
  EXPECT_GT(baseline, kMiB);
  EXPECT_LT(baseline, 64 * kMiB);
  EXPECT_GE(above, arena);
  EXPECT_LT(above, 2 * arena + 48 * kMiB);  // reading memory for its ceiling takes 64 MiB or more
}

TEST(Bench, AnUnwritableJsonIsNamedBeforeTheWork) {
  const TinyFolder folder;
  const Outcome outcome =
      facet_command("bench" + quoted(folder / "tiny.ir") + "--json" + quoted(folder / "no/rows.json"));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.error, HasSubstr("rows.json"));
}

}  // namespace
}  // namespace facet
