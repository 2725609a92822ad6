#include "runtime/formats/resize.h"

#include <gmock/gmock.h>

#include <cctype>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/formats/temp_folder.h"
#include "tests/support/fill.h"
#include "tests/support/paths.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

Image golden_image(const std::string& name, int width, int height) {
  Image image = make_image(width, height);
  const auto values = facet::testing::uniform(name, {height, width, 3}, 0, 1).to_doubles();
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = static_cast<std::uint8_t>(255.999 * values[i]);
  }
  return image;
}

Filter filter_of(std::string name) {
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return parse_filter(name);
}

TEST(Resize, EqualsPillowToTheGreyLevel) {
  std::ifstream file(testing::test_data() / "golden/pillow_resize.json");
  const auto golden = nlohmann::json::parse(file);
  ASSERT_EQ(golden["cases"].size(), 5U);
  for (const auto& item : golden["cases"]) {
    const Image image = golden_image(item["image"], item["width"], item["height"]);
    const Image resized =
        resize(image, item["out_width"], item["out_height"], filter_of(item["filter"]));
    EXPECT_EQ(resized.width, item["out_width"]);
    EXPECT_EQ(resized.height, item["out_height"]);
    EXPECT_EQ(resized.pixels, item["pixels"].get<std::vector<std::uint8_t>>())
        << item["image"] << " " << item["filter"];
  }
}

TEST(Resize, KeepsAFlatPictureFlat) {
  Image image = make_image(50, 31);
  std::fill(image.pixels.begin(), image.pixels.end(), std::uint8_t{201});
  for (const Filter filter : {Filter::bilinear, Filter::bicubic, Filter::lanczos}) {
    for (const auto& [width, height] : {std::pair{1, 1}, {7, 90}, {120, 3}, {50, 8}, {9, 31}}) {
      const Image resized = resize(image, width, height, filter);
      EXPECT_EQ(resized.pixels.size(), static_cast<std::size_t>(width * height * 3));
      EXPECT_THAT(resized.pixels, Each(201));
    }
  }
}

TEST(Resize, TheSameSizeIsTheSamePicture) {
  const Image image = golden_image("img.a", 11, 13);
  EXPECT_EQ(resize(image, 11, 13, Filter::lanczos).pixels, image.pixels);
}

TEST(Resize, RefusesSizesThatAreNotPossible) {
  const Image image = golden_image("img.a", 3, 3);
  error_of([&] { resize(image, 0, 3, Filter::bilinear); });
  error_of([&] { resize(image, 3, -1, Filter::bilinear); });
  error_of([&] { resize(image, 1 << 20, 1 << 20, Filter::bilinear); });
  error_of([&] { resize({3, 3, {}}, 2, 2, Filter::bilinear); }, ErrorKind::usage);
}

TEST(Filters, HaveNames) {
  for (const Filter filter : {Filter::bilinear, Filter::bicubic, Filter::lanczos}) {
    EXPECT_EQ(parse_filter(to_string(filter)), filter);
  }
  EXPECT_THAT(error_of([] { parse_filter("nearest"); }, ErrorKind::usage),
              AllOf(HasSubstr("nearest"), HasSubstr("bicubic")));
}

}  // namespace
}  // namespace facet::test
