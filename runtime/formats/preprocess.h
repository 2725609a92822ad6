#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "ir/host_tensor.h"
#include "runtime/formats/image.h"
#include "runtime/formats/resize.h"

namespace facet {

/// How an image becomes what a network reads: resize, then (x / 255 - mean) / std per channel.
struct Preprocess {
  enum class Fit {
    stretch,     // to width x height; the aspect ratio is not kept
    center_crop  // resize the shorter side, cut width x height out of the middle
  };

  int width = 112;   // pixels, of the network's input
  int height = 112;  // pixels
  Fit fit = Fit::stretch;
  /// center_crop: the length the shorter side gets before the cut, at least max(width, height);
  /// 0: max(width, height). Sizes are rounded down and the cut's offsets to nearest even, as
  /// torchvision's Resize and CenterCrop do.
  int shorter_side = 0;
  Filter filter = Filter::bilinear;
  /// In the order of the tensor's channels: of B, G, R if `bgr`.
  std::array<float, 3> mean = {0.5F, 0.5F, 0.5F};
  std::array<float, 3> std = {0.5F, 0.5F, 0.5F};
  bool bgr = false;
};

/// The 8-bit image [height, width, 3] that `settings` cuts out of `image`, before normalisation.
/// Throws Error(usage) for settings without meaning, Error(failure) for an image too large.
Image fit_image(const Image& image, const Preprocess& settings);

/// Resized so that the shorter side has `shorter` pixels; the longer one is rounded down.
Image resize_shorter_side(const Image& image, int shorter, Filter filter);

/// f32 [1, 3, height, width]. Throws as `fit_image` does.
HostTensor preprocess(const Image& image, const Preprocess& settings);

/// The same into a place in a batch: `to` has 3 * height * width elements, or Error(usage).
void preprocess_into(const Image& image, const Preprocess& settings, std::span<float> to);

/// The second half of it: (x / 255 - mean) / std per channel of an image that has the size already.
void normalize_into(const Image& fitted, const Preprocess& settings, std::span<float> to);

/// The same of a batch, by the calling thread's OpenMP team: u8 [n, height, width, 3] into f32 [n, 3,
/// height, width]. Throws Error(usage) for other types or sizes.
void normalize_into(const HostTensor& pictures, const Preprocess& settings, HostTensor& to);

}  // namespace facet
