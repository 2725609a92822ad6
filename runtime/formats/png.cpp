#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <new>
#include <string_view>

#include "ir/error.h"
#include "runtime/formats/image_codecs.h"

namespace facet {
namespace {

/// What libpng says of an error. It reports one by a longjmp, which must not skip a destructor:
/// every call into libpng that can fail stands in a function that has plain locals only.
using Message = std::array<char, 160>;

/// A few bytes can declare a large picture. One of more bytes than this is read to nowhere first,
/// so that memory is only asked for what is there.
constexpr std::size_t kLargestUnchecked = std::size_t{48} << 20;

void on_error(png_structp png, png_const_charp text) {
  auto& message = *static_cast<Message*>(png_get_error_ptr(png));
  const std::size_t size = std::min(std::strlen(text), message.size() - 1);
  std::memcpy(message.data(), text, size);
  message[size] = '\0';
  png_longjmp(png, 1);
}

/// Warnings are about chunks that do not change the samples.
void on_warning(png_structp, png_const_charp) {}

Error broken(const Message& message) {
  return failure(
      fmt::format("libpng says \"{}\"; save it again from the original", message.data()));
}

class PngReader {
 public:
  explicit PngReader(std::span<const std::byte> bytes)
      : bytes_(bytes),
        rest_(bytes),
        png_(png_create_read_struct(PNG_LIBPNG_VER_STRING, &message_, on_error, on_warning)),
        info_(png_ == nullptr ? nullptr : png_create_info_struct(png_)) {}
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  Image read() {
    if (info_ == nullptr) throw failure("libpng cannot start");
    if (!read_header()) throw broken(message_);
    check_image_size(width_, height_);
    const std::size_t stride = std::size_t{width_} * Image::channels;
    if (stride * height_ > kLargestUnchecked) PngReader(bytes_).check();
    Image image = make_image(width_, height_);
    if (!read_rows(image.pixels.data(), stride)) throw broken(message_);
    return image;
  }

  /// Reads everything, row over row: throws as `read` does, but keeps nothing.
  void check() {
    if (info_ == nullptr) throw failure("libpng cannot start");
    if (!read_header()) throw broken(message_);
    std::vector<std::uint8_t> row(std::size_t{width_} * Image::channels);
    if (!read_rows(row.data(), 0)) throw broken(message_);
  }

 private:
  static void on_read(png_structp png, png_bytep to, std::size_t count) {
    auto& rest = *static_cast<std::span<const std::byte>*>(png_get_io_ptr(png));
    if (count > rest.size()) png_error(png, "the file is cut short");
    std::memcpy(to, rest.data(), count);
    rest = rest.subspan(count);
  }

  /// Sets the size and asks for rows of 8-bit R, G, B whatever is stored.
  bool read_header() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, &rest_, on_read);
    png_read_info(png_, info_);
    width_ = png_get_image_width(png_, info_);
    height_ = png_get_image_height(png_, info_);
    png_set_scale_16(png_);
    png_set_expand(png_);
    png_set_strip_alpha(png_);
    png_set_gray_to_rgb(png_);
    passes_ = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    if (png_get_rowbytes(png_, info_) != std::size_t{width_} * Image::channels) {
      png_error(png_, "its rows do not have the expected size");
    }
    return true;
  }

  bool read_rows(std::uint8_t* pixels, std::size_t stride) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    for (int pass = 0; pass < passes_; ++pass) {
      for (std::size_t row = 0; row < height_; ++row) {
        png_read_row(png_, pixels + row * stride, nullptr);
      }
    }
    png_read_end(png_, nullptr);  // finds damage behind the last row
    return true;
  }

  Message message_ = {};
  std::span<const std::byte> bytes_;
  std::span<const std::byte> rest_;
  png_structp png_;
  png_infop info_;
  png_uint_32 width_ = 0;
  png_uint_32 height_ = 0;
  int passes_ = 0;
};

class PngWriter {
 public:
  PngWriter()
      : png_(png_create_write_struct(PNG_LIBPNG_VER_STRING, &message_, on_error, on_warning)),
        info_(png_ == nullptr ? nullptr : png_create_info_struct(png_)) {}
  ~PngWriter() { png_destroy_write_struct(&png_, &info_); }
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;

  std::vector<std::byte> write(const Image& image) {
    if (info_ == nullptr) throw failure("libpng cannot start");
    if (!write_all(image)) throw broken(message_);
    return std::move(output_);
  }

 private:
  static void on_write(png_structp png, png_bytep from, std::size_t count) {
    auto& output = *static_cast<std::vector<std::byte>*>(png_get_io_ptr(png));
    const auto* bytes = reinterpret_cast<const std::byte*>(from);
    bool stored = true;
    try {
      output.insert(output.end(), bytes, bytes + count);
    } catch (const std::bad_alloc&) {
      stored = false;  // an exception may not pass through libpng either
    }
    if (!stored) png_error(png, "out of memory");
  }
  static void on_flush(png_structp) {}

  bool write_all(const Image& image) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_write_fn(png_, &output_, on_write, on_flush);
    png_set_IHDR(png_, info_, static_cast<png_uint_32>(image.width),
                 static_cast<png_uint_32>(image.height), 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png_, info_);
    const auto stride = static_cast<std::size_t>(image.width) * Image::channels;
    for (std::size_t row = 0; row < static_cast<std::size_t>(image.height); ++row) {
      png_write_row(png_, image.pixels.data() + row * stride);
    }
    png_write_end(png_, info_);
    return true;
  }

  Message message_ = {};
  std::vector<std::byte> output_;
  png_structp png_;
  png_infop info_;
};

}  // namespace

Image decode_png(std::span<const std::byte> bytes) { return PngReader(bytes).read(); }

std::vector<std::byte> encode_png(const Image& image) { return PngWriter().write(image); }

}  // namespace facet
