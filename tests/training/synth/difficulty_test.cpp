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
/// more than any protocol would give. Features are the pictures' pixels at `side` x `side`, less
/// their mean over the set, compared by their cosine.
double best_accuracy(const PairSet& set, const std::vector<Image>& pictures, int side) {
  std::vector<std::vector<double>> features;
  for (const Image& picture : pictures) {
    const Image small = resize(picture, side, side, Filter::bilinear);
    features.emplace_back(small.pixels.begin(), small.pixels.end());
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

std::vector<Image> pictures_of(const PairSet& set) {
  std::vector<Image> pictures;
  for (std::int64_t i = 0; i < set.pictures->size(); ++i) pictures.push_back(set.pictures->load(i));
  return pictures;
}

TEST(SynthDifficulty, ColoursAndPixelsDoNotTellPersonsApart) {
  const PairSet set = open_synth_pairs({400, 3, 1});
  const std::vector<Image> pictures = pictures_of(set);
  for (const int side : {1, 8, 28}) EXPECT_LE(best_accuracy(set, pictures, side), 0.65) << side;
}

TEST(SynthDifficulty, PixelsTellMoreInPassportPhotos) {
  // The measure works, and the knob does: other persons, easily photographed.
  const PairSet set = open_synth_pairs({200, 3, 0});
  EXPECT_GT(best_accuracy(set, pictures_of(set), 28), 0.8);
}

}  // namespace
}  // namespace facet::test
