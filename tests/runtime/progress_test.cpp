#include "runtime/progress.h"

#include <gmock/gmock.h>

namespace facet::test {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// Standard error is a file here, so every state is a line of its own.
TEST(Progress, SaysHowFarItIs) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress("train", 30, "batches", 10);
    progress.advance(15);
    progress.note("a note");
    progress.set_status("loss 0.5");
    progress.advance(5);
    progress.finish();
    progress.finish();
  }
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, StartsWith("a note\ntrain: 30/30 batches, "));
  EXPECT_THAT(text, HasSubstr(" batches/s, took 0:0"));
  EXPECT_THAT(text, EndsWith(", loss 0.5\n"));
}

TEST(Progress, HasNoRateBeforeAnythingIsDone) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress("train", 30, "batches", 10);
    progress.finish();
  }
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(text, "train: 10/30 batches\n");
  EXPECT_THAT(text, Not(HasSubstr("/s")));
}

TEST(Progress, ClockTextHasHoursWhereThereAreSome) {
  EXPECT_EQ(clock_text(-1), "0:00");
  EXPECT_EQ(clock_text(6.1), "0:07");
  EXPECT_EQ(clock_text(754), "12:34");
  EXPECT_EQ(clock_text(3723), "1:02:03");
}

}  // namespace
}  // namespace facet::test
