#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "runtime/formats/preprocess.h"
#include "training/random.h"

namespace facet {

/// How a picture is cut to the network's size.
enum class Crop {
  none,    ///< Preprocess::Fit::stretch or center_crop, nothing random
  random,  ///< a window of the network's size at a random place, with zeros around the picture
  resized  ///< a window of random area and aspect ratio, resized
};

/// What happens to a training picture, in the order of the fields; by default nothing. All draws
/// come from one `Random`. Probabilities are in [0, 1]; the numbers of the published recipes:
/// LESA: resized, flip 0.5, jitter 0.4 0.4 0.4 0.1;
/// its CutMix form adds tensor_* 0.4 and lighting 0.1. LS-CNN: random, flip 0.5 on pictures of 144
/// for a network of 128. DCR "aug-plus": resized with area 0.2, jitter as LESA's with probability
/// 0.8, greyscale 0.2, blur 0.5, flip 0.5.
struct Augmentation {
  Crop crop = Crop::none;
  /// random: how many black pixels are put around the picture. Its shorter side is resized first as
  /// center_crop does (Preprocess::shorter_side).
  int crop_padding = 0;
  /// resized: the part of the picture's area and the width / height of the window. Up to ten draws,
  /// area uniform, aspect ratio log-uniform; then the largest centred window of a ratio in range.
  double area_min = 0.08;
  double area_max = 1;
  double aspect_min = 3.0 / 4;
  double aspect_max = 4.0 / 3;
  double flip = 0;  ///< probability of mirroring left and right
  /// Colour jitter in a random order: brightness, contrast and saturation are multiplied by
  /// U(max(0, 1 - x), 1 + x), the hue turns by U(-x, x) of the circle, x at most 0.5.
  double jitter = 1;  ///< probability of the four together
  double brightness = 0;
  double contrast = 0;
  double saturation = 0;
  double hue = 0;
  double greyscale = 0;  ///< probability
  double blur = 0;       ///< probability of a Gaussian blur of U(blur_sigma_min, blur_sigma_max)
  double blur_sigma_min = 0.1;  ///< pixels
  double blur_sigma_max = 2;
  /// On the picture as numbers, neither clamped nor rounded (training/tensor_jitter.h): strengths
  /// of brightness, contrast and saturation, and the deviation of ImageNet's lighting; 0: none.
  double tensor_brightness = 0;
  double tensor_contrast = 0;
  double tensor_saturation = 0;
  double lighting = 0;
  /// Probability that a window becomes zero after normalisation: U(erase_min, erase_max) of the
  /// area, aspect ratio log-uniform in [0.3, 1 / 0.3], ten draws, then nothing is erased.
  double erase = 0;
  double erase_min = 0.02;
  double erase_max = 1.0 / 3;
  /// CutMix, on batches (training/cut_mix.h): the probability per batch, and Beta(x, x) of which
  /// the share of the own picture is drawn.
  double cut_mix = 0;
  double cut_mix_beta = 1;
};

/// Throws Error(usage) that names the field for a value out of its range.
void check_augmentation(const Augmentation& augmentation);

/// Whether pictures stay 8-bit until they are normalised: nothing changes them as numbers.
bool keeps_bytes(const Augmentation& augmentation);

/// Whether pictures that have the size of `settings` are at most mirrored: `pixels` u8 [height,
/// width, 3] in their place become what `augment_picture` makes of them.
bool only_mirrors(const Preprocess& settings, const Augmentation& augmentation);
void mirror_by_chance(std::span<std::uint8_t> pixels, const Preprocess& settings,
                      const Augmentation& augmentation, Random random);

/// The augmented and normalised picture into a place of a batch: `to` is [3, height, width] of
/// `settings`. Throws Error(usage) if it is not of that size, Error(failure) for a picture that
/// does not cover a random crop.
void augment_into(const Image& image, const Preprocess& settings, const Augmentation& augmentation,
                  Random random, std::span<float> to);

/// Its two parts: the 8-bit picture of `settings`' size, cut, mirrored and coloured; then what is
/// done to it as numbers. `augment_into` is the second with the generator that the first leaves.
Image augment_picture(const Image& image, const Preprocess& settings,
                      const Augmentation& augmentation, Random& random);
void finish_picture(const Image& picture, const Preprocess& settings,
                    const Augmentation& augmentation, Random random, std::span<float> to);

/// What `augment_into` does, with a picture that is not needed any more: it is changed, and copied
/// only where it must be resized or cut.
void augment_away(Image& image, const Preprocess& settings, const Augmentation& augmentation,
                  Random random, std::span<float> to);
/// The same where `keeps_bytes`, not normalised: `to` is [height, width, 3].
void augment_away(Image& image, const Preprocess& settings, const Augmentation& augmentation,
                  Random random, std::span<std::uint8_t> to);

/// A window in pixels.
struct Window {
  int left = 0;
  int top = 0;
  int width = 0;
  int height = 0;
};

/// The window of `Crop::resized` in a picture of this size (torchvision's RandomResizedCrop).
Window resized_crop_window(int width, int height, const Augmentation& augmentation, Random& random);

}  // namespace facet
