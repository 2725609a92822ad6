#include "runtime/formats/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "ir/error.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/formats/image_codecs.h"
#include "runtime/formats/mapped_file.h"

namespace facet {
namespace {

constexpr std::array<unsigned char, 3> kJpegMagic = {0xFF, 0xD8, 0xFF};
constexpr std::array<unsigned char, 8> kPngMagic = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};

template <std::size_t N>
bool begins_with(std::span<const std::byte> bytes, const std::array<unsigned char, N>& magic) {
  return bytes.size() >= N && std::memcmp(bytes.data(), magic.data(), N) == 0;
}

Error unreadable(std::string_view name, const Error& error) {
  return failure(fmt::format("{}: cannot be read as an image: {}", name, error.what()));
}

}  // namespace

void check_image_size(std::int64_t width, std::int64_t height) {
  if (width <= 0 || height <= 0) {
    throw failure(fmt::format("an image of {} x {} pixels is not possible", width, height));
  }
  if (width > kLargestPixelCount / height) {
    throw failure(fmt::format("{} x {} pixels are more than the {} allowed; scale it down first",
                              width, height, kLargestPixelCount));
  }
}

void check_image(const Image& image) {
  const auto expected = static_cast<std::int64_t>(image.width) * image.height * Image::channels;
  if (image.width <= 0 || image.height <= 0 ||
      static_cast<std::int64_t>(image.pixels.size()) != expected) {
    throw usage_error(fmt::format("{} bytes are not an image of {} x {} pixels",
                                  image.pixels.size(), image.width, image.height));
  }
}

Image make_image(std::int64_t width, std::int64_t height) {
  check_image_size(width, height);
  Image image{static_cast<int>(width), static_cast<int>(height), {}};
  image.pixels.resize(static_cast<std::size_t>(width * height * Image::channels));
  return image;
}

Image image_from_grey(std::span<const std::uint8_t> grey, int width, int height) {
  Image image = make_image(width, height);
  if (grey.size() * Image::channels != image.pixels.size()) {
    throw usage_error(
        fmt::format("{} grey levels do not fill {} x {} pixels", grey.size(), width, height));
  }
  std::uint8_t* pixel = image.pixels.data();
  for (const std::uint8_t level : grey) {
    for (int channel = 0; channel < Image::channels; ++channel) *pixel++ = level;
  }
  return image;
}

Image crop_image(const Image& image, int left, int top, int width, int height) {
  if (left < 0 || top < 0 || width > image.width - left || height > image.height - top) {
    throw usage_error(fmt::format("{} x {} pixels at ({}, {}) are not within an image of {} x {}",
                                  width, height, left, top, image.width, image.height));
  }
  Image result = make_image(width, height);
  const auto bytes = static_cast<std::size_t>(width) * Image::channels;
  for (int y = 0; y < height; ++y) {
    const auto from = (static_cast<std::size_t>(top + y) * static_cast<std::size_t>(image.width) +
                       static_cast<std::size_t>(left)) *
                      Image::channels;
    std::copy_n(image.pixels.begin() + static_cast<std::ptrdiff_t>(from), bytes,
                result.pixels.begin() + static_cast<std::ptrdiff_t>(bytes) * y);
  }
  return result;
}

Image decode_image(std::span<const std::byte> bytes, std::string_view name) {
  Image image;
  decode_image_into(bytes, name, image);
  return image;
}

void decode_image_into(std::span<const std::byte> bytes, std::string_view name, Image& image) {
  const auto place = [&](int width, int height) {
    image.width = width;
    image.height = height;
    image.pixels.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) *
                        Image::channels);
    return image.pixels.data();
  };
  try {
    if (begins_with(bytes, kJpegMagic)) {
      decode_jpeg(bytes, place);
      return;
    }
    if (begins_with(bytes, kPngMagic)) {
      image = decode_png(bytes);
      return;
    }
  } catch (const Error& error) {
    throw unreadable(name, error);
  }
  throw failure(fmt::format("{}: is neither a JPEG nor a PNG image ({})", name,
                            bytes.empty() ? "it is empty" : "by its first bytes"));
}

bool decode_image_to(std::span<const std::byte> bytes, std::string_view name, int width, int height,
                     std::span<std::uint8_t> pixels) {
  if (!begins_with(bytes, kJpegMagic)) return false;
  const auto place = [&](int stored_width, int stored_height) {
    const bool fits = stored_width == width && stored_height == height &&
                      std::int64_t{width} * height * Image::channels == std::ssize(pixels);
    return fits ? pixels.data() : nullptr;
  };
  try {
    return decode_jpeg(bytes, place);
  } catch (const Error& error) {
    throw unreadable(name, error);
  }
}

Image read_image(const std::filesystem::path& path) {
  Image image;
  read_image_into(path, image);
  return image;
}

void read_image_into(const std::filesystem::path& path, Image& image) {
  const auto file = MappedFile::open(path);
  decode_image_into(file->bytes(), file->path(), image);
}

bool read_image_to(const std::filesystem::path& path, int width, int height,
                   std::span<std::uint8_t> pixels) {
  const auto file = MappedFile::open(path);
  return decode_image_to(file->bytes(), file->path(), width, height, pixels);
}

void write_png(const std::filesystem::path& path, const Image& image) {
  check_image(image);
  const auto bytes = encode_png(image);
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace facet
