#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "runtime/formats/resize.h"
#include "training/synth/synth_sets.h"

/// A made data set is worth something only if no cheap trick solves it.
namespace facet::test {
namespace {

using Features = std::function<std::vector<double>(const Image&)>;

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  double product = 0;
  double a_square = 1e-12;
  double b_square = 1e-12;
  for (std::size_t i = 0; i < a.size(); ++i) {
    product += a[i] * b[i];
    a_square += a[i] * a[i];
    b_square += b[i] * b[i];
  }
  return product / std::sqrt(a_square * b_square);
}

/// The accuracy of "the same person" above the best of all thresholds, chosen on these very pairs:
/// more than any protocol would give. Features have the set's mean taken off.
double best_accuracy(const PairSet& set, const Features& features_of) {
  std::vector<std::vector<double>> features;
  for (std::int64_t i = 0; i < set.pictures->size(); ++i) {
    features.push_back(features_of(set.pictures->load(i)));
  }
  std::vector<double> mean(features.front().size());
  for (const auto& one : features) {
    for (std::size_t i = 0; i < mean.size(); ++i)
      mean[i] += one[i] / static_cast<double>(features.size());
  }
  for (auto& one : features) {
    for (std::size_t i = 0; i < mean.size(); ++i) one[i] -= mean[i];
  }
  std::vector<std::pair<double, bool>> scores;
  for (const Pair& pair : set.pairs) {
    scores.emplace_back(cosine(features[static_cast<std::size_t>(pair.first)],
                               features[static_cast<std::size_t>(pair.second)]),
                        pair.same);
  }
  std::ranges::sort(scores, std::greater<>());
  auto right = static_cast<double>(std::ranges::count(set.pairs, false, &Pair::same));
  double best = right;
  for (const auto& [score, same] : scores) {
    right += same ? 1 : -1;
    best = std::max(best, right);
  }
  return best / static_cast<double>(scores.size());
}

std::vector<double> shrunk(const Image& image, int side) {
  const Image small = resize(image, side, side, Filter::bilinear);
  return {small.pixels.begin(), small.pixels.end()};
}

TEST(SynthDifficulty, ColoursAndPixelsDoNotTellPersonsApart) {
  const PairSet set = open_synth_pairs({400, 3, 1});
  EXPECT_LE(best_accuracy(set, [](const Image& image) { return shrunk(image, 1); }), 0.65);
  EXPECT_LE(best_accuracy(set, [](const Image& image) { return shrunk(image, 8); }), 0.65);
  EXPECT_LE(best_accuracy(set, [](const Image& image) { return shrunk(image, 28); }), 0.65);
}

TEST(SynthDifficulty, PixelsTellMoreInPassportPhotos) {
  // The measure works, and the knob does: the same persons, easily photographed.
  const double easy = best_accuracy(open_synth_pairs({400, 3, 0}),
                                    [](const Image& image) { return shrunk(image, 28); });
  EXPECT_GT(easy, 0.8);
}

}  // namespace
}  // namespace facet::test
