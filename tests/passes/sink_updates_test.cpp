#include "passes/sink_updates.h"

#include <gtest/gtest.h>

#include "ir/error.h"
#include "tests/ir/error_of.h"
#include "tests/passes/pass_case.h"

namespace facet::testing {
namespace {

constexpr std::string_view kEarly = R"(
  %0 = input() {name = "g", type = "f32[4]"} : f32[4]
  %1 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %2 = parameter() {key = "w", mutable = true, type = "f32[4]"} : f32[4]
  %3 = parameter() {key = "w.v", mutable = true, type = "f32[4]"} : f32[4]
  %4:2 = sgd_update(%2, %3, %0, %1) {momentum = 0.9} : (f32[4], f32[4])
  %5 = relu(%2) : f32[4]
  %6 = exp(%5) : f32[4]
  update "w" = %4.0
  update "w.v" = %4.1
  return "y" = %6
)";

TEST(SinkUpdates, MovesAnUpdateDirectlyBehindTheLastReader) {
  expect_rewrite("sink-updates", kEarly, R"(
  %0 = input() {name = "g", type = "f32[4]"} : f32[4]
  %1 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %2 = parameter() {key = "w", mutable = true, type = "f32[4]"} : f32[4]
  %3 = parameter() {key = "w.v", mutable = true, type = "f32[4]"} : f32[4]
  %4 = relu(%2) : f32[4]
  %5:2 = sgd_update(%2, %3, %0, %1) {momentum = 0.9} : (f32[4], f32[4])
  %6 = exp(%4) : f32[4]
  update "w" = %5.0
  update "w.v" = %5.1
  return "y" = %6
)");
}

TEST(SinkUpdates, LeavesAnUpdateBehindAllReaders) {
  expect_refusal("sink-updates", R"(
  %0 = input() {name = "g", type = "f32[4]"} : f32[4]
  %1 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %2 = parameter() {key = "w", mutable = true, type = "f32[4]"} : f32[4]
  %3 = parameter() {key = "w.v", mutable = true, type = "f32[4]"} : f32[4]
  %4 = relu(%2) : f32[4]
  %5:2 = sgd_update(%2, %3, %0, %1) {momentum = 0.9} : (f32[4], f32[4])
  %6 = exp(%4) : f32[4]
  update "w" = %5.0
  update "w.v" = %5.1
  return "y" = %6
)");
}

TEST(SinkUpdates, ReadersOfViewsCountAndFollowersMoveAlong) {
  // %7 reads the bytes of w through two views; the average reads the new w.
  expect_rewrite("sink-updates", R"(
  %0 = input() {name = "g", type = "f32[2, 2]"} : f32[2, 2]
  %1 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %2 = parameter() {key = "w", mutable = true, type = "f32[2, 2]"} : f32[2, 2]
  %3 = parameter() {key = "w.v", mutable = true, type = "f32[2, 2]"} : f32[2, 2]
  %4 = parameter() {key = "w.a", mutable = true, type = "f32[2, 2]"} : f32[2, 2]
  %5 = reshape(%2) {shape = [4]} : f32[4]
  %6:2 = sgd_update(%2, %3, %0, %1) : (f32[2, 2], f32[2, 2])
  %7 = ema_update(%4, %6.0) {decay = 0.5} : f32[2, 2]
  %8 = slice(%5) {axis = 0, end = 3, start = 1} : f32[2]
  %9 = exp(%8) : f32[2]
  update "w" = %6.0
  update "w.v" = %6.1
  update "w.a" = %7
  return "y" = %9
)",
                 R"(
  %0 = input() {name = "g", type = "f32[2, 2]"} : f32[2, 2]
  %1 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %2 = parameter() {key = "w", mutable = true, type = "f32[2, 2]"} : f32[2, 2]
  %3 = parameter() {key = "w.v", mutable = true, type = "f32[2, 2]"} : f32[2, 2]
  %4 = parameter() {key = "w.a", mutable = true, type = "f32[2, 2]"} : f32[2, 2]
  %5 = reshape(%2) {shape = [4]} : f32[4]
  %6 = slice(%5) {axis = 0, end = 3, start = 1} : f32[2]
  %7 = exp(%6) : f32[2]
  %8:2 = sgd_update(%2, %3, %0, %1) : (f32[2, 2], f32[2, 2])
  %9 = ema_update(%4, %8.0) {decay = 0.5} : f32[2, 2]
  update "w" = %8.0
  update "w.v" = %8.1
  update "w.a" = %9
  return "y" = %7
)");
}

TEST(SinkUpdates, AKeyThatIsReadTwiceIsOneState) {
  expect_rewrite("sink-updates", R"(
  %0 = input() {name = "g", type = "f32[4]"} : f32[4]
  %1 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %2 = parameter() {key = "w", mutable = true, type = "f32[4]"} : f32[4]
  %3 = parameter() {key = "w.v", mutable = true, type = "f32[4]"} : f32[4]
  %4:2 = sgd_update(%2, %3, %0, %1) : (f32[4], f32[4])
  %5 = parameter() {key = "w", mutable = true, type = "f32[4]"} : f32[4]
  %6 = exp(%5) : f32[4]
  update "w" = %4.0
  update "w.v" = %4.1
  return "y" = %6
)",
                 R"(
  %0 = input() {name = "g", type = "f32[4]"} : f32[4]
  %1 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %2 = parameter() {key = "w", mutable = true, type = "f32[4]"} : f32[4]
  %3 = parameter() {key = "w.v", mutable = true, type = "f32[4]"} : f32[4]
  %4 = parameter() {key = "w", mutable = true, type = "f32[4]"} : f32[4]
  %5 = exp(%4) : f32[4]
  %6:2 = sgd_update(%2, %3, %0, %1) : (f32[4], f32[4])
  update "w" = %6.0
  update "w.v" = %6.1
  return "y" = %5
)");
}

TEST(SinkUpdates, ANodeThatNeedsOldAndNewValueIsAnError) {
  Graph graph = parse_body(R"(
  %0 = input() {name = "g", type = "f32[4]"} : f32[4]
  %1 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %2 = parameter() {key = "w", mutable = true, type = "f32[4]"} : f32[4]
  %3 = parameter() {key = "w.v", mutable = true, type = "f32[4]"} : f32[4]
  %4:2 = sgd_update(%2, %3, %0, %1) : (f32[4], f32[4])
  %5 = sub(%2, %4.0) : f32[4]
  update "w" = %4.0
  update "w.v" = %4.1
  return "moved" = %5
)");
  PassContext context;
  const std::string message =
      test::error_of([&] { sink_updates(graph, context); }, ErrorKind::failure);
  EXPECT_EQ(message,
            "'sgd_update' cannot overwrite state 'w': a node needs both its old and its new value");
}

}  // namespace
}  // namespace facet::testing
