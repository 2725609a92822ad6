#include <gmock/gmock.h>

#include <algorithm>
#include <random>

#include "ir/error.h"
#include "passes/memory_plan.h"

namespace facet {
namespace {

using ::testing::ElementsAre;

std::vector<std::int64_t> offsets_of(const std::vector<Buffer>& buffers) {
  std::vector<std::int64_t> offsets;
  for (const Buffer& buffer : buffers) offsets.push_back(buffer.offset);
  return offsets;
}

/// No two buffers that live at once overlap, and the plan's numbers are those of its offsets.
void expect_sound(const std::vector<Buffer>& buffers, const ArenaPlan& plan) {
  std::int64_t end = 0;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const Buffer& a = buffers[i];
    EXPECT_GE(a.offset, 0);
    EXPECT_EQ(a.offset % 64, 0);
    end = std::max(end, (a.offset + a.bytes + 63) / 64 * 64);
    for (std::size_t j = 0; j < i; ++j) {
      const Buffer& b = buffers[j];
      const bool meet = a.first <= b.last && b.first <= a.last;
      const bool apart = a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset;
      EXPECT_TRUE(!meet || apart) << i << " and " << j;
    }
  }
  EXPECT_EQ(plan.bytes, end);
  std::int64_t most = 0;
  for (const Buffer& at : buffers) {
    std::int64_t live = 0;
    for (const Buffer& other : buffers) {
      if (other.first <= at.first && at.first <= other.last) live += (other.bytes + 63) / 64 * 64;
    }
    most = std::max(most, live);
  }
  EXPECT_EQ(plan.lower_bound, most);
  EXPECT_GE(plan.bytes, plan.lower_bound);
}

TEST(PlaceBuffers, golden_offsets_of_a_chain) {
  std::vector<Buffer> buffers = {
      {100, 0, 1, "a"}, {200, 1, 2, "b"}, {100, 2, 3, "c"}, {50, 3, 3, "d"}};
  const ArenaPlan plan = place_buffers(buffers);
  EXPECT_THAT(offsets_of(buffers), ElementsAre(256, 0, 256, 0));
  EXPECT_EQ(plan.bytes, 384);
  EXPECT_EQ(plan.lower_bound, 384);
  EXPECT_EQ(plan.strategy, "size, best fit");
}

TEST(PlaceBuffers, fills_the_gaps_that_short_lives_leave) {
  // z of step 1 must go where a buffer of step 0 was.
  std::vector<Buffer> buffers = {{1024, 0, 1, "w"},  {192, 0, 0, "gap"}, {512, 0, 1, "x"},
                                 {128, 0, 0, "gap"}, {64, 0, 1, "y"},    {128, 1, 1, "z"}};
  const ArenaPlan plan = place_buffers(buffers);
  expect_sound(buffers, plan);
  EXPECT_EQ(plan.bytes, 1024 + 192 + 512 + 128 + 64);
}

TEST(PlaceBuffers, nothing_and_empty_buffers) {
  std::vector<Buffer> none;
  EXPECT_EQ(place_buffers(none).bytes, 0);
  std::vector<Buffer> buffers = {{0, 0, 5, "empty"}, {64, 2, 3, "full"}, {0, 1, 1, "empty"}};
  const ArenaPlan plan = place_buffers(buffers);
  EXPECT_EQ(plan.bytes, 64);
  EXPECT_THAT(offsets_of(buffers), ElementsAre(0, 0, 0));
}

TEST(PlaceBuffers, refuses_lives_that_end_before_they_begin) {
  std::vector<Buffer> backwards = {{64, 3, 2, "b"}};
  EXPECT_THROW(place_buffers(backwards), Error);
  std::vector<Buffer> negative = {{-1, 0, 0, "n"}};
  EXPECT_THROW(place_buffers(negative), Error);
  std::vector<Buffer> early = {{64, -1, 0, "e"}};
  EXPECT_THROW(place_buffers(early), Error);
}

TEST(PlaceBuffers, the_same_buffers_give_the_same_plan) {
  std::mt19937 random(3);
  std::vector<Buffer> buffers;
  for (int i = 0; i < 200; ++i) {
    const int first = static_cast<int>(random() % 100);
    buffers.push_back({static_cast<std::int64_t>(random() % 5000), first,
                       first + static_cast<int>(random() % 20), "b"});
  }
  std::vector<Buffer> again = buffers;
  const ArenaPlan plan = place_buffers(buffers);
  EXPECT_EQ(place_buffers(again).strategy, plan.strategy);
  EXPECT_EQ(offsets_of(again), offsets_of(buffers));
}

/// Residual stages as in the iresnets, with attention branches and scratch of every convolution.
std::vector<Buffer> residual_network(std::mt19937& random) {
  std::vector<Buffer> buffers;
  int step = 0;
  std::int64_t bytes = 64 * 112 * 112 * 4;
  for (int stage = 0; stage < 4; ++stage, bytes /= 2) {
    const int blocks = 2 + static_cast<int>(random() % 6);
    for (int block = 0; block < blocks; ++block, step += 4) {
      buffers.push_back({bytes, step, step + 1, "conv1"});
      buffers.push_back({bytes, step + 1, step + 2, "conv2"});
      buffers.push_back({bytes / 64, step + 2, step + 3, "gate"});
      buffers.push_back({bytes, step + 3, step + 7, "sum"});
      buffers.push_back({static_cast<std::int64_t>(random() % 100000), step, step, "scratch"});
    }
  }
  return buffers;
}

/// Dense blocks: one buffer for all states, many short ones beside it.
std::vector<Buffer> dense_network(std::mt19937& random) {
  std::vector<Buffer> buffers;
  int step = 0;
  for (const std::int64_t pixels : {31 * 31, 15 * 15, 7 * 7}) {
    const int layers = 4 + static_cast<int>(random() % 12);
    buffers.push_back({(96 + 32 * layers) * pixels * 4, step, step + 8 * layers, "states"});
    for (int layer = 0; layer < layers; ++layer, step += 8) {
      const std::int64_t gated = (96 + 32 * layer) * pixels * 4;
      buffers.push_back({pixels * 4, step, step + 1, "where"});
      buffers.push_back({gated, step + 1, step + 6, "gated"});
      buffers.push_back({128 * pixels * 4, step + 2, step + 3, "branch1"});
      buffers.push_back({32 * pixels * 4, step + 3, step + 4, "branch1"});
      buffers.push_back({128 * pixels * 4, step + 5, step + 6, "branch2"});
      buffers.push_back({96 * pixels * 4, step + 4, step + 7, "scales"});
      buffers.push_back(
          {static_cast<std::int64_t>(random() % 50000), step + 5, step + 5, "scratch"});
    }
    ++step;
  }
  return buffers;
}

TEST(PlaceBuffers, networks_stay_within_a_few_percent_of_the_bound) {
  std::mt19937 random(11);
  double worst = 1;
  for (int round = 0; round < 60; ++round) {
    std::vector<Buffer> buffers = round % 2 == 0 ? residual_network(random) : dense_network(random);
    const ArenaPlan plan = place_buffers(buffers);
    expect_sound(buffers, plan);
    worst =
        std::max(worst, static_cast<double>(plan.bytes) / static_cast<double>(plan.lower_bound));
  }
  RecordProperty("worst_ratio", std::to_string(worst));
  std::printf("networks: at most %.3f x the lower bound\n", worst);
  EXPECT_LE(worst, 1.05);
}

TEST(PlaceBuffers, random_lifetimes_do_not_overlap_and_stay_near_the_bound) {
  std::mt19937 random(5);
  double worst = 1;
  double sum = 0;
  int improved = 0;
  const int rounds = 300;
  for (int round = 0; round < rounds; ++round) {
    const int count = 1 + static_cast<int>(random() % 120);
    const int steps = 1 + static_cast<int>(random() % 60);
    const int longest = 1 + static_cast<int>(random() % 30);
    std::vector<Buffer> buffers;
    for (int i = 0; i < count; ++i) {
      const int first = static_cast<int>(random() % static_cast<unsigned>(steps));
      const int last = std::min(steps - 1, first + static_cast<int>(random() % longest));
      const auto bytes = static_cast<std::int64_t>(random() % (1u << (4 + random() % 14)));
      buffers.push_back({bytes, first, last, "b"});
    }
    const ArenaPlan plan = place_buffers(buffers);
    expect_sound(buffers, plan);
    if (plan.lower_bound == 0) continue;
    const double ratio = static_cast<double>(plan.bytes) / static_cast<double>(plan.lower_bound);
    worst = std::max(worst, ratio);
    sum += ratio;
    improved += plan.strategy.find("improved") != std::string::npos ? 1 : 0;
  }
  std::printf("random lifetimes: mean %.4f, at most %.3f x the lower bound\n", sum / rounds, worst);
  EXPECT_LE(worst, 1.15);
  EXPECT_LE(sum / rounds, 1.01);
  EXPECT_GT(improved, 10);
}

TEST(PlaceBuffers, places_thousands_of_buffers) {
  std::mt19937 random(17);
  std::vector<Buffer> buffers;
  for (int i = 0; i < 2000; ++i) {
    const int first = static_cast<int>(random() % 1500);
    buffers.push_back({static_cast<std::int64_t>(random() % 1000000), first,
                       first + static_cast<int>(random() % 40), "b"});
  }
  const ArenaPlan plan = place_buffers(buffers);
  expect_sound(buffers, plan);
  EXPECT_LE(plan.bytes, plan.lower_bound * 5 / 4);
}

}  // namespace
}  // namespace facet
