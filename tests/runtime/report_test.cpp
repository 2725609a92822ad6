#include "runtime/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "ir/text.h"
#include "runtime/remark_groups.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CompactScopes, DrawNumbersTogether) {
  EXPECT_THAT(compact_scopes({"layer1.0.conv", "layer1.1.conv", "fc", "layer1.2.conv", "layer1.5.conv",
                              "layer2.0.conv", "features.3", "features.4"}),
              ElementsAre("layer[1-2].[0-2,5].conv (5)", "fc", "features.[3-4] (2)"));
  EXPECT_THAT(compact_scopes({"a", "a"}), ElementsAre("a"));
  EXPECT_THAT(compact_scopes({"b1_1x1", "b2_3x3"}), ElementsAre("b[1-2]_[1,3]x[1,3] (2)"));
  EXPECT_THAT(compact_scopes({}), ElementsAre());
}

ProgramInfo program() {
  ProgramInfo info;
  info.batch = 2;
  info.steps = {{"conv", "first", {}, "direct", "f32[2, 4]", 2e6, 4e3, true},
                {"relu", "act", {}, "elementwise", "f32[2, 4]", 8, 64, false},
                {"conv", "second", {}, "direct", "f32[2, 4]", 4e6, 4e3, true}};
  info.arena_bytes = 3'000'000;
  info.lower_bound_bytes = 2'500'000;
  info.reorders = 0;
  info.concat_slices = 3;
  info.concat_copies = 1;
  info.remarks = {{Remark::Kind::applied, "fuse", "a.0", "conv+relu", "", {"a.0", "act.0"}},
                  {Remark::Kind::applied, "fuse", "a.1", "conv+relu", "", {"a.1", "act.1"}},
                  {Remark::Kind::missed, "fuse", "b", "conv+add", "its result has 2 readers"}};
  info.passes = {{"fuse", true, 1.5, 9, 7}};
  return info;
}

TEST(Profile, AddsUpAndIsSorted) {
  const std::vector<StepTime> times =
      average({{{0, 1.0}, {1, 0.25}, {2, 2.0}}, {{0, 3.0}, {1, 0.75}, {2, 4.0}}});
  ASSERT_EQ(times.size(), 3U);
  EXPECT_EQ(times[0].step, 2U);
  EXPECT_DOUBLE_EQ(times[0].milliseconds, 3);
  EXPECT_DOUBLE_EQ(times[2].milliseconds, 0.5);
  std::istringstream lines(profile_text(program(), times, 6));
  std::string line;
  std::getline(lines, line);
  double sum = 0;
  double total = 0;
  for (int i = 0; i < 4; ++i) {
    std::getline(lines, line);
    (i < 3 ? sum : total) += std::stod(line);
  }
  EXPECT_DOUBLE_EQ(sum, total);
  EXPECT_DOUBLE_EQ(total, 5.5);
  EXPECT_THAT(line, HasSubstr("total of 3 steps"));
  const std::string text = profile_text(program(), times, 6);
  EXPECT_THAT(text, HasSubstr("1.3"));     // 4e6 flops in 3 ms: 1.33 GFLOP/s
  EXPECT_THAT(text, HasSubstr("5.0000   90.9      2  conv"));
}

constexpr const char* kChain = R"(graph "chain" {
  %0 = input() {name = "x", type = "f32[1, 256]"} : f32[1, 256]
  %1 = relu(%0) : f32[1, 256] @ "first"
  %2 = concat(%0, %1) {axis = 1} : f32[1, 512] @ "join"
  %3 = reshape(%2) {shape = [2, 256]} : f32[2, 256] @ "view"
  %4 = reduce_sum(%3) {axes = [0, 1]} : f32[1, 1] @ "sum"
  return "y" = %4
}
)";

TEST(Memory, TheFullestStepIsFound) {
  const FullestStep fullest = fullest_step(parse_graph(kChain));
  EXPECT_EQ(fullest.scope, "join");
  EXPECT_EQ(fullest.bytes, 1024 + 1024 + 2048);
  ASSERT_EQ(fullest.values.size(), 3U);
  EXPECT_EQ(fullest.values[0].bytes, 2048);
  EXPECT_EQ(fullest.values[0].kind, "concat");
}

TEST(Explain, SaysWhatHappenedAndWhatDidNot) {
  const Graph graph = parse_graph(kChain);
  const std::string text = explain_text(program(), graph);
  EXPECT_THAT(text, HasSubstr("3 steps at batch 2"));
  EXPECT_THAT(text, HasSubstr("2 x conv+relu\n        a.[0-1] (2)\n          from act.[0-1] (2)\n"));
  EXPECT_THAT(text, HasSubstr("1 x conv+add: its result has 2 readers\n        b"));
  EXPECT_THAT(text, HasSubstr("3 written in place, 1 copied"));
  EXPECT_THAT(text, HasSubstr("3.000 MB  arena"));
  const nlohmann::json json = nlohmann::json::parse(explain_json(program(), graph));
  EXPECT_EQ(json.at("done")[0].at("count"), 2);
  EXPECT_EQ(json.at("done")[0].at("origins"), nlohmann::json::parse(R"([["a.0", "act.0"], ["a.1", "act.1"]])"));
  EXPECT_EQ(json.at("not_done")[0].at("reason"), "its result has 2 readers");
  EXPECT_EQ(json.at("memory").at("peak_bytes"), 3'000'000);
  EXPECT_EQ(json.at("memory").at("fullest_step").at("values").size(), 3U);
  EXPECT_EQ(json.at("passes")[0].at("nodes_after"), 7);
}

}  // namespace
}  // namespace facet
