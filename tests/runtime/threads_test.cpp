#include "runtime/threads.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace facet {
namespace {

TEST(ForEachInThreads, DoesEveryNumberOnce) {
  for (const int threads : {1, 2, 7}) {
    std::vector<int> done(100, 0);
    for_each_in_threads(done.size(), threads, [&](std::size_t i) { ++done[i]; });
    EXPECT_EQ(done, std::vector<int>(100, 1)) << threads;
  }
  for_each_in_threads(0, 4, [](std::size_t) { FAIL(); });
}

TEST(ForEachInThreads, ThrowsWhatTheLowestNumberThrew) {
  for (const int threads : {1, 3}) {
    try {
      for_each_in_threads(50, threads, [](std::size_t i) {
        if (i == 9 || i > 20) throw std::runtime_error(std::to_string(i));
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "9");
    }
  }
}

}  // namespace
}  // namespace facet
