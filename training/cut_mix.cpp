#include "training/cut_mix.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <tuple>
#include <utility>
#include <vector>

namespace facet {
namespace {

/// Calls `row` with the flat position where each row of `box` begins, in all planes of [N, C, H,
/// W].
template <class Row>
void for_each_row(const std::vector<std::int64_t>& shape, const Window& box, Row row) {
  for (std::int64_t picture = 0; picture < shape[0]; ++picture) {
    for (std::int64_t channel = 0; channel < shape[1]; ++channel) {
      const std::int64_t plane = (picture * shape[1] + channel) * shape[2];
      for (std::int64_t y = box.top; y < box.top + box.height; ++y) {
        row((plane + y) * shape[3] + box.left);
      }
    }
  }
}

/// From centre - size / 2 to centre + size / 2, cut off at 0 and `extent`.
std::pair<int, int> interval(int size, int extent, Random& random) {
  const int centre = static_cast<int>(random.integer(extent));
  const int first = std::max(centre - size / 2, 0);
  return {first, std::min(centre + size / 2, extent) - first};
}

Window draw_box(int width, int height, double share, Random& random) {
  const double ratio = std::sqrt(1 - share);
  Window box;
  std::tie(box.left, box.width) = interval(static_cast<int>(width * ratio), width, random);
  std::tie(box.top, box.height) = interval(static_cast<int>(height * ratio), height, random);
  return box;
}

}  // namespace

CutMixResult cut_mix(HostTensor& pixels, const HostTensor& labels, const Augmentation& augmentation,
                     Random random) {
  const std::vector<std::int64_t>& shape = pixels.shape();
  if (!random.chance(augmentation.cut_mix) || shape[0] == 0) return {labels, 1};
  const double share = random.beta(augmentation.cut_mix_beta, augmentation.cut_mix_beta);
  const Window box =
      draw_box(static_cast<int>(shape[3]), static_cast<int>(shape[2]), share, random);
  const auto order = permutation(shape[0], Random(random.bits()));

  // All boxes are taken out before the first is put in: a picture gives what it was.
  auto* values = pixels.as_mutable<float>();
  std::vector<float> boxes;
  for_each_row(shape, box, [&](std::int64_t start) {
    boxes.insert(boxes.end(), values + start, values + start + box.width);
  });
  const std::int64_t picture_size = shape[1] * shape[2] * shape[3];
  const std::size_t box_size = boxes.size() / static_cast<std::size_t>(shape[0]);
  std::size_t done = 0;  // of the boxes' values, in the order of the pictures that get them
  for_each_row(shape, box, [&](std::int64_t start) {
    const auto giver =
        static_cast<std::size_t>(order[static_cast<std::size_t>(start / picture_size)]);
    const auto from =
        boxes.begin() + static_cast<std::ptrdiff_t>(giver * box_size + done % box_size);
    std::copy_n(from, box.width, values + start);
    done += static_cast<std::size_t>(box.width);
  });

  CutMixResult result = {HostTensor(DType::i64, labels.shape()), 1};
  for (std::size_t i = 0; i < order.size(); ++i) {
    result.labels.as_mutable<std::int64_t>()[i] = labels.as<std::int64_t>()[order[i]];
  }
  result.own = 1 - static_cast<double>(box.width) * box.height /
                       (static_cast<double>(shape[2]) * static_cast<double>(shape[3]));
  return result;
}

}  // namespace facet
