#include "runtime/contact_sheet.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/formats/temp_folder.h"

namespace facet {
namespace {

Image plain(int width, int height, std::uint8_t level) {
  Image image = make_image(width, height);
  std::ranges::fill(image.pixels, level);
  return image;
}

int level_at(const Image& image, int x, int y) {
  return image.pixels[static_cast<std::size_t>((y * image.width + x) * Image::channels)];
}

/// The picture as rows of '#' for ink and '.' for paper.
std::string ascii(const Image& image) {
  std::string text;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) text += level_at(image, x, y) < 128 ? '#' : '.';
    text += '\n';
  }
  return text;
}

TEST(Digits, AreDrawnInTheirFont) {
  Image image = plain(17, 7, 255);
  draw_digits(image, 0, 0, "1.7", 1);
  EXPECT_EQ(ascii(image),
            "..#.........#####\n"
            ".##.............#\n"
            "..#............#.\n"
            "..#...........#..\n"
            "..#..........#...\n"
            "..#....##....#...\n"
            ".###...##....#...\n");
  EXPECT_EQ(digits_width("1.7", 1), 17);
  EXPECT_EQ(digits_width("1.7", 2), 34);
}

TEST(Digits, AreAllDifferent) {
  std::vector<std::string> seen;
  for (const char character : std::string("0123456789.-")) {
    Image image = plain(5, 7, 255);
    draw_digits(image, 0, 0, std::string(1, character), 1);
    seen.push_back(ascii(image));
  }
  std::ranges::sort(seen);
  EXPECT_EQ(std::ranges::adjacent_find(seen), seen.end());
}

TEST(Digits, AreCutOffAtTheEdges) {
  Image image = plain(4, 4, 255);
  draw_digits(image, -2, -3, "8", 2);
  draw_digits(image, 100, 100, "8", 2);
  EXPECT_NE(ascii(image).find('#'), std::string::npos);
}

TEST(ContactSheet, PutsPicturesWhereTheyBelong) {
  const std::vector<SheetRow> rows = {
      {plain(10, 10, 40), {{plain(10, 10, 80), 0.5}, {plain(20, 10, 120), -0.25}}},
      {plain(5, 9, 160), {{plain(7, 7, 200), 1.0}}}};
  const Image sheet = contact_sheet(rows, 40);
  EXPECT_EQ(sheet.width, 10 + 40 + 20 + 2 * 46 + 10);
  EXPECT_EQ(level_at(sheet, 10 + 20, 10 + 20), 40);
  EXPECT_EQ(level_at(sheet, 70 + 20, 10 + 20), 80);
  EXPECT_EQ(level_at(sheet, 116 + 20, 10 + 20), 120);
  EXPECT_EQ(level_at(sheet, 116 + 20, 10 + 2), 255);  // twice as wide as high: paper above
  const int second = 10 + (sheet.height - 10) / 2;
  EXPECT_EQ(level_at(sheet, 10 + 20, second + 20), 160);
  EXPECT_EQ(level_at(sheet, 70 + 20, second + 20), 200);
}

TEST(ContactSheet, RefusesWhatCannotBeSeen) {
  test::error_of([] { contact_sheet({}); }, ErrorKind::usage);
  const std::vector<SheetRow> rows = {{plain(4, 4, 0), {}}};
  test::error_of([&] { contact_sheet(rows, 3); }, ErrorKind::usage);
  EXPECT_GT(contact_sheet(rows).width, 96);
}

}  // namespace
}  // namespace facet
