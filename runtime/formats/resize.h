#pragma once

#include <string_view>

#include "runtime/formats/image.h"

namespace facet {

/// Resampling kernels: triangle (support 1), Keys' cubic with a = -0.5 (support 2), Lanczos-3.
enum class Filter { bilinear, bicubic, lanczos };

/// "bilinear", "bicubic", "lanczos".
std::string_view to_string(Filter filter);
/// Inverse of `to_string`. Throws Error(usage) that lists the names.
Filter parse_filter(std::string_view name);

/// Resizes with antialiasing, to the grey level as `Image.resize((width, height), filter)` of Pillow
/// up to version 12 does (13 takes the columns first where that is less work).
/// Per axis with s = in / out and f = max(s, 1), output o sums the inputs i within f * support of
/// its centre c = (o + 0.5) s, weighted by kernel((i + 0.5 - c) / f), normalised and rounded to
/// 2^-22; rows first, stored as 8 bits, then columns.
/// Throws Error(failure) if the new size is not possible, and as `check_image` does.
Image resize(const Image& image, int width, int height, Filter filter);

}  // namespace facet
