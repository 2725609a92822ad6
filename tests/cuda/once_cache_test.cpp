#include "backends/cuda/once_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <stdexcept>
#include <thread>
#include <vector>

namespace facet {
namespace {

TEST(OnceCache, MakesEachValueOnce) {
  cuda::OnceCache<int> cache;
  std::atomic<int> made = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int k = 0; k < 100; ++k) {
          EXPECT_EQ(cache.get(std::to_string(k), [&] { return ++made, k; }), k);
        }
      });
    }
  }
  EXPECT_EQ(made, 100);
}

TEST(OnceCache, MakesDifferentValuesAtTheSameTime) {
  cuda::OnceCache<bool> cache;
  std::mutex mutex;
  std::condition_variable arrived;
  int inside = 0;
  // True once both are inside.
  const auto meet = [&] {
    std::unique_lock lock(mutex);
    ++inside;
    arrived.notify_all();
    return arrived.wait_for(lock, std::chrono::seconds(20), [&] { return inside == 2; });
  };
  bool met = false;
  std::jthread other([&] { met = cache.get("a", meet); });
  EXPECT_TRUE(cache.get("b", meet));
  other.join();
  EXPECT_TRUE(met);
}

TEST(OnceCache, WhatThrowsIsMadeAnew) {
  cuda::OnceCache<int> cache;
  EXPECT_THROW(cache.get("a", []() -> int { throw std::runtime_error("no"); }), std::runtime_error);
  EXPECT_EQ(cache.get("a", [] { return 3; }), 3);
}

}  // namespace
}  // namespace facet
