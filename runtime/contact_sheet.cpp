#include "runtime/contact_sheet.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "ir/error.h"
#include "runtime/formats/resize.h"

namespace facet {
namespace {

constexpr int kGlyphWidth = 5;
constexpr int kGlyphHeight = 7;
constexpr int kAdvance = kGlyphWidth + 1;

struct Glyph {
  char character;
  std::array<std::uint8_t, kGlyphHeight> rows;  // the highest of five bits is the left pixel
};

constexpr std::array<Glyph, 12> kFont = {{
    {'0', {0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110}},
    {'1', {0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110}},
    {'2', {0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111}},
    {'3', {0b01110, 0b10001, 0b00001, 0b00110, 0b00001, 0b10001, 0b01110}},
    {'4', {0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010}},
    {'5', {0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110}},
    {'6', {0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110}},
    {'7', {0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000}},
    {'8', {0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110}},
    {'9', {0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100}},
    {'.', {0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b01100, 0b01100}},
    {'-', {0b00000, 0b00000, 0b00000, 0b11111, 0b00000, 0b00000, 0b00000}},
}};

using Colour = std::array<std::uint8_t, 3>;
constexpr Colour kPaper = {255, 255, 255};
constexpr Colour kInk = {32, 32, 32};
constexpr Colour kFrame = {31, 119, 180};

constexpr int kMargin = 10;     // pixels around everything, and between rows
constexpr int kGap = 6;         // between the matches of a row
constexpr int kFrameWidth = 3;  // around the query
constexpr int kTextScale = 2;
constexpr int kTextHeight = kGlyphHeight * kTextScale + kGap;

void fill(Image& image, int left, int top, int width, int height, const Colour& colour) {
  for (int y = std::max(top, 0); y < std::min(top + height, image.height); ++y) {
    for (int x = std::max(left, 0); x < std::min(left + width, image.width); ++x) {
      const auto at = (static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) +
                       static_cast<std::size_t>(x)) * Image::channels;
      std::copy(colour.begin(), colour.end(), image.pixels.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
}

/// `picture` as large as it fits into the square at (left, top), centred.
void paste(Image& sheet, const Image& picture, int left, int top, int tile) {
  const double scale = static_cast<double>(tile) / std::max(picture.width, picture.height);
  const auto fit = [&](int extent) { return std::clamp(static_cast<int>(extent * scale + 0.5), 1, tile); };
  const Image small = resize(picture, fit(picture.width), fit(picture.height), Filter::bilinear);
  left += (tile - small.width) / 2;
  top += (tile - small.height) / 2;
  const std::ptrdiff_t row_bytes = std::ptrdiff_t{Image::channels} * small.width;
  for (int y = 0; y < small.height; ++y) {
    const auto to = (std::ptrdiff_t{top + y} * sheet.width + left) * Image::channels;
    std::copy_n(small.pixels.begin() + y * row_bytes, row_bytes, sheet.pixels.begin() + to);
  }
}

}  // namespace

int digits_width(std::string_view text, int scale) {
  return text.empty() ? 0 : (static_cast<int>(text.size()) * kAdvance - 1) * scale;
}

void draw_digits(Image& image, int x, int y, std::string_view text, int scale) {
  for (const char character : text) {
    const auto glyph = std::ranges::find(kFont, character, &Glyph::character);
    for (int row = 0; glyph != kFont.end() && row < kGlyphHeight; ++row) {
      for (int column = 0; column < kGlyphWidth; ++column) {
        const int bit = kGlyphWidth - 1 - column;
        if (((glyph->rows[static_cast<std::size_t>(row)] >> bit) & 1) == 0) continue;
        fill(image, x + column * scale, y + row * scale, scale, scale, kInk);
      }
    }
    x += kAdvance * scale;
  }
}

Image contact_sheet(std::span<const SheetRow> rows, int tile) {
  if (rows.empty()) throw usage_error("a contact sheet needs a row");
  if (tile < 16) throw usage_error(fmt::format("tiles of {} pixels are too small to see", tile));
  std::size_t most = 0;
  for (const SheetRow& row : rows) most = std::max(most, row.matches.size());
  const int first_match = kMargin + tile + 2 * kMargin;
  const int row_height = tile + kTextHeight + kMargin;
  const std::int64_t width = first_match + static_cast<std::int64_t>(most) * (tile + kGap) + kMargin;
  Image sheet = make_image(width, static_cast<std::int64_t>(rows.size()) * row_height + kMargin);
  std::fill(sheet.pixels.begin(), sheet.pixels.end(), kPaper[0]);
  int top = kMargin;
  for (const SheetRow& row : rows) {
    fill(sheet, kMargin - kFrameWidth, top - kFrameWidth, tile + 2 * kFrameWidth,
         tile + 2 * kFrameWidth, kFrame);
    fill(sheet, kMargin, top, tile, tile, kPaper);
    paste(sheet, row.query, kMargin, top, tile);
    int left = first_match;
    for (const Match& match : row.matches) {
      paste(sheet, match.image, left, top, tile);
      const std::string text = fmt::format("{:.3f}", match.similarity);
      draw_digits(sheet, left + (tile - digits_width(text, kTextScale)) / 2, top + tile + kGap / 2,
                  text, kTextScale);
      left += tile + kGap;
    }
    top += row_height;
  }
  return sheet;
}

}  // namespace facet
