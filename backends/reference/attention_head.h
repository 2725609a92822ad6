#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "backends/reference/evaluators.h"
#include "ir/sdpa.h"

/// What the evaluators of attention share.
namespace facet::reference {

/// One head of one image of `sdpa` or `sdpa_bwd`, by the formulas at the top of ir/sdpa.h. Operand
/// i of the sdpa is operand `first` + i of the call.
class Head {
 public:
  Head(const Call& call, const Sdpa& sdpa, int first, std::int64_t image, std::int64_t head)
      : call_(call), s_(sdpa), first_(first), n_(image), g_(head) {}

  /// `weights`: null, or where they are kept.
  void run(HostTensor& result, HostTensor* weights) const {
    std::vector<double> row(static_cast<std::size_t>(s_.keys));
    for (std::int64_t i = 0; i < s_.queries; ++i) {
      for (std::int64_t j = 0; j < s_.keys; ++j) row[static_cast<std::size_t>(j)] = score(i, j);
      softmax(row);
      if (weights != nullptr) {
        std::copy(row.begin(), row.end(), weights->as_mutable<double>() + weights_place(i));
      }
      for (std::int64_t c = 0; c < s_.value.size; ++c) store(result, row, i, c);
    }
  }

 protected:
  static void softmax(std::vector<double>& row) {
    const double largest = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (double& value : row) {
      value = std::exp(value - largest);
      sum += value;
    }
    for (double& value : row) value /= sum;
  }

  const HostTensor& operand(int i) const { return call_.operand(first_ + i); }
  std::int64_t place(const HostTensor& tensor, std::int64_t token, std::int64_t channel) const {
    const std::int64_t image = tensor.element_count() / tensor.shape()[0];
    const std::int64_t channels = s_.channels_last ? tensor.shape().back() : tensor.shape()[1];
    return n_ * image +
           (s_.channels_last ? token * channels + channel : channel * (image / channels) + token);
  }
  std::int64_t channel_of(const HeadChannels& heads, std::int64_t c) const {
    return heads.first + g_ * heads.step + c;
  }
  double of(int i, const HeadChannels& heads, std::int64_t token, std::int64_t c) const {
    const HostTensor& tensor = operand(i);
    return tensor.as<double>()[place(tensor, token, channel_of(heads, c))];
  }
  double q(std::int64_t i, std::int64_t c) const { return of(0, s_.query, i, c); }
  double k(std::int64_t j, std::int64_t c) const { return of(1, s_.key, j, c); }
  double v(std::int64_t j, std::int64_t c) const { return of(2, s_.value, j, c); }
  /// Element [row, column] of an extra operand that is a matrix.
  double matrix(int i, std::int64_t row, std::int64_t column) const {
    const HostTensor& tensor = operand(i);
    return tensor.as<double>()[row * tensor.shape().back() + column];
  }
  std::int64_t distance(std::int64_t i, std::int64_t j) const { return i - j + s_.keys - 1; }
  std::int64_t rows_between(std::int64_t i, std::int64_t j) const {
    return i / s_.width - j / s_.width + s_.height - 1;
  }
  std::int64_t columns_between(std::int64_t i, std::int64_t j) const {
    return i % s_.width - j % s_.width + s_.width - 1;
  }

  /// Content, places of the query and places of the key, unscaled.
  std::array<double, 3> parts(std::int64_t i, std::int64_t j) const {
    std::array<double, 3> sums{};
    for (std::int64_t c = 0; c < s_.query.size; ++c) {
      sums[0] += q(i, c) * k(j, c);
      if (s_.has_query_places()) sums[1] += q(i, c) * query_place(i, j, c);
      if (s_.relative_key >= 0) sums[2] += k(j, c) * matrix(s_.relative_key, distance(i, j), c);
    }
    return sums;
  }
  /// The row of score_scale of a part, -1 for a part that is absent.
  int row_of(int part) const {
    if (part == 0) return 0;
    if (part == 1) return s_.has_query_places() ? 1 : -1;
    if (s_.relative_key < 0) return -1;
    return s_.has_query_places() ? 2 : 1;
  }
  double score_scale(int part) const {
    return s_.score_scale >= 0 ? matrix(s_.score_scale, row_of(part), g_) : 1;
  }
  double unclamped(std::int64_t i, std::int64_t j) const {
    const std::array<double, 3> sums = parts(i, j);
    double sum = 0;
    for (int part = 0; part < 3; ++part) {
      if (row_of(part) >= 0) sum += score_scale(part) * sums[static_cast<std::size_t>(part)];
    }
    return sum * s_.scale;
  }
  double score(std::int64_t i, std::int64_t j) const {
    double sum = unclamped(i, j);
    if (s_.clamp) sum = std::clamp(sum, s_.clamp->first, s_.clamp->second);
    return s_.bias >= 0 ? sum + operand(s_.bias).as<double>()[bias_place(i, j)] : sum;
  }

  /// The weights of query i.
  std::int64_t weights_place(std::int64_t i) const {
    return ((n_ * s_.heads + g_) * s_.queries + i) * s_.keys;
  }

  double query_place(std::int64_t i, std::int64_t j, std::int64_t c) const {
    if (s_.relative_query >= 0) return matrix(s_.relative_query, distance(i, j), c);
    return matrix(s_.relative_height, rows_between(i, j), c) +
           matrix(s_.relative_width, columns_between(i, j), c);
  }

  /// Element [n, g, i, j] of the bias, whose extents of 1 repeat.
  std::int64_t bias_place(std::int64_t i, std::int64_t j) const {
    const HostTensor& tensor = operand(s_.bias);
    const std::int64_t index[] = {n_, g_, i, j};
    std::int64_t at = 0;
    for (std::size_t axis = 0; axis < tensor.shape().size(); ++axis) {
      const std::int64_t extent = tensor.shape()[axis];
      const std::int64_t along = index[4 - tensor.shape().size() + axis];
      at = at * extent + (extent == 1 ? 0 : along);
    }
    return at;
  }

  const Call& call_;
  const Sdpa& s_;
  int first_;
  std::int64_t n_, g_;

 private:
  void store(HostTensor& result, const std::vector<double>& row, std::int64_t i,
             std::int64_t c) const {
    double content = 0, places = 0;
    for (std::int64_t j = 0; j < s_.keys; ++j) {
      const double weight = row[static_cast<std::size_t>(j)];
      content += weight * v(j, c);
      if (s_.relative_value >= 0) places += weight * matrix(s_.relative_value, distance(i, j), c);
    }
    const std::int64_t channel = g_ * s_.value.size + c;
    auto* const to = result.as_mutable<double>();
    if (s_.interleaved) {
      to[place(result, i, 2 * channel)] = content;
      to[place(result, i, 2 * channel + 1)] = places;
      return;
    }
    if (s_.output_scale >= 0) {
      content *= matrix(s_.output_scale, 0, channel);
      if (s_.relative_value >= 0) places *= matrix(s_.output_scale, 1, channel);
    }
    const double shift = s_.output_shift >= 0 ? matrix(s_.output_shift, 0, channel) : 0;
    to[place(result, i, channel)] = content + places + shift;
  }
};

/// Adds what one head of one image gives to gradients.
class HeadSums : protected Head {
 public:
  HeadSums(const Call& call, const SdpaBwd& bwd, int first, std::int64_t image, std::int64_t head,
           std::vector<HostTensor>& results)
      : Head(call, bwd.sdpa, first, image, head), b_(bwd), results_(&results) {}

 protected:
  HostTensor& result(int number) const { return (*results_)[static_cast<std::size_t>(number)]; }
  void add(int number, const HeadChannels& heads, std::int64_t token, std::int64_t c,
           double value) {
    HostTensor& tensor = result(number);
    tensor.as_mutable<double>()[place(tensor, token, channel_of(heads, c))] += value;
  }
  void add_row(int number, std::int64_t row, std::int64_t column, double value) {
    HostTensor& tensor = result(number);
    tensor.as_mutable<double>()[row * tensor.shape().back() + column] += value;
  }

  /// The cotangents of the parts at i, j, for tokens and tables.
  void add_parts(std::int64_t i, std::int64_t j, const std::array<double, 3>& of_parts) {
    for (std::int64_t c = 0; c < s_.query.size; ++c) {
      add(b_.query, s_.query, i, c, of_parts[0] * k(j, c));
      add(b_.key, s_.key, j, c, of_parts[0] * q(i, c));
      if (s_.has_query_places()) {
        add(b_.query, s_.query, i, c, of_parts[1] * query_place(i, j, c));
        if (s_.relative_query >= 0) {
          add_row(b_.relative_query, distance(i, j), c, of_parts[1] * q(i, c));
        } else {
          add_row(b_.relative_height, rows_between(i, j), c, of_parts[1] * q(i, c));
          add_row(b_.relative_width, columns_between(i, j), c, of_parts[1] * q(i, c));
        }
      }
      if (s_.relative_key >= 0) {
        add(b_.key, s_.key, j, c, of_parts[2] * matrix(s_.relative_key, distance(i, j), c));
        add_row(b_.relative_key, distance(i, j), c, of_parts[2] * k(j, c));
      }
    }
  }

  const SdpaBwd& b_;

 private:
  std::vector<HostTensor>* results_;
};

}  // namespace facet::reference
