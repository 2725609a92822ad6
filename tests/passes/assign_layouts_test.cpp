#include "ir/error.h"
#include "tests/ir/error_of.h"
#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;
using testing::FakeTarget;

constexpr std::string_view kPass = "assign-layouts";

/// Wants `image` of a conv's input and result and `weight` of its weight; linears row-major.
PassContext wishes(FakeTarget& target, std::string image, std::string weight) {
  target.layouts = [=, plain = target.layouts](const Node& node) {
    LayoutChoice choice = plain(node);
    if (!node.is("conv")) return choice;
    choice.operands[0] = image;
    choice.operands[1] = weight;
    choice.results[0] = image;
    return choice;
  };
  PassContext context;
  context.target = &target;
  return context;
}

// The weight is a prepared value: its reorder runs once. The result is row-major for the caller.
TEST(AssignLayouts, ConvByQueryReluFollows) {
  FakeTarget target;
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[1, 64, 6, 6]"} : f32[1, 64, 6, 6]
  %1 = parameter() {key = "weight", type = "f32[64, 64, 3, 3]"} : f32[64, 64, 3, 3]
  %2 = parameter() {key = "bias", type = "f32[64]"} : f32[64]
  %3 = conv(%0, %1, %2) {epilogue = ["bias"]} : f32[1, 64, 4, 4] @ "conv"
  %4 = relu(%3) : f32[1, 64, 4, 4] @ "act"
  return "y" = %4
)",
                 R"(
  %0 = input() {name = "x", type = "f32[1, 64, 6, 6]"} : f32[1, 64, 6, 6]
  %1 = parameter() {key = "weight", type = "f32[64, 64, 3, 3]"} : f32[64, 64, 3, 3]
  %2 = parameter() {key = "bias", type = "f32[64]"} : f32[64]
  %3 = reorder(%0) {layout = "acdb"} : f32[1, 64, 6, 6]@acdb
  %4 = reorder(%1) {layout = "Acdb64a"} : f32[64, 64, 3, 3]@Acdb64a
  %5 = conv(%3, %4, %2) {epilogue = ["bias"]} : f32[1, 64, 4, 4]@acdb @ "conv"
  %6 = relu(%5) : f32[1, 64, 4, 4]@acdb @ "act"
  %7 = reorder(%6) {layout = ""} : f32[1, 64, 4, 4] @ "act"
  return "y" = %7
)",
                 wishes(target, "acdb", "Acdb64a"));
}

// Of two full-size operands the one that is not row-major leads; what is broadcast only lies as
// what it is read beside.
TEST(AssignLayouts, FollowersTakeTheLayoutOfConvolutionsInATie) {
  FakeTarget target;
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[1, 8, 4, 4]"} : f32[1, 8, 4, 4]
  %1 = input() {name = "r", type = "f32[1, 8, 4, 4]"} : f32[1, 8, 4, 4]
  %2 = input() {name = "p", type = "f32[1, 8, 1, 1]"} : f32[1, 8, 1, 1]
  %3 = parameter() {key = "weight", type = "f32[8, 8, 1, 1]"} : f32[8, 8, 1, 1]
  %4 = conv(%0, %3) : f32[1, 8, 4, 4] @ "conv"
  %5 = add(%1, %4) : f32[1, 8, 4, 4] @ "add"
  %6 = expand(%2) {shape = [1, 8, 4, 4]} : f32[1, 8, 4, 4] @ "expand"
  %7 = mul(%6, %5) : f32[1, 8, 4, 4] @ "mul"
  return "y" = %7
)",
                 R"(
  %0 = input() {name = "x", type = "f32[1, 8, 4, 4]"} : f32[1, 8, 4, 4]
  %1 = input() {name = "r", type = "f32[1, 8, 4, 4]"} : f32[1, 8, 4, 4]
  %2 = input() {name = "p", type = "f32[1, 8, 1, 1]"} : f32[1, 8, 1, 1]
  %3 = parameter() {key = "weight", type = "f32[8, 8, 1, 1]"} : f32[8, 8, 1, 1]
  %4 = reorder(%0) {layout = "acdb"} : f32[1, 8, 4, 4]@acdb
  %5 = conv(%4, %3) : f32[1, 8, 4, 4]@acdb @ "conv"
  %6 = reorder(%1) {layout = "acdb"} : f32[1, 8, 4, 4]@acdb
  %7 = add(%6, %5) : f32[1, 8, 4, 4]@acdb @ "add"
  %8 = expand(%2) {shape = [1, 8, 4, 4]} : f32[1, 8, 4, 4]@acdb @ "expand"
  %9 = mul(%8, %7) : f32[1, 8, 4, 4]@acdb @ "mul"
  %10 = reorder(%9) {layout = ""} : f32[1, 8, 4, 4] @ "mul"
  return "y" = %10
)",
                 wishes(target, "acdb", ""));
}

// Blocked: what follows stays blocked, what reads axes or reshapes gets row-major, and a value that
// is read in one layout twice is reordered once.
TEST(AssignLayouts, BlockedValues) {
  FakeTarget target;
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[1, 16, 4, 4]"} : f32[1, 16, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %2 = conv(%0, %1) : f32[1, 16, 4, 4] @ "conv1"
  %3 = sigmoid(%2) : f32[1, 16, 4, 4]
  %4 = conv(%3, %1) : f32[1, 16, 4, 4] @ "conv2"
  %5 = max_pool(%4) : f32[1, 16, 2, 2]
  %6 = reshape(%4) {shape = [1, 256]} : f32[1, 256]
  return "a" = %5, "b" = %6
)",
                 R"(
  %0 = input() {name = "x", type = "f32[1, 16, 4, 4]"} : f32[1, 16, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %2 = reorder(%0) {layout = "aBcd16b"} : f32[1, 16, 4, 4]@aBcd16b
  %3 = reorder(%1) {layout = "ABcd16b16a"} : f32[16, 16, 1, 1]@ABcd16b16a
  %4 = conv(%2, %3) : f32[1, 16, 4, 4]@aBcd16b @ "conv1"
  %5 = sigmoid(%4) : f32[1, 16, 4, 4]@aBcd16b
  %6 = conv(%5, %3) : f32[1, 16, 4, 4]@aBcd16b @ "conv2"
  %7 = reorder(%6) {layout = ""} : f32[1, 16, 4, 4] @ "conv2"
  %8 = max_pool(%7) : f32[1, 16, 2, 2]
  %9 = reshape(%7) {shape = [1, 256]} : f32[1, 256]
  return "a" = %8, "b" = %9
)",
                 wishes(target, "aBcd16b", "ABcd16b16a"));
}

// A full-size operand is brought to the leading layout, a broadcast one is read by its strides; a
// blocked one cannot be.
TEST(AssignLayouts, FollowWithSeveralOperands) {
  FakeTarget target;
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[2, 16, 4, 4]"} : f32[2, 16, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %2 = parameter() {key = "scale", type = "f32[16, 1, 1]"} : f32[16, 1, 1]
  %3 = conv(%0, %1) : f32[2, 16, 4, 4] @ "conv"
  %4 = add(%3, %0) : f32[2, 16, 4, 4]
  %5 = mul(%4, %2) : f32[2, 16, 4, 4]
  %6 = reduce_mean(%5) {axes = [2, 3]} : f32[2, 16, 1, 1]
  %7 = mul(%5, %6) : f32[2, 16, 4, 4]
  %8 = reduce_max(%5) {axes = [1]} : f32[2, 1, 4, 4]
  %9 = mul(%6, %8) : f32[2, 16, 4, 4]
  %10 = add(%7, %9) : f32[2, 16, 4, 4]
  return "y" = %10
)",
                 R"(
  %0 = input() {name = "x", type = "f32[2, 16, 4, 4]"} : f32[2, 16, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %2 = parameter() {key = "scale", type = "f32[16, 1, 1]"} : f32[16, 1, 1]
  %3 = reorder(%0) {layout = "acdb"} : f32[2, 16, 4, 4]@acdb
  %4 = conv(%3, %1) : f32[2, 16, 4, 4]@acdb @ "conv"
  %5 = add(%4, %3) : f32[2, 16, 4, 4]@acdb
  %6 = mul(%5, %2) : f32[2, 16, 4, 4]@acdb
  %7 = reduce_mean(%6) {axes = [2, 3]} : f32[2, 16, 1, 1]@acdb
  %8 = mul(%6, %7) : f32[2, 16, 4, 4]@acdb
  %9 = reduce_max(%6) {axes = [1]} : f32[2, 1, 4, 4]@acdb
  %10 = mul(%7, %9) : f32[2, 16, 4, 4]@acdb
  %11 = add(%8, %10) : f32[2, 16, 4, 4]@acdb
  %12 = reorder(%11) {layout = ""} : f32[2, 16, 4, 4]
  return "y" = %12
)",
                 wishes(target, "acdb", ""));
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[2, 16, 4, 4]"} : f32[2, 16, 4, 4]
  %1 = input() {name = "s", type = "f32[2, 16, 1, 1]"} : f32[2, 16, 1, 1]
  %2 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %3 = conv(%1, %2) : f32[2, 16, 1, 1] @ "gate"
  %4 = mul(%0, %3) : f32[2, 16, 4, 4]
  %5 = mul(%3, %1) : f32[2, 16, 1, 1]
  return "y" = %4, "z" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[2, 16, 4, 4]"} : f32[2, 16, 4, 4]
  %1 = input() {name = "s", type = "f32[2, 16, 1, 1]"} : f32[2, 16, 1, 1]
  %2 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %3 = reorder(%1) {layout = "aBcd16b"} : f32[2, 16, 1, 1]@aBcd16b
  %4 = conv(%3, %2) : f32[2, 16, 1, 1]@aBcd16b @ "gate"
  %5 = reorder(%4) {layout = ""} : f32[2, 16, 1, 1] @ "gate"
  %6 = mul(%0, %5) : f32[2, 16, 4, 4]
  %7 = mul(%4, %3) : f32[2, 16, 1, 1]@aBcd16b
  %8 = reorder(%7) {layout = ""} : f32[2, 16, 1, 1]
  return "y" = %6, "z" = %8
)",
                 wishes(target, "aBcd16b", ""));
}

// Concat, slice and reductions work in the layout they get; where the rank changes, row-major comes
// out.
TEST(AssignLayouts, AxisAware) {
  FakeTarget target;
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[2, 8, 4, 4]"} : f32[2, 8, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[8, 8, 1, 1]"} : f32[8, 8, 1, 1]
  %2 = parameter() {key = "map", type = "f32[2, 8, 4, 4]"} : f32[2, 8, 4, 4]
  %3 = conv(%0, %1) : f32[2, 8, 4, 4] @ "conv"
  %4 = concat(%2, %3, %0) {axis = 1} : f32[2, 24, 4, 4]
  %5 = slice(%4) {axis = 1, end = 12, start = 4} : f32[2, 8, 4, 4]
  %6 = reduce_mean(%5) {axes = [2, 3], keepdims = false} : f32[2, 8]
  return "y" = %6
)",
                 R"(
  %0 = input() {name = "x", type = "f32[2, 8, 4, 4]"} : f32[2, 8, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[8, 8, 1, 1]"} : f32[8, 8, 1, 1]
  %2 = parameter() {key = "map", type = "f32[2, 8, 4, 4]"} : f32[2, 8, 4, 4]
  %3 = reorder(%0) {layout = "acdb"} : f32[2, 8, 4, 4]@acdb
  %4 = conv(%3, %1) : f32[2, 8, 4, 4]@acdb @ "conv"
  %5 = reorder(%2) {layout = "acdb"} : f32[2, 8, 4, 4]@acdb
  %6 = concat(%5, %4, %3) {axis = 1} : f32[2, 24, 4, 4]@acdb
  %7 = slice(%6) {axis = 1, end = 12, start = 4} : f32[2, 8, 4, 4]@acdb
  %8 = reduce_mean(%7) {axes = [2, 3], keepdims = false} : f32[2, 8]
  return "y" = %8
)",
                 wishes(target, "acdb", ""));
}

// A transpose reads any layout that has no blocks.
TEST(AssignLayouts, Plain) {
  FakeTarget target;
  const std::string_view body = R"(
  %0 = input() {name = "x", type = "f32[2, 16, 4, 4]"} : f32[2, 16, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %2 = conv(%0, %1) : f32[2, 16, 4, 4] @ "conv"
  %3 = transpose(%2) {permutation = [0, 2, 3, 1]} : f32[2, 4, 4, 16]
  %4 = softmax(%3) {axis = 3} : f32[2, 4, 4, 16]
  return "y" = %4
)";
  expect_rewrite(kPass, body, R"(
  %0 = input() {name = "x", type = "f32[2, 16, 4, 4]"} : f32[2, 16, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %2 = reorder(%0) {layout = "acdb"} : f32[2, 16, 4, 4]@acdb
  %3 = conv(%2, %1) : f32[2, 16, 4, 4]@acdb @ "conv"
  %4 = transpose(%3) {permutation = [0, 2, 3, 1]} : f32[2, 4, 4, 16]
  %5 = softmax(%4) {axis = 3} : f32[2, 4, 4, 16]
  return "y" = %5
)",
                 wishes(target, "acdb", ""));
  expect_rewrite(kPass, body, R"(
  %0 = input() {name = "x", type = "f32[2, 16, 4, 4]"} : f32[2, 16, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %2 = reorder(%0) {layout = "aBcd16b"} : f32[2, 16, 4, 4]@aBcd16b
  %3 = conv(%2, %1) : f32[2, 16, 4, 4]@aBcd16b @ "conv"
  %4 = reorder(%3) {layout = ""} : f32[2, 16, 4, 4] @ "conv"
  %5 = transpose(%4) {permutation = [0, 2, 3, 1]} : f32[2, 4, 4, 16]
  %6 = softmax(%5) {axis = 3} : f32[2, 4, 4, 16]
  return "y" = %6
)",
                 wishes(target, "aBcd16b", ""));
}

// What parameters alone decide is computed row-major, and reordered once for two readers.
TEST(AssignLayouts, PreparedValuesStayRowMajor) {
  FakeTarget target;
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[2, 16, 4, 4]"} : f32[2, 16, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %2 = parameter() {key = "scale", type = "f32[16, 1, 1, 1]"} : f32[16, 1, 1, 1]
  %3 = mul(%1, %2) : f32[16, 16, 1, 1]
  %4 = conv(%0, %3) : f32[2, 16, 4, 4] @ "conv1"
  %5 = conv(%4, %3) : f32[2, 16, 4, 4] @ "conv2"
  return "y" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[2, 16, 4, 4]"} : f32[2, 16, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %2 = parameter() {key = "scale", type = "f32[16, 1, 1, 1]"} : f32[16, 1, 1, 1]
  %3 = mul(%1, %2) : f32[16, 16, 1, 1]
  %4 = reorder(%0) {layout = "acdb"} : f32[2, 16, 4, 4]@acdb
  %5 = reorder(%3) {layout = "Acdb16a"} : f32[16, 16, 1, 1]@Acdb16a
  %6 = conv(%4, %5) : f32[2, 16, 4, 4]@acdb @ "conv1"
  %7 = conv(%6, %5) : f32[2, 16, 4, 4]@acdb @ "conv2"
  %8 = reorder(%7) {layout = ""} : f32[2, 16, 4, 4] @ "conv2"
  return "y" = %8
)",
                 wishes(target, "acdb", "Acdb16a"));
}

TEST(AssignLayouts, TwiceIsOnce) {
  FakeTarget target;
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[2, 16, 4, 4]"} : f32[2, 16, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %2 = conv(%0, %1) : f32[2, 16, 4, 4]
  %3 = add(%2, %0) : f32[2, 16, 4, 4]
  return "y" = %3
)");
  PassContext context = wishes(target, "acdb", "Acdb16a");
  EXPECT_TRUE(assign_layouts(graph, context));
  EXPECT_FALSE(assign_layouts(graph, context));
}

// State of rank 4 lies as convolutions read it, its update follows; one that is read as rows, or
// whose new value is made so, is converted there. Outputs are row-major.
TEST(AssignLayouts, StateLiesAsTheTargetWants) {
  FakeTarget target;
  PassContext context = wishes(target, "acdb", "acdb");
  target.layout_of_state = [](const Type& type) { return type.rank() == 4 ? "acdb" : ""; };
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[1, 8, 6, 6]"} : f32[1, 8, 6, 6]
  %1 = input() {name = "g", type = "f32[4, 8, 3, 3]"} : f32[4, 8, 3, 3]
  %2 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %3 = parameter() {key = "w", mutable = true, type = "f32[4, 8, 3, 3]"} : f32[4, 8, 3, 3]
  %4 = parameter() {key = "w.v", mutable = true, type = "f32[4, 8, 3, 3]"} : f32[4, 8, 3, 3]
  %5 = parameter() {key = "w.rows", mutable = true, type = "f32[4, 8, 3, 3]"} : f32[4, 8, 3, 3]
  %6 = conv(%0, %3) : f32[1, 4, 4, 4]
  %7:2 = sgd_update(%3, %4, %1, %2) : (f32[4, 8, 3, 3], f32[4, 8, 3, 3])
  %8 = reshape(%7.0) {shape = [288]} : f32[288]
  %9 = exp(%8) : f32[288]
  %10 = reshape(%9) {shape = [4, 8, 3, 3]} : f32[4, 8, 3, 3]
  update "w" = %7.0
  update "w.v" = %7.1
  update "w.rows" = %10
  return "y" = %6, "w" = %3
)",
                 R"(
  %0 = input() {name = "x", type = "f32[1, 8, 6, 6]"} : f32[1, 8, 6, 6]
  %1 = input() {name = "g", type = "f32[4, 8, 3, 3]"} : f32[4, 8, 3, 3]
  %2 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %3 = parameter() {key = "w", mutable = true, type = "f32[4, 8, 3, 3]"} : f32[4, 8, 3, 3]@acdb
  %4 = parameter() {key = "w.v", mutable = true, type = "f32[4, 8, 3, 3]"} : f32[4, 8, 3, 3]@acdb
  %5 = parameter() {key = "w.rows", mutable = true, type = "f32[4, 8, 3, 3]"} : f32[4, 8, 3, 3]@acdb
  %6 = reorder(%0) {layout = "acdb"} : f32[1, 8, 6, 6]@acdb
  %7 = conv(%6, %3) : f32[1, 4, 4, 4]@acdb
  %8 = reorder(%1) {layout = "acdb"} : f32[4, 8, 3, 3]@acdb
  %9:2 = sgd_update(%3, %4, %8, %2) : (f32[4, 8, 3, 3]@acdb, f32[4, 8, 3, 3]@acdb)
  %10 = reorder(%9.0) {layout = ""} : f32[4, 8, 3, 3]
  %11 = reshape(%10) {shape = [288]} : f32[288]
  %12 = exp(%11) : f32[288]
  %13 = reshape(%12) {shape = [4, 8, 3, 3]} : f32[4, 8, 3, 3]
  %14 = reorder(%7) {layout = ""} : f32[1, 4, 4, 4]
  %15 = reorder(%3) {layout = ""} : f32[4, 8, 3, 3]
  %16 = reorder(%13) {layout = "acdb"} : f32[4, 8, 3, 3]@acdb
  update "w" = %9.0
  update "w.v" = %9.1
  update "w.rows" = %16
  return "y" = %14, "w" = %15
)",
                 context);
}

// Channels in pairs: nothing moves ahead of the sum over them, nor behind it. A reader that wants
// rows gets them, and with it the reshape.
TEST(AssignLayouts, AReshapeKeepsTheOrderInMemoryForReadersThatTakeIt) {
  FakeTarget target;
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[2, 8, 3, 3]"} : f32[2, 8, 3, 3]
  %1 = parameter() {key = "weight", type = "f32[8, 8, 1, 1]"} : f32[8, 8, 1, 1]
  %2 = conv(%0, %1) : f32[2, 8, 3, 3]
  %3 = reshape(%2) {shape = [2, 4, 2, 9]} : f32[2, 4, 2, 9]
  %4 = reduce_sum(%3) {axes = [2]} : f32[2, 4, 1, 9]
  %5 = expand(%4) {shape = [2, 4, 2, 9]} : f32[2, 4, 2, 9]
  %6 = reshape(%5) {shape = [2, 8, 3, 3]} : f32[2, 8, 3, 3]
  %7 = conv(%6, %1) : f32[2, 8, 3, 3]
  %8 = reshape(%7) {shape = [2, 8, 9]} : f32[2, 8, 9]
  %9 = matmul(%8, %8) {transpose_b = true} : f32[2, 8, 8]
  %10 = reshape(%7) {shape = [2, 72]} : f32[2, 72]
  %11 = relu(%10) : f32[2, 72]
  return "a" = %9, "b" = %11
)",
                 R"(
  %0 = input() {name = "x", type = "f32[2, 8, 3, 3]"} : f32[2, 8, 3, 3]
  %1 = parameter() {key = "weight", type = "f32[8, 8, 1, 1]"} : f32[8, 8, 1, 1]
  %2 = reorder(%0) {layout = "acdb"} : f32[2, 8, 3, 3]@acdb
  %3 = conv(%2, %1) : f32[2, 8, 3, 3]@acdb
  %4 = reshape(%3) {shape = [2, 4, 2, 9]} : f32[2, 4, 2, 9]@adbc
  %5 = reduce_sum(%4) {axes = [2]} : f32[2, 4, 1, 9]@adbc
  %6 = expand(%5) {shape = [2, 4, 2, 9]} : f32[2, 4, 2, 9]@adbc
  %7 = reshape(%6) {shape = [2, 8, 3, 3]} : f32[2, 8, 3, 3]@acdb
  %8 = conv(%7, %1) : f32[2, 8, 3, 3]@acdb
  %9 = reorder(%8) {layout = ""} : f32[2, 8, 3, 3]
  %10 = reshape(%9) {shape = [2, 8, 9]} : f32[2, 8, 9]
  %11 = matmul(%10, %10) {transpose_b = true} : f32[2, 8, 8]
  %12 = reshape(%9) {shape = [2, 72]} : f32[2, 72]
  %13 = relu(%12) : f32[2, 72]
  return "a" = %11, "b" = %13
)",
                 wishes(target, "acdb", ""));
}

// Refusals.
TEST(AssignLayouts, RefusesToChangeWhatFits) {
  FakeTarget target;
  const std::string_view body = R"(
  %0 = input() {name = "x", type = "f32[2, 16, 4, 4]"} : f32[2, 16, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %2 = conv(%0, %1) : f32[2, 16, 4, 4]
  %3 = relu(%2) : f32[2, 16, 4, 4]
  return "y" = %3
)";
  expect_refusal(kPass, body, wishes(target, "", ""));
  expect_refusal(kPass, body);  // no target, no wishes
}

TEST(AssignLayouts, SymbolicShapesAreAnError) {
  FakeTarget target;
  PassContext context = wishes(target, "acdb", "");
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[N, 16, 4, 4]"} : f32[N, 16, 4, 4] @ "x"
  return "y" = %0
)");
  EXPECT_EQ(test::error_of([&] { assign_layouts(graph, context); }, ErrorKind::failure),
            "layouts need static shapes, but input (x) is f32[N, 16, 4, 4]");
}

}  // namespace
}  // namespace facet
