#pragma once

#include <span>

#include "training/augment.h"

namespace facet {

/// Colour changes of a picture as numbers, which are not clamped: `planes` is [3, pixels] of values
/// x / 255, red, green, blue.

/// Brightness, contrast and saturation in a random order; each draws a ~ U(-strength, strength) and
/// moves x to x + a (reference - x). The reference is 0, the mean grey of the picture, the grey of
/// the pixel; grey = 0.299 R + 0.587 G + 0.114 B. A strength of 0 draws nothing.
void jitter_values(std::span<float> planes, const Augmentation& augmentation, Random& random);

/// Adds to every channel c the sum over k of eigenvector[c][k] alpha[k] eigenvalue[k], alpha ~ N(0,
/// deviation) (Krizhevsky et al., "ImageNet classification with deep convolutional neural
/// networks", 2012; the eigenvalues and eigenvectors of ImageNet's colours that are in common use).
void light_values(std::span<float> planes, double deviation, Random& random);

}  // namespace facet
