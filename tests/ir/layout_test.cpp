#include "ir/layout.h"

#include <gmock/gmock.h>

#include "tests/ir/error_of.h"

namespace facet::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Type image(const Layout& layout) { return {DType::f32, {2, 20, 5, 3}, layout}; }

TEST(Layout, StridesOfPermutedAxes) {
  EXPECT_THAT(dense_strides(image("")), ElementsAre(300, 15, 3, 1));
  EXPECT_THAT(dense_strides(image("abcd")), ElementsAre(300, 15, 3, 1));
  EXPECT_THAT(dense_strides(image("acdb")), ElementsAre(300, 1, 60, 20));
  EXPECT_THAT(dense_strides(image("cdba")), ElementsAre(1, 2, 120, 40));
  EXPECT_THAT(dense_strides({DType::i8, {}, ""}), IsEmpty());
}

TEST(Layout, BlockedLayoutsHaveNoStrides) {
  EXPECT_TRUE(is_blocked("aBcd16b"));
  EXPECT_FALSE(is_blocked("acdb"));
  EXPECT_FALSE(is_blocked(""));
  EXPECT_THAT(dense_strides(image("aBcd16b")), IsEmpty());
}

TEST(Layout, BytesRoundUpToWholeBlocks) {
  EXPECT_EQ(byte_size(image("")), 2 * 20 * 15 * 4);
  EXPECT_EQ(byte_size(image("acdb")), 2 * 20 * 15 * 4);
  EXPECT_EQ(byte_size(image("aBcd16b")), 2 * 32 * 15 * 4);
  EXPECT_EQ(byte_size(image("ABcd4b16a2b")), 16 * 24 * 15 * 4);
  EXPECT_EQ(byte_size({DType::bf16, {1, 1}, "Ab16a"}), 16 * 2);
  EXPECT_EQ(byte_size({DType::f32, {8, 3, 2, 2}, "g4Abcde2a"}), 4 * 2 * 3 * 4 * 4);
  EXPECT_EQ(byte_size({DType::f32, {7}, "opaque4096xff00"}), 4096);
}

TEST(Layout, TagsMustFitTheShape) {
  for (const char* tag :
       {"abc", "abcde", "abcc", "abce", "ab-d", "abcd16b", "aBcd", "aBcd16c", "aBcd1b", "aBcd16",
        "aBcd5000b", "aBcd64b64b64b", "g3aBcde16b", "opaque", "opaque12", "opaque0x"}) {
    EXPECT_FALSE(error_of([&] { byte_size(image(tag)); }).empty()) << tag;
    EXPECT_FALSE(error_of([&] { dense_strides(image(tag)); }).empty()) << tag;
  }
  EXPECT_THAT(error_of([] { byte_size(image("abcc")); }),
              HasSubstr("layout 'abcc' does not fit [2, 20, 5, 3]"));
  EXPECT_THAT(error_of([] { byte_size({DType::f32, {"N"}, "a"}); }), HasSubstr("symbol N"));
  EXPECT_THAT(error_of([] {
                byte_size({DType::f32, {1LL << 40, 1LL << 40}, "ab"});
              }),
              HasSubstr("more bytes than"));
}

/// 4096^6 is 0 in 64 bits: the product must be bounded before anything is divided by it.
TEST(Layout, EndlessBlocksAreRefused) {
  std::string tag = "aBcd";
  for (int i = 0; i < 6; ++i) tag += "4096b";
  EXPECT_THAT(error_of([&] { byte_size(image(tag)); }), HasSubstr("at most 4096 wide"));
}

TEST(Layout, AReshapeKeepsTheOrderInMemory) {
  const Type map{DType::bf16, {2, 20, 5, 3}, "acdb"};
  EXPECT_EQ(reshaped_layout(map, {2, 10, 2, 15}), "adbc");
  EXPECT_EQ(reshaped_layout(map, {2, 20, 15}), "acb");
  EXPECT_EQ(reshaped_layout(map, {2, 4, 5, 5, 3}), "adebc");
  EXPECT_EQ(reshaped_layout(map, {40, 15}), std::nullopt);  // images and channels are apart
  EXPECT_EQ(reshaped_layout(map, {2, 300}), std::nullopt);  // so are channels and pixels
  EXPECT_EQ(reshaped_layout(map, {2, 20, 3, 5}), "acdb");
  EXPECT_EQ(reshaped_layout({DType::f32, {2, 10, 2, 15}, "adbc"}, {2, 20, 5, 3}), "acdb");
  // Axes of one element lie anywhere.
  EXPECT_EQ(reshaped_layout(map, {2, 1, 20, 15}), "abdc");
  EXPECT_EQ(reshaped_layout(map, {1, 2, 20, 15}), "abdc");
  EXPECT_EQ(reshaped_layout({DType::f32, {2, 20, 1, 1}, "acdb"}, {2, 20}), "");
  // What is row-major stays so, and blocks are not taken apart.
  EXPECT_EQ(reshaped_layout({DType::f32, {2, 20, 5, 3}, ""}, {40, 15}), "");
  EXPECT_EQ(reshaped_layout({DType::f32, {2, 20, 5, 3}, "abcd"}, {40, 15}), "");
  EXPECT_EQ(reshaped_layout({DType::f32, {2, 32, 5, 3}, "aBcd16b"}, {2, 32, 15}), std::nullopt);
}

TEST(Layout, AReshapeOfAViewHasItsGaps) {
  // 20 of 32 channels of each pixel.
  const std::vector<std::int64_t> strides = {32 * 15, 1, 32 * 3, 32};
  EXPECT_THAT(*reshaped_strides({2, 20, 5, 3}, strides, {2, 20, 15}), ElementsAre(32 * 15, 1, 32));
  EXPECT_THAT(*reshaped_strides({2, 20, 5, 3}, strides, {2, 10, 2, 1, 15}),
              ElementsAre(32 * 15, 2, 1, 0, 32));
  // 4 of 8 planes of each image: no two images follow each other.
  EXPECT_THAT(*reshaped_strides({2, 4, 3}, {24, 3, 1}, {2, 12}), ElementsAre(24, 1));
  EXPECT_EQ(reshaped_strides({2, 4, 3}, {24, 3, 1}, {24}), std::nullopt);
  EXPECT_EQ(reshaped_strides({2, 4, 3}, {24, 3, 1}, {2, 2, 7}), std::nullopt);
  // A symbol is an axis of both, or none.
  EXPECT_THAT(*reshaped_strides({"N", 4, 3}, {12, 3, 1}, {"N", 12}), ElementsAre(12, 1));
  EXPECT_EQ(reshaped_strides({"N", 4, 3}, {12, 3, 1}, {12, "N"}), std::nullopt);
}

TEST(Layout, StridesOfSingleElementsDoNotCount) {
  EXPECT_TRUE(same_strides({1, 5}, {5, 1}, {99, 1}));
  EXPECT_FALSE(same_strides({2, 5}, {5, 1}, {99, 1}));
  EXPECT_FALSE(same_strides({2, 5}, {5, 1}, {}));
  EXPECT_TRUE(same_strides({2, 5}, {}, {}));
}

}  // namespace
}  // namespace facet::test
