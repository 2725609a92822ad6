#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/formats/temp_folder.h"
#include "tests/training/pictures.h"
#include "training/loader.h"

/// Small files of data sets, and what a loader makes of them.
namespace facet::test {

inline std::vector<std::byte> jpeg_bytes(int number, int width = 14, int height = 12) {
  return encode_jpeg(numbered_image(width, height, number), 90);
}

inline std::string jpeg_text(int number) {
  const std::vector<std::byte> bytes = jpeg_bytes(number);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Writes picture `number` where `path` says; makes the folders.
inline void write_jpeg(const std::filesystem::path& path, int number) {
  std::filesystem::create_directories(path.parent_path());
  write_bytes(path, jpeg_text(number));
}

inline std::vector<Batch> batches_of(const Dataset& data, const LoaderOptions& options) {
  Preprocess settings;
  settings.width = 10;
  settings.height = 9;
  Loader loader(data, settings, {.flip = 0.5, .brightness = 0.4}, options);
  std::vector<Batch> batches;
  while (std::optional<Batch> batch = loader.next()) batches.push_back(std::move(*batch));
  return batches;
}

/// One loader thread and several must make the same bits.
inline void expect_same_for_all_threads(const Dataset& data) {
  LoaderOptions options = {
      .batch = 4, .drop_last = false, .on_bad_image = OnBadImage::replace, .end_epoch = 2};
  const std::vector<Batch> one = batches_of(data, options);
  ASSERT_FALSE(one.empty());
  options.threads = 3;
  const std::vector<Batch> several = batches_of(data, options);
  ASSERT_EQ(several.size(), one.size());
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(several[i].items, one[i].items);
    ASSERT_EQ(several[i].pixels.shape(), one[i].pixels.shape());
    EXPECT_EQ(std::memcmp(several[i].pixels.data(), one[i].pixels.data(),
                          static_cast<std::size_t>(one[i].pixels.byte_count())),
              0);
    EXPECT_EQ(several[i].labels.to_doubles(), one[i].labels.to_doubles());
  }
}

}  // namespace facet::test
