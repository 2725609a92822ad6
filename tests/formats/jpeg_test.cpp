#include <gmock/gmock.h>
#include <turbojpeg.h>

#include <cmath>

#include "runtime/formats/image.h"
#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string make_jpeg(const std::vector<std::uint8_t>& pixels, int width, int height, int format,
                      int subsampling, int quality = 95, int flags = 0) {
  tjhandle encoder = tjInitCompress();
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  const int result = tjCompress2(encoder, pixels.data(), width, 0, height, format, &bytes, &size,
                                 subsampling, quality, flags);
  std::string jpeg(reinterpret_cast<const char*>(bytes), result == 0 ? size : 0);
  tjFree(bytes);
  tjDestroy(encoder);
  return jpeg;
}

/// Smooth ramps in each channel, which JPEG keeps well.
Image ramps(int width, int height) {
  Image image = make_image(width, height);
  std::uint8_t* pixel = image.pixels.data();
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      *pixel++ = static_cast<std::uint8_t>(40 + 150 * x / width);
      *pixel++ = static_cast<std::uint8_t>(220 - 150 * y / height);
      *pixel++ = static_cast<std::uint8_t>(60 + 80 * x / width + 80 * y / height);
    }
  }
  return image;
}

std::string jpeg_of(const Image& image, int subsampling = TJSAMP_444, int flags = 0) {
  return make_jpeg(image.pixels, image.width, image.height, TJPF_RGB, subsampling, 95, flags);
}

Image decode(const std::string& bytes) {
  return decode_image(std::as_bytes(std::span(bytes)), "x.jpg");
}

std::string refusal(const std::string& bytes) {
  const std::string message = error_of([&] { decode(bytes); });
  EXPECT_THAT(message, HasSubstr("x.jpg"));
  return message;
}

int largest_difference(const Image& a, const Image& b) {
  int largest = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) {
    largest = std::max(largest, std::abs(a.pixels[i] - b.pixels[i]));
  }
  return largest;
}

TEST(Jpeg, DecodesWhatWasEncoded) {
  const TempFolder folder;
  const Image image = ramps(67, 41);
  for (const int subsampling : {TJSAMP_444, TJSAMP_420}) {
    for (const int flags : {0, TJFLAG_PROGRESSIVE}) {
      write_bytes(folder / "x.png", jpeg_of(image, subsampling, flags));  // the name does not count
      const Image back = read_image(folder / "x.png");
      ASSERT_EQ(back.width, 67);
      ASSERT_EQ(back.height, 41);
      EXPECT_LE(largest_difference(image, back), 8);
    }
  }
}

TEST(Jpeg, GreyBecomesThreeEqualChannels) {
  const std::vector<std::uint8_t> grey(16 * 16, 93);
  const Image image = decode(make_jpeg(grey, 16, 16, TJPF_GRAY, TJSAMP_GRAY));
  ASSERT_EQ(image.pixels.size(), 16U * 16 * 3);
  for (const std::uint8_t level : image.pixels) EXPECT_EQ(level, 93);
}

TEST(Jpeg, CmykIsRefusedWithAdvice) {
  const std::vector<std::uint8_t> cmyk(16 * 16 * 4, 93);
  EXPECT_THAT(refusal(make_jpeg(cmyk, 16, 16, TJPF_CMYK, TJSAMP_444)),
              AllOf(HasSubstr("CMYK"), HasSubstr("convert it to RGB")));
}

TEST(Jpeg, EveryTruncationIsNoticed) {
  for (const int flags : {0, TJFLAG_PROGRESSIVE}) {
    const std::string whole = jpeg_of(ramps(24, 16), TJSAMP_420, flags);
    ASSERT_EQ(decode(whole).width, 24);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      EXPECT_THROW(decode(whole.substr(0, size)), Error)
          << "cut to " << size << " of " << whole.size() << " bytes";
    }
  }
}

TEST(Jpeg, EveryBitFlipReadsOrThrows) {
  const std::string whole = jpeg_of(ramps(24, 16), TJSAMP_420);
  int refused = 0;
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    // A flip in the size can ask for a picture of hundreds of megabytes: allowed, but slow.
    const std::size_t size_field = whole.find("\xFF\xC0") + 5;
    if (bit / 8 >= size_field && bit / 8 < size_field + 4) continue;
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    try {
      const Image image = decode(bytes);
      EXPECT_EQ(image.pixels.size(), 24U * 16 * 3);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

TEST(Jpeg, DamagedDataIsAnErrorNotGreyBlocks) {
  std::string bytes = jpeg_of(ramps(64, 64));
  bytes.replace(bytes.size() / 2, 40, std::string(40, '\x55'));
  bytes.erase(bytes.size() * 3 / 4, 20);
  EXPECT_THAT(refusal(bytes), AllOf(HasSubstr("libjpeg says"), HasSubstr("save it again")));
}

TEST(Jpeg, RefusesABombBeforeItsMemory) {
  std::string bytes = jpeg_of(ramps(16, 16));
  const std::size_t size_field = bytes.find("\xFF\xC0") + 5;
  bytes.replace(size_field, 4, "\xFF\xDC\xFF\xDC");
  EXPECT_THAT(refusal(bytes), AllOf(HasSubstr("65500 x 65500"), HasSubstr("268435456 allowed")));
}

TEST(Jpeg, EncodesWhatIsDecodedAgain) {
  const Image image = ramps(67, 41);
  std::size_t smaller = 1 << 30;
  for (const int quality : {100, 95, 50}) {
    const std::vector<std::byte> bytes = encode_jpeg(image, quality);
    const Image back = decode_image(bytes, "x.jpg");
    ASSERT_EQ(back.width, 67);
    ASSERT_EQ(back.height, 41);
    EXPECT_LE(largest_difference(image, back), quality == 50 ? 24 : 8);
    EXPECT_LT(bytes.size(), smaller) << quality;
    smaller = bytes.size();
  }
  EXPECT_EQ(encode_jpeg(image), encode_jpeg(image, 95));
  for (const int quality : {0, 101}) {
    EXPECT_THAT(error_of([&] { encode_jpeg(image, quality); }, ErrorKind::usage),
                HasSubstr("give 1 to 100"));
  }
  EXPECT_THAT(error_of([] { encode_jpeg(make_image(65536, 1)); }), HasSubstr("65536 x 1"));
  EXPECT_THAT(error_of([] { encode_jpeg({}); }, ErrorKind::usage), HasSubstr("not an image"));
}

}  // namespace
}  // namespace facet::test
