#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "runtime/formats/image.h"

namespace facet {

/// What image.cpp puts together. All throw Error(failure) that says what is wrong with the bytes;
/// the caller adds the file's name.
void decode_jpeg(std::span<const std::byte> bytes, Image& image);
Image decode_png(std::span<const std::byte> bytes);
std::vector<std::byte> encode_png(const Image& image);

}  // namespace facet
