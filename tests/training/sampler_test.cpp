#include "training/sampler.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "tests/formats/temp_folder.h"
#include "tests/training/pictures.h"
#include "training/loader.h"

namespace facet::test {
namespace {

using ::testing::HasSubstr;

/// Labels as given; pictures of 6 x 6.
class Labelled : public NumberedPictures {
 public:
  explicit Labelled(std::vector<std::int64_t> labels)
      : NumberedPictures(static_cast<std::int64_t>(labels.size())), labels_(std::move(labels)) {}
  std::int64_t label(std::int64_t item) const override {
    return labels_[static_cast<std::size_t>(item)];
  }

 private:
  std::vector<std::int64_t> labels_;
};

Labelled uneven() {  // 20 of class 0, 9 of class 2, none of class 1
  std::vector<std::int64_t> labels(29, 0);
  for (std::size_t i = 0; i < 9; ++i) labels[3 * i] = 2;
  return Labelled(labels);
}

TEST(Sampler, TakesAsManyOfEveryClassInARandomOrder) {
  const Labelled data = uneven();
  const Sampler sampler(data, {.per_class = 4});
  EXPECT_EQ(sampler.size(), 24) << "29 pictures are three rounds of 2 x 4";
  std::set<std::vector<std::int64_t>> orders;
  std::set<std::int64_t> seen;
  for (std::int64_t epoch = 0; epoch < 5; ++epoch) {
    const auto order = sampler.order(epoch);
    ASSERT_EQ(order.size(), 24U);
    for (std::size_t group = 0; group < 6; ++group) {
      const auto begin = order.begin() + static_cast<std::ptrdiff_t>(4 * group);
      std::set<std::int64_t> items(begin, begin + 4);
      EXPECT_EQ(items.size(), 4U) << "a class with enough pictures gives different ones";
      for (const std::int64_t item : items) EXPECT_EQ(data.label(item), data.label(*begin));
      seen.insert(items.begin(), items.end());
    }
    for (std::size_t round = 0; round < 3; ++round) {
      EXPECT_NE(data.label(order[8 * round]), data.label(order[8 * round + 4])) << "both classes";
    }
    orders.insert(order);
    EXPECT_EQ(order, sampler.order(epoch)) << "a function of the epoch";
  }
  EXPECT_EQ(orders.size(), 5U);
  EXPECT_GT(seen.size(), 24U);
}

TEST(Sampler, SmallClassesAreDrawnFromWithReplacementAndOneRoundIsTheLeast) {
  const Labelled data({0, 0, 1});
  const Sampler sampler(data, {.per_class = 4});
  EXPECT_EQ(sampler.size(), 8);
  std::map<std::int64_t, int> count;
  for (const std::int64_t item : sampler.order(0)) ++count[data.label(item)];
  EXPECT_EQ(count[0], 4);
  EXPECT_EQ(count[1], 4);
}

TEST(Sampler, WithoutClassesItIsEveryPictureOnce) {
  const NumberedPictures data(10);
  EXPECT_EQ(Sampler(data, {.shuffle = false}).order(3),
            (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  auto order = Sampler(data, {}).order(3);
  EXPECT_NE(order, Sampler(data, {.seed = 2}).order(3));
  EXPECT_FALSE(std::ranges::is_sorted(order));
  std::ranges::sort(order);
  EXPECT_EQ(order, Sampler(data, {.shuffle = false}).order(0));
}

TEST(Sampler, RefusesClassesInOrder) {
  const NumberedPictures data(10);
  EXPECT_THAT(
      error_of([&] { Sampler(data, {.shuffle = false, .per_class = 2}); }, ErrorKind::usage),
      HasSubstr("random order"));
  EXPECT_THAT(error_of([&] { Sampler(data, {.per_class = -1}); }, ErrorKind::usage),
              HasSubstr("at least 1"));
}

TEST(Sampler, APictureThatComesAgainIsAugmentedAnew) {
  const Labelled data({0, 1});
  LoaderOptions options;
  options.batch = 8;
  options.per_class = 4;
  options.threads = 2;
  options.end_epoch = 1;
  Preprocess settings;
  settings.width = settings.height = 5;
  const Augmentation crops = {.crop = Crop::resized, .flip = 0.5, .brightness = 0.4};
  Loader loader(data, settings, crops, options);
  EXPECT_EQ(loader.batches_per_epoch(), 1);
  const Batch batch = *loader.next();
  EXPECT_FALSE(loader.next());
  std::set<std::vector<float>> pictures;
  for (std::size_t i = 0; i < 8; ++i) {
    const float* first = batch.pixels.as<float>() + i * 75;
    pictures.insert(std::vector<float>(first, first + 75));
  }
  EXPECT_EQ(pictures.size(), 8U);
}

TEST(Sampler, ThreadsDoNotChangeABit) {
  const Labelled data = uneven();
  Preprocess settings;
  settings.width = settings.height = 5;
  const Augmentation crops = {.crop = Crop::resized, .flip = 0.5};
  LoaderOptions options;
  options.batch = 5;
  options.per_class = 3;
  options.end_epoch = 2;
  LoaderOptions more = options;
  more.threads = 4;
  Loader one(data, settings, crops, options);
  Loader many(data, settings, crops, more);
  std::size_t count = 0;
  while (const auto batch = one.next()) {
    const auto other = many.next();
    ASSERT_TRUE(other);
    EXPECT_EQ(batch->items, other->items);
    EXPECT_EQ(std::memcmp(batch->pixels.data(), other->pixels.data(),
                          static_cast<std::size_t>(batch->pixels.byte_count())),
              0);
    ++count;
  }
  EXPECT_EQ(count, 8U) << "24 pictures an epoch make four batches of 5";
}

}  // namespace
}  // namespace facet::test
