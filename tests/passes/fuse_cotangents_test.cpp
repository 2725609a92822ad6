#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::changed;
using testing::expect_refusal;
using testing::expect_rewrite;
using testing::FakeTarget;
using testing::to_lines;

constexpr std::string_view kPass = "fuse-cotangents";

/// Two cotangents of what a norm, a residual and a relu make.
constexpr std::string_view kTwo = R"(
  %0 = input() {name = "a", type = "f32[N, 4, 3, 3]"} : f32[N, 4, 3, 3] @ "next.conv1"
  %1 = input() {name = "b", type = "f32[N, 4, 3, 3]"} : f32[N, 4, 3, 3] @ "next.bn3"
  %2 = input() {name = "x", type = "f32[N, 4, 3, 3]"} : f32[N, 4, 3, 3] @ "bn3"
  %3 = input() {name = "y", type = "f32[N, 4, 3, 3]"} : f32[N, 4, 3, 3] @ "bn3"
  %4 = parameter() {key = "n.gamma", type = "f32[4]"} : f32[4] @ "bn3"
  %5 = parameter() {key = "n.mean", type = "f32[4]"} : f32[4] @ "bn3"
  %6 = parameter() {key = "n.var", type = "f32[4]"} : f32[4] @ "bn3"
  %7 = add(%0, %1) : f32[N, 4, 3, 3] @ "next"
  %8:4 = batch_norm_bwd(%7, %2, %4, %5, %6, %3) {tail = ["add", "relu"]} : (f32[N, 4, 3, 3], f32[4], f32[4], f32[N, 4, 3, 3]) @ "bn3"
  return "dx" = %8.0, "dscale" = %8.1, "dbias" = %8.2, "dr" = %8.3
)";

TEST(FuseCotangents, TheSumIsTakenWhereItIsRead) {
  const auto remarks = expect_rewrite(kPass, kTwo, R"(
  %0 = input() {name = "a", type = "f32[N, 4, 3, 3]"} : f32[N, 4, 3, 3] @ "next.conv1"
  %1 = input() {name = "b", type = "f32[N, 4, 3, 3]"} : f32[N, 4, 3, 3] @ "next.bn3"
  %2 = input() {name = "x", type = "f32[N, 4, 3, 3]"} : f32[N, 4, 3, 3] @ "bn3"
  %3 = input() {name = "y", type = "f32[N, 4, 3, 3]"} : f32[N, 4, 3, 3] @ "bn3"
  %4 = parameter() {key = "n.gamma", type = "f32[4]"} : f32[4] @ "bn3"
  %5 = parameter() {key = "n.mean", type = "f32[4]"} : f32[4] @ "bn3"
  %6 = parameter() {key = "n.var", type = "f32[4]"} : f32[4] @ "bn3"
  %7:4 = batch_norm_bwd(%0, %2, %4, %5, %6, %3, %1) {tail = ["add", "relu"]} : (f32[N, 4, 3, 3], f32[4], f32[4], f32[N, 4, 3, 3]) @ "bn3"
  return "dx" = %7.0, "dscale" = %7.1, "dbias" = %7.2, "dr" = %7.3
)");
  EXPECT_EQ(to_lines(remarks), "applied fuse-cotangents @ bn3: batch_norm_bwd+add\n");
}

TEST(FuseCotangents, ASumThatOthersRead) {
  const std::string body = changed(kTwo, "return", "return \"sum\" = %7,");
  EXPECT_EQ(to_lines(expect_refusal(kPass, body)),
            "missed fuse-cotangents @ bn3: batch_norm_bwd+add: the sum of its cotangents has other "
            "readers\n");
}

TEST(FuseCotangents, ACotangentThatIsBroadcast) {
  std::string body = changed(kTwo, R"("b", type = "f32[N, 4, 3, 3]"} : f32[N, 4, 3, 3])",
                             R"("b", type = "f32[N, 4, 1, 1]"} : f32[N, 4, 1, 1])");
  EXPECT_EQ(to_lines(expect_refusal(kPass, body)),
            "missed fuse-cotangents @ bn3: batch_norm_bwd+add: a cotangent is of another type than "
            "the sum\n");
}

/// A relu alone is told by x: its gradient reads the cotangent twice and writes it nowhere.
TEST(FuseCotangents, ANormWithoutResidual) {
  std::string body =
      changed(kTwo, "%6, %3) {tail = [\"add\", \"relu\"]}", "%6, %4) {tail = [\"relu\"]}");
  body = changed(body, "(f32[N, 4, 3, 3], f32[4], f32[4], f32[N, 4, 3, 3])",
                 "(f32[N, 4, 3, 3], f32[4], f32[4])");
  body = changed(body, ", \"dr\" = %8.3", ", \"y\" = %3");
  body = changed(body, "%8:4", "%8:3");
  EXPECT_EQ(to_lines(expect_refusal(kPass, body)), "");
}

TEST(FuseCotangents, ATargetThatTakesOne) {
  FakeTarget target;
  target.supported = [](const Node& node) {
    return !node.is("batch_norm_bwd") || node.operand_count() <= 6;
  };
  PassContext context;
  context.target = &target;
  EXPECT_EQ(to_lines(expect_refusal(kPass, kTwo, context)),
            "missed fuse-cotangents @ bn3: batch_norm_bwd+add: the target takes one cotangent\n");
}

}  // namespace
}  // namespace facet
