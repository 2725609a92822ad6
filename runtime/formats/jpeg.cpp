#include <fmt/format.h>
#include <turbojpeg.h>

#include <limits>
#include <memory>
#include <utility>

#include "ir/error.h"
#include "runtime/formats/image_codecs.h"

namespace facet {
namespace {

/// A block of 8 x 8 pixels takes a bit at least. What is declared is allocated before it is
/// decoded, so a few bytes must not declare a large picture.
constexpr std::int64_t kMostPixelsPerByte = 8 * 64;

struct Destroy {
  void operator()(void* handle) const { tjDestroy(handle); }
};

Error broken(tjhandle handle) {
  return failure(
      fmt::format("libjpeg says \"{}\"; save it again from the original", tjGetErrorStr2(handle)));
}

struct Free {
  void operator()(unsigned char* bytes) const { tjFree(bytes); }
};

}  // namespace

bool decode_jpeg(std::span<const std::byte> bytes, const PixelPlace& place) {
  // A thread's decoder serves it again only behind success: an error leaves its picture's state in
  // it.
  thread_local std::unique_ptr<void, Destroy> ready;
  std::unique_ptr<void, Destroy> decoder = std::move(ready);
  if (!decoder) decoder.reset(tjInitDecompress());
  if (!decoder) throw failure(fmt::format("libjpeg cannot start: {}", tjGetErrorStr2(nullptr)));
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  const auto size = static_cast<unsigned long>(bytes.size());

  int width = 0;
  int height = 0;
  int subsampling = 0;
  int colours = 0;
  if (tjDecompressHeader3(decoder.get(), data, size, &width, &height, &subsampling, &colours) !=
      0) {
    throw broken(decoder.get());
  }
  if (colours == TJCS_CMYK || colours == TJCS_YCCK) {
    throw failure("its colours are CMYK; convert it to RGB first");
  }
  check_image_size(width, height);
  if (std::int64_t{width} * height / kMostPixelsPerByte > static_cast<std::int64_t>(bytes.size())) {
    throw failure(fmt::format("it declares {} x {} pixels, more than its {} bytes can hold", width,
                              height, bytes.size()));
  }
  std::uint8_t* const pixels = place(width, height);
  if (pixels != nullptr) {
    // libjpeg only warns where data is missing or damaged and fills in grey: here that is an error.
    constexpr int kFlags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
    if (tjDecompress2(decoder.get(), data, size, pixels, width, width * Image::channels, height,
                      TJPF_RGB, kFlags) != 0) {
      throw broken(decoder.get());
    }
  }
  ready = std::move(decoder);
  return pixels != nullptr;
}

std::vector<std::byte> encode_jpeg(const Image& image, int quality) {
  check_image(image);
  if (quality < 1 || quality > 100) {
    throw usage_error(fmt::format("a JPEG quality of {}: give 1 to 100", quality));
  }
  const std::unique_ptr<void, Destroy> encoder(tjInitCompress());
  if (!encoder) throw failure(fmt::format("libjpeg cannot start: {}", tjGetErrorStr2(nullptr)));
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  const int result = tjCompress2(encoder.get(), image.pixels.data(), image.width, 0, image.height,
                                 TJPF_RGB, &bytes, &size, TJSAMP_420, quality, TJFLAG_ACCURATEDCT);
  const std::unique_ptr<unsigned char, Free> owner(bytes);
  if (result != 0) {
    throw failure(
        fmt::format("an image of {} x {} pixels cannot become a JPEG: libjpeg says \"{}\"",
                    image.width, image.height, tjGetErrorStr2(encoder.get())));
  }
  const auto encoded = std::as_bytes(std::span(bytes, size));
  return {encoded.begin(), encoded.end()};
}

}  // namespace facet
