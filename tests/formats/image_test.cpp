#include "runtime/formats/image.h"

#include <gmock/gmock.h>
#include <png.h>
#include <zlib.h>

#include <array>
#include <cstring>

#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

struct PngSpec {
  int width = 0;
  int height = 0;
  int depth = 8;
  int colour_type = PNG_COLOR_TYPE_RGB;
  int interlace = PNG_INTERLACE_NONE;
  std::vector<png_color> palette = {};
  std::vector<png_byte> transparency = {};
};

/// A PNG file in memory, of rows as the format packs them.
std::string make_png(const PngSpec& spec, std::vector<std::vector<png_byte>> rows) {
  std::string bytes;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &bytes,
      [](png_structp p, png_bytep from, std::size_t count) {
        static_cast<std::string*>(png_get_io_ptr(p))
            ->append(reinterpret_cast<const char*>(from), count);
      },
      [](png_structp) {});
  png_set_IHDR(png, info, static_cast<png_uint_32>(spec.width),
               static_cast<png_uint_32>(spec.height), spec.depth, spec.colour_type, spec.interlace,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!spec.palette.empty()) {
    png_set_PLTE(png, info, spec.palette.data(), static_cast<int>(spec.palette.size()));
  }
  if (!spec.transparency.empty()) {
    png_set_tRNS(png, info, spec.transparency.data(), static_cast<int>(spec.transparency.size()),
                 nullptr);
  }
  png_write_info(png, info);
  std::vector<png_bytep> pointers;
  for (auto& row : rows) pointers.push_back(row.data());
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return bytes;
}

Image decode(const std::string& bytes) {
  return decode_image(std::as_bytes(std::span(bytes)), "x.png");
}

std::string refusal(const std::string& bytes) {
  const std::string message = error_of([&] { decode(bytes); });
  EXPECT_THAT(message, HasSubstr("x.png"));
  return message;
}

/// Another picture for every size, no two rows or columns of it equal.
Image picture(int width, int height) {
  Image image = make_image(width, height);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = static_cast<std::uint8_t>(i * 37 + i / 7);
  }
  return image;
}

std::vector<std::vector<png_byte>> rows_of(const Image& image) {
  std::vector<std::vector<png_byte>> rows;
  const std::ptrdiff_t stride = image.width * 3;
  for (std::ptrdiff_t y = 0; y < image.height; ++y) {
    rows.emplace_back(image.pixels.begin() + y * stride, image.pixels.begin() + (y + 1) * stride);
  }
  return rows;
}

TEST(Png, RoundTrips) {
  const TempFolder folder;
  for (const auto& [width, height] : {std::pair{1, 1}, {13, 7}, {64, 65}}) {
    const Image image = picture(width, height);
    write_png(folder / "x.png", image);
    const Image back = read_image(folder / "x.png");
    EXPECT_EQ(back.width, width);
    EXPECT_EQ(back.height, height);
    EXPECT_EQ(back.pixels, image.pixels);
  }
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(Png, IsToldByItsBytesNotItsName) {
  const TempFolder folder;
  write_png(folder / "x.jpg", picture(3, 2));
  EXPECT_EQ(read_image(folder / "x.jpg").pixels, picture(3, 2).pixels);
}

TEST(Png, GreyBecomesThreeEqualChannels) {
  EXPECT_THAT(decode(make_png({2, 1, 8, PNG_COLOR_TYPE_GRAY}, {{7, 200}})).pixels,
              ElementsAre(7, 7, 7, 200, 200, 200));
  // 1, 2 and 4 bits a pixel: levels are spread over 0..255.
  EXPECT_THAT(decode(make_png({3, 1, 1, PNG_COLOR_TYPE_GRAY}, {{0b10100000}})).pixels,
              ElementsAre(255, 255, 255, 0, 0, 0, 255, 255, 255));
  EXPECT_THAT(decode(make_png({2, 1, 2, PNG_COLOR_TYPE_GRAY}, {{0b01100000}})).pixels,
              ElementsAre(85, 85, 85, 170, 170, 170));
  EXPECT_THAT(decode(make_png({2, 1, 4, PNG_COLOR_TYPE_GRAY}, {{0x1F}})).pixels,
              ElementsAre(17, 17, 17, 255, 255, 255));
}

TEST(Png, SixteenBitsAreRounded) {
  // 0x1280 / 257 = 18.4, 0x12FF / 257 = 18.9, 0x0081 / 257 = 0.502.
  EXPECT_THAT(
      decode(make_png({1, 1, 16, PNG_COLOR_TYPE_RGB}, {{0x12, 0x80, 0x12, 0xFF, 0, 0x81}})).pixels,
      ElementsAre(18, 19, 1));
  EXPECT_THAT(decode(make_png({1, 1, 16, PNG_COLOR_TYPE_GRAY}, {{0xFF, 0xFF}})).pixels,
              ElementsAre(255, 255, 255));
}

TEST(Png, PalettesAreLookedUpAndAlphaIsDropped) {
  const std::vector<png_color> palette = {{1, 2, 3}, {40, 50, 60}};
  EXPECT_THAT(
      decode(make_png({2, 1, 8, PNG_COLOR_TYPE_PALETTE, 0, palette, {0, 128}}, {{1, 0}})).pixels,
      ElementsAre(40, 50, 60, 1, 2, 3));
  EXPECT_THAT(decode(make_png({2, 1, 8, PNG_COLOR_TYPE_RGBA}, {{1, 2, 3, 0, 4, 5, 6, 255}})).pixels,
              ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(decode(make_png({1, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA}, {{9, 0}})).pixels,
              ElementsAre(9, 9, 9));
}

TEST(Png, ReadsInterlacedFiles) {
  for (const auto& [width, height] : {std::pair{1, 1}, {5, 3}, {17, 19}}) {
    const Image image = picture(width, height);
    const PngSpec spec = {width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_ADAM7};
    EXPECT_EQ(decode(make_png(spec, rows_of(image))).pixels, image.pixels);
  }
}

TEST(Png, EveryTruncationIsNoticed) {
  for (const int interlace : {PNG_INTERLACE_NONE, PNG_INTERLACE_ADAM7}) {
    const std::string whole =
        make_png({9, 8, 8, PNG_COLOR_TYPE_RGB, interlace}, rows_of(picture(9, 8)));
    for (std::size_t size = 0; size < whole.size(); ++size) {
      EXPECT_THROW(decode(whole.substr(0, size)), Error) << "cut to " << size << " bytes";
    }
  }
}

TEST(Png, EveryBitFlipReadsTheSameOrThrows) {
  const Image image = picture(9, 8);
  const std::string whole = make_png({9, 8}, rows_of(image));
  int refused = 0;
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    try {
      EXPECT_EQ(decode(bytes).pixels, image.pixels) << "bit " << bit;
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, static_cast<int>(whole.size() * 7));  // checksums cover nearly everything
}

/// The size in the file's IHDR, with its checksum made right again.
std::string with_size(std::string png, std::uint32_t width, std::uint32_t height) {
  const auto put = [&](std::size_t at, std::uint32_t value) {
    for (int i = 0; i < 4; ++i) png[at + i] = static_cast<char>(value >> (24 - 8 * i));
  };
  put(16, width);
  put(20, height);
  put(29,
      static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(png.data()) + 12, 17)));
  return png;
}

TEST(Png, RefusesSizesThatAreBombsOrLies) {
  const std::string small = make_png({2, 2}, rows_of(picture(2, 2)));
  EXPECT_EQ(decode(with_size(small, 2, 2)).pixels, picture(2, 2).pixels);
  EXPECT_THAT(refusal(with_size(small, 100'000, 100'000)),
              AllOf(HasSubstr("100000 x 100000"), HasSubstr("268435456 allowed")));
  EXPECT_THAT(refusal(with_size(small, 0x7FFFFFFF, 1)), HasSubstr("libpng says"));
  EXPECT_THAT(refusal(with_size(small, 0, 2)), HasSubstr("libpng says"));
  EXPECT_THAT(refusal(with_size(small, 2, 3)), HasSubstr("libpng says"));
}

TEST(Png, NamesTheChecksumThatFails) {
  std::string bytes = make_png({9, 8}, rows_of(picture(9, 8)));
  bytes[bytes.find("IDAT") + 20] ^= 1;
  EXPECT_THAT(refusal(bytes), AllOf(HasSubstr("libpng says"), HasSubstr("save it again")));
}

TEST(ImageFile, WhatIsNoImage) {
  const TempFolder folder;
  EXPECT_THAT(error_of([&] { read_image(folder / "missing.png"); }),
              AllOf(HasSubstr("missing.png"), HasSubstr("No such file")));
  EXPECT_THAT(refusal(""), HasSubstr("empty"));
  EXPECT_THAT(refusal("GIF89a....................."), HasSubstr("neither a JPEG nor a PNG"));
  EXPECT_THAT(refusal("\xFF\xD8"), HasSubstr("neither a JPEG nor a PNG"));
}

TEST(ImageFile, WriterRefusesAndLeavesNothingBehind) {
  const TempFolder folder;
  error_of([&] { write_png(folder / "x.png", {2, 2, {1, 2, 3}}); }, ErrorKind::usage);
  error_of([&] { write_png(folder / "x.png", {}); }, ErrorKind::usage);
  EXPECT_EQ(folder.file_count(), 0);
  const FileSizeLimit limit(1000);
  EXPECT_THAT(error_of([&] { write_png(folder / "x.png", picture(100, 100)); }),
              HasSubstr("x.png"));
  EXPECT_EQ(folder.file_count(), 0);
}

TEST(ImageFile, FromGrey) {
  const std::array<std::uint8_t, 4> grey = {1, 2, 3, 4};
  EXPECT_THAT(image_from_grey(grey, 2, 2).pixels,
              ElementsAreArray({1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4}));
  error_of([&] { image_from_grey(grey, 3, 2); }, ErrorKind::usage);
}

TEST(ImageFile, SizesThatAreNotPossible) {
  for (const auto& [width, height] :
       {std::pair{0, 1}, {1, 0}, {-1, -1}, {1 << 15, (1 << 13) + 1}}) {
    error_of([&] { make_image(width, height); });
  }
}

TEST(ImageFile, MemoryIsUsedAgainForTheNextPicture) {
  Image image;
  for (const auto& [width, height] : {std::pair{40, 30}, {8, 9}, {40, 30}, {64, 50}}) {
    Image original = make_image(width, height);
    for (std::size_t i = 0; i < original.pixels.size(); ++i) {
      original.pixels[i] = static_cast<std::uint8_t>(i);
    }
    const std::vector<std::byte> jpeg = encode_jpeg(original);
    decode_image_into(jpeg, "x", image);
    const Image expected = decode_image(jpeg, "x");
    EXPECT_EQ(image.width, width);
    EXPECT_EQ(image.height, height);
    EXPECT_EQ(image.pixels, expected.pixels);
    // What cannot be read leaves nothing behind that the next one would meet.
    for (std::size_t length = 3; length < jpeg.size(); length += 11) {
      EXPECT_THAT(error_of([&] { decode_image_into(std::span(jpeg).first(length), "x", image); }),
                  HasSubstr("x: cannot be read"));
      decode_image_into(jpeg, "x", image);
      EXPECT_EQ(image.pixels, expected.pixels) << length;
    }
  }
}

}  // namespace
}  // namespace facet::test
