#include "training/loader.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <set>

#include "tests/formats/temp_folder.h"
#include "tests/training/pictures.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Le;

Preprocess small() {
  Preprocess settings;
  settings.width = 5;
  settings.height = 4;
  return settings;
}

Augmentation everything() {
  return {
      .crop = Crop::resized, .flip = 0.5, .brightness = 0.4, .hue = 0.1, .blur = 0.3, .erase = 0.3};
}

bool same_bytes(const HostTensor& a, const HostTensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.byte_count())) == 0;
}

void expect_same(const Batch& a, const Batch& b) {
  EXPECT_EQ(a.items, b.items);
  EXPECT_TRUE(same_bytes(a.pixels, b.pixels)) << "batch " << a.epoch << "/" << a.iteration;
  EXPECT_TRUE(same_bytes(a.labels, b.labels));
  EXPECT_EQ(a.epoch, b.epoch);
  EXPECT_EQ(a.iteration, b.iteration);
  EXPECT_EQ(a.own_share, b.own_share);
  ASSERT_EQ(a.problems.size(), b.problems.size());
  for (std::size_t i = 0; i < a.problems.size(); ++i) {
    EXPECT_EQ(a.problems[i].item, b.problems[i].item);
    EXPECT_EQ(a.problems[i].message, b.problems[i].message);
  }
}

std::vector<Batch> all_batches(const Dataset& data, const Augmentation& augmentation,
                               const LoaderOptions& options) {
  Loader loader(data, small(), augmentation, options);
  std::vector<Batch> batches;
  while (std::optional<Batch> batch = loader.next()) batches.push_back(std::move(*batch));
  return batches;
}

TEST(Loader, ThreadsDoNotChangeABit) {
  const NumberedPictures data(50, 9, {3, 4, 20, 49});
  Augmentation augmentation = everything();
  augmentation.cut_mix = 0.5;
  for (const OnBadImage policy : {OnBadImage::replace, OnBadImage::leave_out}) {
    LoaderOptions options = {
        .batch = 8, .seed = 5, .drop_last = false, .on_bad_image = policy, .end_epoch = 3};
    const auto one = all_batches(data, augmentation, options);
    ASSERT_EQ(one.size(), 21U);
    for (const int threads : {2, 5}) {
      options.threads = threads;
      const auto many = all_batches(data, augmentation, options);
      ASSERT_EQ(many.size(), one.size());
      for (std::size_t i = 0; i < one.size(); ++i) expect_same(one[i], many[i]);
    }
  }
}

TEST(Loader, BeginsAnywhereWithTheSameBatches) {
  const NumberedPictures data(30);
  LoaderOptions options = {.batch = 4, .threads = 2, .end_epoch = 3};
  const auto all = all_batches(data, everything(), options);
  ASSERT_EQ(all.size(), 21U);
  for (const std::size_t begin : {1U, 6U, 7U, 12U, 20U}) {
    options.first_epoch = static_cast<std::int64_t>(begin / 7);
    options.first_iteration = static_cast<std::int64_t>(begin % 7);
    const auto rest = all_batches(data, everything(), options);
    ASSERT_EQ(rest.size(), all.size() - begin);
    for (std::size_t i = 0; i < rest.size(); ++i) expect_same(rest[i], all[begin + i]);
  }
  options.first_epoch = 1;
  options.first_iteration = 7;  // behind the last: the next epoch's first
  expect_same(all_batches(data, everything(), options).front(), all[14]);
  options.first_epoch = 3;
  EXPECT_TRUE(all_batches(data, everything(), options).empty());
}

TEST(Loader, EveryEpochHasEveryPictureInAnotherOrder) {
  const NumberedPictures data(23);
  const LoaderOptions options = {.batch = 5, .drop_last = false, .threads = 3, .end_epoch = 2};
  const auto batches = all_batches(data, {}, options);
  ASSERT_EQ(batches.size(), 10U);
  EXPECT_EQ(batches[4].items.size(), 3U) << "the last one is smaller";
  EXPECT_THAT(batches[4].pixels.shape(), ElementsAre(3, 3, 4, 5));
  std::vector<std::vector<std::int64_t>> orders(2);
  for (const Batch& batch : batches) {
    for (std::size_t i = 0; i < batch.items.size(); ++i) {
      orders[static_cast<std::size_t>(batch.epoch)].push_back(batch.items[i]);
      EXPECT_EQ(batch.labels.as<std::int64_t>()[i], batch.items[i] % 3);
    }
  }
  EXPECT_NE(orders[0], orders[1]);
  for (auto& order : orders) {
    EXPECT_FALSE(std::ranges::is_sorted(order));
    EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()).size(), 23U);
    EXPECT_EQ(order.size(), 23U);
  }
}

TEST(Loader, PicturesAreThoseOfTheirItems) {
  const NumberedPictures data(9);
  const LoaderOptions options = {.batch = 4, .threads = 2, .end_epoch = 1};
  const auto batches = all_batches(data, {}, options);
  ASSERT_EQ(batches.size(), 2U) << "the last one is dropped";
  for (const Batch& batch : batches) {
    for (std::size_t i = 0; i < batch.items.size(); ++i) {
      const HostTensor expected = preprocess(data.load(batch.items[i]), small());
      EXPECT_EQ(std::memcmp(batch.pixels.as<float>() + i * 60, expected.data(), 240), 0);
    }
  }
}

TEST(Loader, WithoutShufflePicturesComeByNumber) {
  const NumberedPictures data(6);
  const auto batches =
      all_batches(data, {}, {.batch = 4, .shuffle = false, .drop_last = false, .end_epoch = 1});
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_THAT(batches[0].items, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(batches[1].items, ElementsAre(4, 5));
}

TEST(Loader, EpochsAndSeedsAugmentDifferently) {
  const NumberedPictures data(4, 12);
  LoaderOptions options = {.batch = 4, .shuffle = false, .end_epoch = 2};
  const auto batches = all_batches(data, everything(), options);
  EXPECT_FALSE(same_bytes(batches[0].pixels, batches[1].pixels));
  options.seed = 2;
  EXPECT_FALSE(same_bytes(all_batches(data, everything(), options)[0].pixels, batches[0].pixels));
}

TEST(Loader, BadPicturesAreReplacedByTheNextReadable) {
  const NumberedPictures data(8, 6, {1, 2, 7});
  const auto batches = all_batches(data, {},
                                   {.batch = 4,
                                    .shuffle = false,
                                    .threads = 2,
                                    .on_bad_image = OnBadImage::replace,
                                    .end_epoch = 1});
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_THAT(batches[0].items, ElementsAre(0, 3, 3, 3));
  EXPECT_THAT(batches[1].items, ElementsAre(4, 5, 6, 0)) << "behind the last comes the first";
  ASSERT_EQ(batches[0].problems.size(), 2U) << "each picture once";
  EXPECT_EQ(batches[0].problems[0].item, 1);
  EXPECT_THAT(batches[0].problems[1].message, HasSubstr("picture#2: cannot be read"));
  EXPECT_EQ(batches[0].labels.as<std::int64_t>()[1], 0) << "the label of the picture that came";
}

TEST(Loader, BadPicturesAreLeftOut) {
  const NumberedPictures data(8, 6, {1, 4, 5, 6, 7});
  const auto batches = all_batches(data, {},
                                   {.batch = 4,
                                    .shuffle = false,
                                    .threads = 2,
                                    .on_bad_image = OnBadImage::leave_out,
                                    .end_epoch = 1});
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_THAT(batches[0].items, ElementsAre(0, 2, 3));
  EXPECT_THAT(batches[0].pixels.shape(), ElementsAre(3, 3, 4, 5));
  EXPECT_THAT(batches[0].labels.to_doubles(), ElementsAre(0, 2, 0));
  const HostTensor second = preprocess(data.load(2), small());
  EXPECT_EQ(std::memcmp(batches[0].pixels.as<float>() + 60, second.data(), 240), 0);
  EXPECT_TRUE(batches[1].items.empty());
  EXPECT_EQ(batches[1].problems.size(), 4U);
}

TEST(Loader, StopsAtTheFirstBadPictureInOrder) {
  const NumberedPictures data(64, 6, {21, 22, 23, 30});
  for (int repeat = 0; repeat < 5; ++repeat) {
    Loader loader(data, small(), {}, {.batch = 16, .shuffle = false, .threads = 4, .end_epoch = 1});
    EXPECT_THAT(loader.next()->items, ::testing::Contains(15)) << "what is before it is delivered";
    for (int again = 0; again < 2; ++again) {
      EXPECT_THAT(error_of([&] { loader.next(); }), HasSubstr("picture#21"));
    }
  }
}

TEST(Loader, GivesUpWhenNothingCanBeRead) {
  const NumberedPictures data(3, 6, {0, 1, 2});
  Loader loader(data, small(), {}, {.batch = 2, .on_bad_image = OnBadImage::replace});
  EXPECT_THAT(error_of([&] { loader.next(); }), AllOf(HasSubstr("none of 3 pictures in a row"),
                                                      HasSubstr("cannot be read as an image")));
}

TEST(Loader, CanBeLeftAtAnyTime) {
  const NumberedPictures data(1000, 20);
  for (int taken = 0; taken < 4; ++taken) {
    Loader loader(data, small(), everything(), {.batch = 50, .threads = 3});
    for (int i = 0; i < taken; ++i) EXPECT_TRUE(loader.next());
  }
}

/// Rank r of R takes r::R of the epoch's order, padded from its beginning.
TEST(Loader, ShardsDivideTheOrderOfAnEpoch) {
  const NumberedPictures data(23);
  const auto items_of = [&](std::int64_t shard, std::int64_t shards, bool shuffle, int threads) {
    std::vector<std::int64_t> items;
    for (const Batch& batch : all_batches(data, {},
                                          {.batch = 2,
                                          .shuffle = shuffle,
                                          .drop_last = false,
                                          .threads = threads,
                                          .end_epoch = 2,
                                          .shard = shard,
                                          .shards = shards})) {
      items.insert(items.end(), batch.items.begin(), batch.items.end());
    }
    return items;
  };
  EXPECT_THAT(items_of(3, 5, false, 1), ElementsAre(3, 8, 13, 18, 0, 3, 8, 13, 18, 0))
      << "23 and 24 are 0 and 1 again";
  for (const bool shuffle : {true, false}) {
    const std::vector<std::int64_t> whole = items_of(0, 1, shuffle, 1);
    for (const std::int64_t shards : {2, 4, 5, 30}) {
      const std::int64_t part = (23 + shards - 1) / shards;
      for (std::int64_t shard = 0; shard < shards; ++shard) {
        const std::vector<std::int64_t> items = items_of(shard, shards, shuffle, 2);
        ASSERT_EQ(items.size(), static_cast<std::size_t>(2 * part));
        for (std::int64_t i = 0; i < 2 * part; ++i) {
          const std::int64_t place = (i % part * shards + shard) % 23 + i / part * 23;
          EXPECT_EQ(items[static_cast<std::size_t>(i)], whole[static_cast<std::size_t>(place)]);
        }
      }
    }
  }
  Loader shard(data, small(), {}, {.batch = 5, .shard = 1, .shards = 4});
  EXPECT_EQ(shard.batches_per_epoch(), 1) << "6 pictures";
}

TEST(Loader, RefusesWhatHasNoMeaning) {
  const NumberedPictures data(5);
  const auto refusal = [&](const LoaderOptions& options, ErrorKind kind = ErrorKind::usage) {
    return error_of([&] { Loader(data, small(), {}, options); }, kind);
  };
  EXPECT_THAT(refusal({.batch = 0}), HasSubstr("batch of 0"));
  EXPECT_THAT(refusal({.threads = 0}), HasSubstr("0 loader threads"));
  EXPECT_THAT(refusal({.first_epoch = -1}), HasSubstr("before the first"));
  EXPECT_THAT(refusal({.shard = 2, .shards = 2}), HasSubstr("shard 2 of 2"));
  EXPECT_THAT(refusal({.shards = 0}), HasSubstr("shard 0 of 0"));
  EXPECT_THAT(refusal({.batch = 6}, ErrorKind::failure), HasSubstr("5 pictures do not fill"));
  Loader smaller(data, small(), {}, {.batch = 6, .drop_last = false});
  EXPECT_EQ(smaller.batches_per_epoch(), 1);
  EXPECT_EQ(smaller.next()->items.size(), 5U);
}

TEST(Loader, SettingsThatDoNotFitStopEvenWhereBadPicturesAreSkipped) {
  const NumberedPictures data(5);
  Preprocess settings = small();
  settings.std[1] = 0;
  Loader loader(data, settings, {}, {.batch = 2, .on_bad_image = OnBadImage::replace});
  EXPECT_THAT(error_of([&] { loader.next(); }, ErrorKind::usage), HasSubstr("channel 1"));
}

/// JPEGs of the input's size and of another, a PNG, and a damaged JPEG.
void write_pictures(const TempFolder& folder) {
  const auto write = [&](const std::string& name, const std::vector<std::byte>& bytes) {
    std::ofstream(folder / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
  };
  std::filesystem::create_directories(folder / "a");
  std::filesystem::create_directories(folder / "b");
  for (int i = 0; i < 6; ++i) {
    write(fmt::format("a/{}.jpg", i), encode_jpeg(numbered_image(5, 4, i)));
    write(fmt::format("b/{}.jpg", i), encode_jpeg(numbered_image(5 + i % 2, 4, i)));
  }
  write_png(folder / "b/png.png", numbered_image(5, 4, 9));
  std::vector<std::byte> damaged = encode_jpeg(numbered_image(5, 4, 7));
  damaged.resize(damaged.size() - 20);
  write("a/damaged.jpg", damaged);
}

TEST(Loader, BytesBecomeTheSameValues) {
  const TempFolder folder;
  write_pictures(folder);
  const auto data = open_image_folder(folder / "");
  Preprocess settings = small();
  settings.mean = {0.485F, 0.456F, 0.406F};
  settings.std = {0.229F, 0.224F, 0.225F};
  Augmentation flips;
  flips.flip = 0.5;
  Augmentation colours = everything();
  colours.erase = 0;
  for (const bool bgr : {false, true}) {
    settings.bgr = bgr;
    for (const Augmentation& augmentation : {flips, colours}) {
      LoaderOptions options = {
          .batch = 4, .threads = 2, .on_bad_image = OnBadImage::replace, .end_epoch = 4};
      Loader values(*data, settings, augmentation, options);
      options.bytes = true;
      Loader bytes(*data, settings, augmentation, options);
      int batches = 0;
      while (std::optional<Batch> expected = values.next()) {
        Batch batch = bytes.next().value();
        ASSERT_EQ(batch.pixels.dtype(), DType::u8);
        ASSERT_THAT(batch.pixels.shape(), ElementsAre(4, 4, 5, 3));
        HostTensor normalized(DType::f32, {4, 3, 4, 5});
        normalize_into(batch.pixels, settings, normalized);
        batch.pixels = normalized;
        expect_same(*expected, batch);
        ++batches;
      }
      EXPECT_EQ(batches, 12);
      EXPECT_FALSE(bytes.next());
    }
  }
}

TEST(Loader, ValuesThatAreNoBytesStayValues) {
  const NumberedPictures data(8);
  LoaderOptions options = {.batch = 4, .bytes = true};
  EXPECT_EQ(Loader(data, small(), everything(), options).next()->pixels.dtype(), DType::f32);
  options.scales.sizes = {2};
  EXPECT_EQ(Loader(data, small(), {}, options).next()->pixels.dtype(), DType::f32);
  HostTensor values(DType::f32, {4, 4, 5, 3});
  HostTensor bytes(DType::u8, {4, 4, 5, 3});
  EXPECT_THAT(error_of([&] { normalize_into(bytes, small(), values); }, ErrorKind::usage),
              HasSubstr("u8 [4, 4, 5, 3] do not become f32 [4, 4, 5, 3]"));
}

}  // namespace
}  // namespace facet::test
