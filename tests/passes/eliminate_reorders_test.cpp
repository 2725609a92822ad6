#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;

constexpr std::string_view kPass = "eliminate-reorders";

TEST(EliminateReorders, ToTheLayoutThereIs) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[1, 4, 2, 2]"} : f32[1, 4, 2, 2]
  %1 = reorder(%0) {layout = ""} : f32[1, 4, 2, 2]
  %2 = relu(%1) : f32[1, 4, 2, 2]
  return "y" = %2
)",
                 R"(
  %0 = input() {name = "x", type = "f32[1, 4, 2, 2]"} : f32[1, 4, 2, 2]
  %1 = relu(%0) : f32[1, 4, 2, 2]
  return "y" = %1
)");
}

// There and back again is nothing; to a third layout is one step.
TEST(EliminateReorders, TwoInARow) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[1, 16, 2, 2]"} : f32[1, 16, 2, 2]
  %1 = reorder(%0) {layout = "acdb"} : f32[1, 16, 2, 2]@acdb
  %2 = reorder(%1) {layout = ""} : f32[1, 16, 2, 2]
  %3 = relu(%2) : f32[1, 16, 2, 2]
  %4 = reorder(%3) {layout = "acdb"} : f32[1, 16, 2, 2]@acdb
  %5 = reorder(%4) {layout = "aBcd16b"} : f32[1, 16, 2, 2]@aBcd16b
  %6 = exp(%5) : f32[1, 16, 2, 2]@aBcd16b
  %7 = reorder(%6) {layout = ""} : f32[1, 16, 2, 2]
  return "y" = %7
)",
                 R"(
  %0 = input() {name = "x", type = "f32[1, 16, 2, 2]"} : f32[1, 16, 2, 2]
  %1 = relu(%0) : f32[1, 16, 2, 2]
  %2 = reorder(%1) {layout = "aBcd16b"} : f32[1, 16, 2, 2]@aBcd16b
  %3 = exp(%2) : f32[1, 16, 2, 2]@aBcd16b
  %4 = reorder(%3) {layout = ""} : f32[1, 16, 2, 2]
  return "y" = %4
)");
}

// Another reader keeps the first reorder.
TEST(EliminateReorders, TheFirstOfTwoStaysForItsOtherReader) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[1, 16, 2, 2]"} : f32[1, 16, 2, 2]
  %1 = reorder(%0) {layout = "acdb"} : f32[1, 16, 2, 2]@acdb
  %2 = relu(%1) : f32[1, 16, 2, 2]@acdb
  %3 = reorder(%1) {layout = "aBcd16b"} : f32[1, 16, 2, 2]@aBcd16b
  %4 = reorder(%2) {layout = ""} : f32[1, 16, 2, 2]
  %5 = reorder(%3) {layout = ""} : f32[1, 16, 2, 2]
  return "a" = %4, "b" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[1, 16, 2, 2]"} : f32[1, 16, 2, 2]
  %1 = reorder(%0) {layout = "acdb"} : f32[1, 16, 2, 2]@acdb
  %2 = relu(%1) : f32[1, 16, 2, 2]@acdb
  %3 = reorder(%2) {layout = ""} : f32[1, 16, 2, 2]
  return "a" = %3, "b" = %0
)");
}

TEST(EliminateReorders, ACastWritesTheLayoutItself) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[1, 4, 2, 2]"} : f32[1, 4, 2, 2]
  %1 = cast(%0) {dtype = "bf16"} : bf16[1, 4, 2, 2]
  %2 = reorder(%1) {layout = "acdb"} : bf16[1, 4, 2, 2]@acdb
  %3 = relu(%2) : bf16[1, 4, 2, 2]@acdb
  %4 = cast(%3) {dtype = "f32"} : f32[1, 4, 2, 2]@acdb
  %5 = reorder(%4) {layout = ""} : f32[1, 4, 2, 2]
  return "y" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[1, 4, 2, 2]"} : f32[1, 4, 2, 2]
  %1 = cast(%0) {dtype = "bf16"} : bf16[1, 4, 2, 2]@acdb
  %2 = relu(%1) : bf16[1, 4, 2, 2]@acdb
  %3 = cast(%2) {dtype = "f32"} : f32[1, 4, 2, 2]
  return "y" = %3
)");
}

TEST(EliminateReorders, RefusesWhatChangesTheLayout) {
  expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[1, 4, 2, 2]"} : f32[1, 4, 2, 2]
  %1 = reorder(%0) {layout = "acdb"} : f32[1, 4, 2, 2]@acdb
  %2 = relu(%1) : f32[1, 4, 2, 2]@acdb
  %3 = reorder(%2) {layout = ""} : f32[1, 4, 2, 2]
  return "y" = %3
)");
}

TEST(EliminateReorders, RefusesACastWithOtherReaders) {
  expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[1, 4, 2, 2]"} : f32[1, 4, 2, 2]
  %1 = cast(%0) {dtype = "bf16"} : bf16[1, 4, 2, 2]
  %2 = reorder(%1) {layout = "acdb"} : bf16[1, 4, 2, 2]@acdb
  %3 = relu(%2) : bf16[1, 4, 2, 2]@acdb
  %4 = softmax(%1) {axis = 1} : bf16[1, 4, 2, 2]
  %5 = reorder(%3) {layout = ""} : bf16[1, 4, 2, 2]
  return "a" = %4, "b" = %5
)");
  expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[1, 4, 2, 2]"} : f32[1, 4, 2, 2]
  %1 = cast(%0) {dtype = "bf16"} : bf16[1, 4, 2, 2]
  %2 = reorder(%1) {layout = "acdb"} : bf16[1, 4, 2, 2]@acdb
  %3 = relu(%2) : bf16[1, 4, 2, 2]@acdb
  %4 = reorder(%3) {layout = ""} : bf16[1, 4, 2, 2]
  return "a" = %1, "b" = %4
)");
}

// Blocks on either side, and weights, which run once: their kernels read what the reorder makes.
TEST(EliminateReorders, RefusesBlocksAndWeights) {
  expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[1, 16, 2, 2]"} : f32[1, 16, 2, 2]
  %1 = parameter() {key = "weight", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %2 = cast(%0) {dtype = "bf16"} : bf16[1, 16, 2, 2]
  %3 = reorder(%2) {layout = "aBcd16b"} : bf16[1, 16, 2, 2]@aBcd16b
  %4 = cast(%1) {dtype = "bf16"} : bf16[16, 16, 1, 1]
  %5 = reorder(%4) {layout = "bcda"} : bf16[16, 16, 1, 1]@bcda
  %6 = conv(%3, %5) : bf16[1, 16, 2, 2]@aBcd16b
  %7 = cast(%6) {dtype = "f32"} : f32[1, 16, 2, 2]@aBcd16b
  %8 = reorder(%7) {layout = ""} : f32[1, 16, 2, 2]
  return "y" = %8
)");
}

}  // namespace
}  // namespace facet
