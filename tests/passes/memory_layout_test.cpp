#include <gmock/gmock.h>

#include "ir/error.h"
#include "ir/layout.h"
#include "passes/byte_region.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Type image(Layout layout) { return {DType::f32, {2, 3, 5, 7}, std::move(layout)}; }

TEST(Layout, strides_of_plain_tags) {
  EXPECT_THAT(dense_strides(image("")), ElementsAre(105, 35, 7, 1));
  EXPECT_THAT(dense_strides(image("abcd")), ElementsAre(105, 35, 7, 1));
  EXPECT_THAT(dense_strides(image("acdb")), ElementsAre(105, 1, 21, 3));
  EXPECT_THAT(dense_strides(image("cdab")), ElementsAre(3, 1, 42, 6));
  EXPECT_THAT(dense_strides({DType::f32, {}, {}}), IsEmpty());
  EXPECT_EQ(byte_size({DType::f64, {}, {}}), 8);
  EXPECT_EQ(byte_size({DType::bf16, {2, 3, 5, 7}, "acdb"}), 420);
}

TEST(Layout, blocks_round_up_and_have_no_strides) {
  EXPECT_TRUE(is_blocked("aBcd16b"));
  EXPECT_FALSE(is_blocked("acdb"));
  EXPECT_THAT(dense_strides(image("aBcd16b")), IsEmpty());
  EXPECT_EQ(byte_size(image("aBcd16b")), 2 * 16 * 35 * 4);
  EXPECT_EQ(byte_size({DType::f32, {20, 3, 1, 1}, "ABcd16b16a"}), 32 * 16 * 4);
  EXPECT_EQ(byte_size({DType::bf16, {1, 33, 1, 1}, "aBcd8b4b"}), 64 * 2);  // twice one axis
}

TEST(Layout, refuses_tags_that_do_not_fit) {
  for (const char* tag : {"abc", "abcde", "aacd", "acdB", "acdb16b", "aBcd16a", "aBcd16", "aBcd1b",
                          "a-cd", "aBcd99999b", "16b"}) {
    EXPECT_THROW(dense_strides(image(tag)), Error) << tag;
    EXPECT_THROW(byte_size(image(tag)), Error) << tag;
  }
  EXPECT_THROW(byte_size({DType::f32, {"N", 3}, {}}), Error);
  const std::int64_t huge = std::int64_t{1} << 40;
  EXPECT_THROW(byte_size({DType::f32, {huge, huge}, {}}), Error);
}

TEST(Layout, same_strides_ignores_unit_extents) {
  EXPECT_TRUE(same_strides({1, 4, 1}, {9, 2, 7}, {3, 2, 1}));
  EXPECT_FALSE(same_strides({1, 4, 2}, {9, 2, 7}, {3, 2, 1}));
  EXPECT_FALSE(same_strides({4}, {1}, {}));
}

std::vector<ByteRange> runs_of(const ByteRegion& region) {
  std::vector<ByteRange> runs;
  region.for_each_run([&](const ByteRange& run) { runs.push_back(run); });
  return runs;
}

TEST(ByteRegion, joins_what_is_adjacent) {
  const ByteRegion dense(64, 4, {2, 3, 5, 7}, {105, 1, 21, 3});
  EXPECT_THAT(runs_of(dense), ElementsAre(ByteRange(64, 64 + 840)));
  const ByteRegion channels(8, 4, {1, 2, 2, 2}, {24, 1, 12, 6});
  EXPECT_THAT(runs_of(channels), ElementsAre(ByteRange(8, 16), ByteRange(32, 40), ByteRange(56, 64),
                                             ByteRange(80, 88)));
  EXPECT_EQ(channels.loops().size(), 1u);
  EXPECT_EQ(channels.end(), 88);
  const ByteRegion window(0, 1, {2, 2, 2}, {100, 10, 1});
  EXPECT_THAT(runs_of(window), ElementsAre(ByteRange(0, 2), ByteRange(10, 12), ByteRange(100, 102),
                                           ByteRange(110, 112)));
  EXPECT_THAT(runs_of(ByteRegion(0, 4, {0, 2}, {2, 1})), IsEmpty());
}

/// common_bytes against the plain sets of bytes, on strided regions of all sorts.
TEST(ByteRegion, common_bytes_equal_those_of_byte_sets) {
  std::uint64_t random = 7;
  const auto draw = [&](std::int64_t from, std::int64_t to) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return from + static_cast<std::int64_t>(random >> 33) % (to - from + 1);
  };
  const auto region = [&] {
    const std::int64_t run = draw(1, 4);
    const std::int64_t inner = draw(0, 2) * 2 + run;
    const std::int64_t rows = draw(1, 4);
    const std::int64_t outer = inner * rows + draw(0, 1) * draw(0, 9);
    return ByteRegion(draw(0, 40), 1, {draw(1, 3), rows, run}, {outer, inner, 1});
  };
  int met = 0;
  for (int round = 0; round < 4000; ++round) {
    const ByteRegion a = region();
    const ByteRegion b = region();
    std::vector<bool> bytes(200, false);
    for (const ByteRange& run : runs_of(a)) {
      for (std::int64_t i = run.first; i < run.second; ++i)
        bytes[static_cast<std::size_t>(i)] = true;
    }
    bool expected = false;
    for (const ByteRange& run : runs_of(b)) {
      for (std::int64_t i = run.first; i < run.second; ++i) {
        expected = expected || bytes[static_cast<std::size_t>(i)];
      }
    }
    const auto shared = common_bytes(a, b);
    ASSERT_EQ(shared.has_value(), expected) << round;
    met += expected ? 1 : 0;
    if (!shared) continue;
    EXPECT_LT(shared->first, shared->second);
    for (const ByteRegion* of : {&a, &b}) {
      EXPECT_TRUE(common_bytes(*of, ByteRegion(shared->first, 1)));
      EXPECT_TRUE(common_bytes(*of, ByteRegion(shared->second - 1, 1)));
    }
  }
  EXPECT_GT(met, 1000);
  EXPECT_LT(met, 3000);
}

}  // namespace
}  // namespace facet
