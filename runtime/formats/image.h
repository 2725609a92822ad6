#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace facet {

/// An 8-bit RGB picture: `height` rows of `width` pixels of R, G, B, without padding.
struct Image {
  static constexpr int channels = 3;

  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> pixels;  // [height, width, 3]
};

/// Larger pictures are refused before memory is allocated for them.
inline constexpr std::int64_t kLargestPixelCount = std::int64_t{1} << 28;

/// Throws Error(failure) for a size without pixels or of more than kLargestPixelCount.
void check_image_size(std::int64_t width, std::int64_t height);
/// Throws Error(usage) if `pixels` does not fit the size.
void check_image(const Image& image);

/// An image of zeros. Throws as `check_image_size` does.
Image make_image(std::int64_t width, std::int64_t height);

/// Three equal channels from `width` x `height` grey levels. Throws Error(usage) if their number is
/// not width * height.
Image image_from_grey(std::span<const std::uint8_t> grey, int width, int height);

/// The part of `width` x `height` pixels whose upper left corner is (left, top). Throws
/// Error(usage) if it does not lie within the image.
Image crop_image(const Image& image, int left, int top, int width, int height);

/// Reads a JPEG or PNG file, told apart by its first bytes, not by its name. The samples are taken
/// as stored, as Pillow's `convert("RGB")` does: grey becomes three equal channels, alpha is
/// dropped (not composited), colour profiles, gamma and EXIF orientation are ignored; 16-bit PNG
/// samples are rounded to 8 bits. Throws Error(failure) that names the file for anything else:
/// another format, CMYK, too many pixels, and any damage, also such that a viewer would paper over.
Image read_image(const std::filesystem::path& path);
void read_image_into(const std::filesystem::path& path, Image& image);

/// The same from memory; `name` stands for the file in messages.
Image decode_image(std::span<const std::byte> bytes, std::string_view name);
/// The same into an image whose memory is used again: for many pictures of about one size.
void decode_image_into(std::span<const std::byte> bytes, std::string_view name, Image& image);

/// Decodes a JPEG straight to `pixels` [height, width, 3] if it has that size; false, with nothing
/// done, for another size or format. Throws as `read_image` for damage.
bool read_image_to(const std::filesystem::path& path, int width, int height,
                   std::span<std::uint8_t> pixels);
bool decode_image_to(std::span<const std::byte> bytes, std::string_view name, int width, int height,
                     std::span<std::uint8_t> pixels);

/// Writes an 8-bit RGB PNG atomically (see AtomicFile). Throws as `check_image` does,
/// Error(failure) if it cannot be written.
void write_png(const std::filesystem::path& path, const Image& image);

/// A baseline JPEG with half the colour resolution (4:2:0), as Pillow and OpenCV write them;
/// `quality` is libjpeg's, 1 to 100. Throws as `check_image` does, Error(usage) for another
/// quality, Error(failure) for an image of more than 65535 pixels a side.
std::vector<std::byte> encode_jpeg(const Image& image, int quality = 95);

}  // namespace facet
