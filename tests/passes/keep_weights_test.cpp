#include "ir/error.h"
#include "passes/vector_jacobian.h"
#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::changed;
using testing::expect_refusal;
using testing::expect_rewrite;
using testing::FakeTarget;
using testing::parse_body;
using testing::to_lines;

constexpr std::string_view kPass = "keep-weights";

constexpr std::string_view kBoth = R"(
  %0 = input() {name = "qkv", type = "bf16[2, 4, 24]"} : bf16[2, 4, 24] @ "attn"
  %1 = input() {name = "dy", type = "bf16[2, 4, 8]"} : bf16[2, 4, 8] @ "attn"
  %2 = sdpa(%0, %0, %0) {channel_axis = -1, heads = 2, key = [8, 4, 4], query = [0, 4, 4], value = [16, 4, 4]} : bf16[2, 4, 8] @ "attn"
  %3 = sdpa_bwd(%1, %0, %0, %0) {channel_axis = -1, heads = 2, key = [8, 4, 4], packed = true, query = [0, 4, 4], value = [16, 4, 4]} : bf16[2, 4, 24] @ "attn"
  return "y" = %2, "dx" = %3
)";

PassContext any_target() {
  static const FakeTarget target;
  PassContext context;
  context.target = &target;
  return context;
}

TEST(KeepWeights, TheGradientReadsWhatTheSdpaKept) {
  const auto remarks = expect_rewrite(kPass, kBoth, R"(
  %0 = input() {name = "qkv", type = "bf16[2, 4, 24]"} : bf16[2, 4, 24] @ "attn"
  %1 = input() {name = "dy", type = "bf16[2, 4, 8]"} : bf16[2, 4, 8] @ "attn"
  %2:2 = sdpa(%0, %0, %0) {channel_axis = -1, heads = 2, key = [8, 4, 4], query = [0, 4, 4], value = [16, 4, 4], weights = true} : (bf16[2, 4, 8], bf16[2, 2, 4, 4]) @ "attn"
  %3 = sdpa_bwd(%1, %0, %0, %0, %2.1) {channel_axis = -1, heads = 2, key = [8, 4, 4], packed = true, query = [0, 4, 4], value = [16, 4, 4], weights = true} : bf16[2, 4, 24] @ "attn"
  return "y" = %2.0, "dx" = %3
)",
                                      any_target());
  EXPECT_EQ(to_lines(remarks), "applied keep-weights @ attn: sdpa+weights\n");
}

TEST(KeepWeights, AnSdpaWithoutGradient) {
  const std::string body = changed(kBoth, "packed = true, query = [0, 4, 4]",
                                   "packed = true, query = [0, 4, 4], scale = 0.5");
  EXPECT_EQ(to_lines(expect_refusal(kPass, body, any_target())), "");  // the gradient is another's
}

TEST(KeepWeights, AClamp) {
  std::string body =
      changed(kBoth, "{channel_axis = -1", "{channel_axis = -1, clamp = [-1.0, 1.0]");
  body = changed(body, "sdpa_bwd(%1, %0, %0, %0) {channel_axis = -1",
                 "sdpa_bwd(%1, %0, %0, %0) {channel_axis = -1, clamp = [-1.0, 1.0]");
  EXPECT_EQ(to_lines(expect_refusal(kPass, body, any_target())),
            "missed keep-weights @ attn: sdpa+weights: weights do not tell where a clamp cut\n");
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at)) {
    text.replace(at, from.size(), to);
    at += to.size();
  }
  return text;
}

TEST(KeepWeights, WeightsThatWouldBeF32OrLarge) {
  EXPECT_EQ(
      to_lines(expect_refusal(kPass, replaced(std::string(kBoth), "bf16", "f32"), any_target())),
      "missed keep-weights @ attn: sdpa+weights: its weights would be f32\n");
  // 2 heads x 400 weights a token beside 3 x 24 channels.
  EXPECT_EQ(
      to_lines(expect_refusal(kPass, replaced(std::string(kBoth), "[2, 4, ", "[2, 400, "),
                              any_target())),
      "missed keep-weights @ attn: sdpa+weights: its weights are large beside its operands\n");
}

TEST(KeepWeights, ATargetThatKeepsNone) {
  for (const std::string_view kind : {"sdpa", "sdpa_bwd"}) {
    FakeTarget target;
    target.supported = [&](const Node& node) {
      return !node.is(kind) || !node.attributes().boolean("weights");
    };
    PassContext context;
    context.target = &target;
    EXPECT_EQ(to_lines(expect_refusal(kPass, kBoth, context)),
              "missed keep-weights @ attn: sdpa+weights: the target keeps no weights\n");
  }
}

/// Weights are kept behind differentiation; before it nothing may read them.
TEST(KeepWeights, KeptWeightsHaveNoGradient) {
  const Graph graph = parse_body(R"(
  %0 = input() {name = "qkv", type = "f32[2, 4, 24]"} : f32[2, 4, 24] @ "attn"
  %1:2 = sdpa(%0, %0, %0) {channel_axis = -1, heads = 2, key = [8, 4, 4], query = [0, 4, 4], value = [16, 4, 4], weights = true} : (f32[2, 4, 8], f32[2, 2, 4, 4]) @ "attn"
  return "y" = %1.0, "w" = %1.1
)");
  EXPECT_NO_THROW(vector_jacobian_product(graph, {"y"}, false));
  EXPECT_THROW(vector_jacobian_product(graph, {"w"}, false), Error);
}

}  // namespace
}  // namespace facet
