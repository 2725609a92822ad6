#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/formats/image.h"

namespace facet {

/// Where the pixels [height, width, 3] of a picture of this size go; null if they are not wanted.
using PixelPlace = std::function<std::uint8_t*(int width, int height)>;

/// What image.cpp puts together. All throw Error(failure) that says what is wrong with the bytes;
/// the caller adds the file's name. False if the pixels were not wanted.
bool decode_jpeg(std::span<const std::byte> bytes, const PixelPlace& place);
Image decode_png(std::span<const std::byte> bytes);
std::vector<std::byte> encode_png(const Image& image);

}  // namespace facet
