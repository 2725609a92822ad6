#include "passes/fuse_training.h"

#include <gtest/gtest.h>

#include "passes/vector_jacobian.h"
#include "tests/passes/pass_case.h"
#include "zoo/zoo.h"

namespace facet::testing {
namespace {

constexpr std::string_view kNorm = R"(
  %0 = input() {name = "x", type = "f32[2, 3, 4, 4]"} : f32[2, 3, 4, 4]
  %1 = input() {name = "r", type = "f32[2, 3, 4, 4]"} : f32[2, 3, 4, 4]
  %2 = parameter() {key = "gamma", type = "f32[3]"} : f32[3]
  %3 = parameter() {key = "beta", type = "f32[3]"} : f32[3]
  %4 = parameter() {key = "mean", type = "f32[3]"} : f32[3]
  %5 = parameter() {key = "var", type = "f32[3]"} : f32[3]
)";
constexpr std::string_view kTypes = " : (f32[2, 3, 4, 4], f32[3], f32[3], f32[3], f32[3])\n";

/// The norm's operands and then `rest`.
std::string body(std::string_view rest) {
  std::string text(kNorm);
  return text + std::string(rest);
}

/// `remark` is the only one of the norms.
void expect(const std::string& before, const std::string& after, const std::string& remark) {
  Graph graph = parse_body(before);
  ASSERT_EQ(body_of(graph), before) << "the case is not written in canonical text";
  const TensorMap expected = evaluate_filled(graph);
  PassContext context;
  fuse_for_training(graph, context);
  EXPECT_EQ(to_lines(context.remarks), remark);
  EXPECT_EQ(body_of(graph), after);
  EXPECT_LE(worst_difference(expected, evaluate_filled(graph)), 1e-12);
}

constexpr const char* kForeignAddition =
    "missed fuse-norm-tail @ : batch_norm_train+add: what is added is of another type, or depends "
    "on "
    "the norm's statistics\n";

std::string norm(int number, std::string_view operands, std::string_view attributes) {
  return "  %" + std::to_string(number) + ":5 = batch_norm_train(" + std::string(operands) + ")" +
         std::string(attributes) + std::string(kTypes);
}

TEST(FuseTraining, ANormTakesReluAsItsTail) {
  expect(body(norm(6, "%0, %2, %3, %4, %5", "") +
              "  %7 = relu(%6.0) : f32[2, 3, 4, 4]\n  return \"y\" = %7, \"m\" = %6.3\n"),
         body(norm(6, "%0, %2, %3, %4, %5", " {tail = [\"relu\"]}") +
              "  return \"y\" = %6.0, \"m\" = %6.3\n"),
         "applied fuse-norm-tail @ : batch_norm_train+relu\n");
}

TEST(FuseTraining, ANormTakesAnAdditionAndRelu) {
  expect(body(norm(6, "%0, %2, %3, %4, %5", "") + "  %7 = add(%1, %6.0) : f32[2, 3, 4, 4]\n" +
              "  %8 = relu(%7) : f32[2, 3, 4, 4]\n  return \"y\" = %8\n"),
         body(norm(6, "%0, %2, %3, %4, %5, %1", " {tail = [\"add\", \"relu\"]}") +
              "  return \"y\" = %6.0\n"),
         "applied fuse-norm-tail @ : batch_norm_train+add+relu\n");
}

TEST(FuseTraining, ANormTakesAPreluWithItsSlope) {
  const std::string slope = "  %6 = parameter() {key = \"slope\", type = \"f32[3]\"} : f32[3]\n";
  expect(body(slope + norm(7, "%0, %2, %3, %4, %5", "") +
              "  %8 = prelu(%7.0, %6) : f32[2, 3, 4, 4]\n  return \"y\" = %8\n"),
         body(slope + norm(7, "%0, %2, %3, %4, %5, %6", " {tail = [\"prelu\"]}") +
              "  return \"y\" = %7.0\n"),
         "applied fuse-norm-tail @ : batch_norm_train+prelu\n");
}

TEST(FuseTraining, ANormThatOthersReadStaysAlone) {
  const std::string text =
      body(norm(6, "%0, %2, %3, %4, %5", "") +
           "  %7 = relu(%6.0) : f32[2, 3, 4, 4]\n  return \"y\" = %7, \"z\" = %6.0\n");
  expect(
      text, text,
      "missed fuse-norm-tail @ : batch_norm_train+relu: others read the normalised value, too\n");
}

TEST(FuseTraining, AResidualThatReadsTheNormStaysOutside) {
  const std::string text =
      body(norm(6, "%0, %2, %3, %4, %5", "") +
           "  %7 = reshape(%6.3) {shape = [1, 3, 1, 1]} : f32[1, 3, 1, 1]\n" +
           "  %8 = mul(%1, %7) : f32[2, 3, 4, 4]\n  %9 = add(%6.0, %8) : f32[2, 3, 4, 4]\n" +
           "  return \"y\" = %9\n");
  expect(text, text, kForeignAddition);
}

TEST(FuseTraining, ABroadcastAdditionStaysOutside) {
  const std::string text = body("  %6 = reshape(%2) {shape = [1, 3, 1, 1]} : f32[1, 3, 1, 1]\n" +
                                norm(7, "%0, %2, %3, %4, %5", "") +
                                "  %8 = add(%7.0, %6) : f32[2, 3, 4, 4]\n  return \"y\" = %8\n");
  expect(text, text, kForeignAddition);
}

constexpr std::string_view kFlatTypes = " : (f32[2, 3, 16], f32[3], f32[3], f32[3], f32[3])\n";

TEST(FuseTraining, ANormOfAFlattenedMapComesAheadOfTheFlattening) {
  expect(body("  %6 = reshape(%0) {shape = [2, 3, 16]} : f32[2, 3, 16]\n"
              "  %7:5 = batch_norm_train(%6, %2, %3, %4, %5)" +
              std::string(kFlatTypes) + "  return \"y\" = %7.0, \"m\" = %7.3\n"),
         body(norm(6, "%0, %2, %3, %4, %5", "") +
              "  %7 = reshape(%6.0) {shape = [0, 0, -1]} : f32[2, 3, 16]\n"
              "  return \"y\" = %7, \"m\" = %6.3\n"),
         "");
}

TEST(FuseTraining, ANormStaysBehindAFlatteningThatOthersReadToo) {
  const std::string text = body(
      "  %6 = reshape(%0) {shape = [2, 3, 16]} : f32[2, 3, 16]\n"
      "  %7:5 = batch_norm_train(%6, %2, %3, %4, %5)" +
      std::string(kFlatTypes) + "  return \"y\" = %7.0, \"flat\" = %6\n");
  expect(text, text, "");
}

TEST(FuseTraining, ANormStaysBehindAReshapeThatMovesChannels) {
  const std::string text = body(
      "  %6 = reshape(%0) {shape = [4, 3, 8]} : f32[4, 3, 8]\n"
      "  %7:5 = batch_norm_train(%6, %2, %3, %4, %5) : (f32[4, 3, 8], f32[3], f32[3], f32[3], "
      "f32[3])\n  return \"y\" = %7.0\n");
  expect(text, text, "");
}

TEST(FuseTraining, ANormOfAFlattenedMapKeepsItsTail) {
  const std::string flat = "  %6 = reshape(%0) {shape = [2, 3, 16]} : f32[2, 3, 16]\n";
  expect(body(flat + "  %7:5 = batch_norm_train(%6, %2, %3, %4, %5)" + std::string(kFlatTypes) +
              "  %8 = relu(%7.0) : f32[2, 3, 16]\n  return \"y\" = %8\n"),
         body(flat + "  %7:5 = batch_norm_train(%6, %2, %3, %4, %5) {tail = [\"relu\"]}" +
              std::string(kFlatTypes) + "  return \"y\" = %7.0\n"),
         "applied fuse-norm-tail @ : batch_norm_train+relu\n");
}

TEST(FuseTraining, MergedBranchesHaveOneGradientOfDataAndOneOfWeights) {
  const Graph graph = zoo::build("lscnn_small").with_symbol("N", 2);
  const auto count = [&](bool fuse, std::string_view kind) {
    int found = 0;
    const Graph product = vector_jacobian_product(graph, {"logits"}, fuse);
    for (const auto& node : product.nodes()) found += node->is(kind) ? 1 : 0;
    return found;
  };
  const int branches = count(true, "conv_branches");
  EXPECT_GT(branches, 0);
  // Every merge is of three convolutions: two gradients less of each kind.
  EXPECT_EQ(count(false, "conv_bwd_data") - count(true, "conv_bwd_data"), 2 * branches);
  EXPECT_EQ(count(false, "conv_bwd_weights") - count(true, "conv_bwd_weights"), 2 * branches);
}

}  // namespace
}  // namespace facet::testing
