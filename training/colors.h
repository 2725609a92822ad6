#pragma once

#include <cstdint>
#include <span>

#include "runtime/formats/image.h"

namespace facet {

/// Colour changes of 8-bit pictures, in place. Results are clamped to 0..255 and cut off as
/// Pillow's ImageEnhance does; the luma is (19595 R + 38470 G + 7471 B + 32768) / 65536.

/// x * factor.
void adjust_brightness(Image& image, double factor);
/// m + (x - m) * factor, m the mean luma of the picture, rounded.
void adjust_contrast(Image& image, double factor);
/// y + (x - y) * factor, y the luma of the pixel.
void adjust_saturation(Image& image, double factor);
/// Turns the hue by `turn` of the circle (HSV), saturation and value stay; rounded to nearest once.
void rotate_hue(Image& image, double turn);
/// The luma in all three channels.
void make_greyscale(Image& image);
/// A Gaussian of `sigma` pixels, cut off at 3 sigma, rows then columns in float; beyond the border
/// the outermost pixels go on. A sigma of 0 changes nothing.
void blur(Image& image, double sigma);
/// Left and right change places.
void mirror(Image& image);
/// The same of pixels [height, width, 3].
void mirror(std::span<std::uint8_t> pixels, int width);

}  // namespace facet
