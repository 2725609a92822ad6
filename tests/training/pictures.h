#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ir/error.h"
#include "training/data/dataset.h"

namespace facet::test {

/// A picture whose every byte differs from its neighbours: a formula of place and `number`.
inline Image numbered_image(int width, int height, std::int64_t number) {
  Image image = make_image(width, height);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] =
        static_cast<std::uint8_t>((i * 37 + static_cast<std::size_t>(number) * 101) % 251);
  }
  return image;
}

inline Image plain_image(int width, int height, std::uint8_t red, std::uint8_t green,
                         std::uint8_t blue) {
  Image image = make_image(width, height);
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    image.pixels[i] = red;
    image.pixels[i + 1] = green;
    image.pixels[i + 2] = blue;
  }
  return image;
}

/// `count` pictures in memory, labels 0 1 2 0 1 2 ...; those in `bad` cannot be loaded.
class NumberedPictures : public Dataset {
 public:
  explicit NumberedPictures(std::int64_t count, int side = 6, std::vector<std::int64_t> bad = {})
      : count_(count), side_(side), bad_(std::move(bad)) {}

  std::int64_t size() const override { return count_; }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::int64_t label(std::int64_t item) const override { return item % 3; }
  std::string name(std::int64_t item) const override { return "picture#" + std::to_string(item); }
  std::uint64_t fingerprint() const override { return 1; }
  Image load(std::int64_t item) const override {
    for (const std::int64_t bad : bad_) {
      if (bad == item) throw failure(name(item) + ": cannot be read as an image: damaged");
    }
    return numbered_image(side_, side_, item);
  }

 private:
  std::int64_t count_;
  int side_;
  std::vector<std::int64_t> bad_;
  std::vector<std::string> names_ = {"a", "b", "c"};
};

}  // namespace facet::test
