// skew, unskew, sdpa, sdpa_bwd, score_moments, score_moments_bwd.

#include <algorithm>
#include <array>
#include <cmath>

#include "backends/reference/evaluators.h"
#include "ir/sdpa.h"

namespace facet::reference {
namespace {

/// Calls visit(i, place) for every pair [..., i, j] of a value `pairs`, in order; `place` is that
/// of its distance in a value [..., I, I + J - 1].
template <class Visit>
void for_each_pair(const Extents& pairs, const Attributes& attributes, Visit visit) {
  const std::int64_t rows = pairs.end()[-2];
  const std::int64_t columns = pairs.end()[-1];
  const bool row_minus_column = attributes.text("distance") == "i-j";
  for (std::int64_t pair = 0; pair < product(pairs); ++pair) {
    const std::int64_t i = pair / columns % rows;
    const std::int64_t j = pair % columns;
    const std::int64_t distance = row_minus_column ? i - j + columns - 1 : j - i + rows - 1;
    visit(pair, pair / columns * (rows + columns - 1) + distance);
  }
}

std::vector<HostTensor> skew(const Call& call) {
  HostTensor result = call.result();
  const double* from = call.operand(0).as<double>();
  double* to = result.as_mutable<double>();
  for_each_pair(result.shape(), call.attributes(),
                [&](std::int64_t pair, std::int64_t place) { to[pair] = from[place]; });
  return {result};
}

std::vector<HostTensor> unskew(const Call& call) {
  HostTensor result = call.result();
  const double* from = call.operand(0).as<double>();
  double* to = result.as_mutable<double>();
  for_each_pair(call.operand(0).shape(), call.attributes(),
                [&](std::int64_t pair, std::int64_t place) { to[place] = from[pair]; });
  return {result};
}

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

std::vector<HostTensor> sdpa(const Call& call) {
  const Sdpa sdpa = sdpa_of(call.node);
  std::vector<HostTensor> results;
  for (const Extents& shape : call.result_shapes) results.emplace_back(DType::f64, shape);
  HostTensor* const weights = sdpa.keeps_weights ? &results[1] : nullptr;
  for (std::int64_t image = 0; image < results[0].shape()[0]; ++image) {
    for (std::int64_t head = 0; head < sdpa.heads; ++head) {
      Head(call, sdpa, 0, image, head).run(results[0], weights);
    }
  }
  return results;
}

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

class HeadGradient : HeadSums {
 public:
  HeadGradient(const Call& call, const SdpaBwd& bwd, std::int64_t image, std::int64_t head,
               std::vector<HostTensor>& results)
      : HeadSums(call, bwd, 1, image, head, results) {}

  void run() {
    std::vector<double> weights(static_cast<std::size_t>(s_.keys)), of_weights(weights);
    for (std::int64_t i = 0; i < s_.queries; ++i) {
      for (std::int64_t j = 0; j < s_.keys; ++j) {
        weights[static_cast<std::size_t>(j)] =
            b_.weights >= 0 ? call_.operand(b_.weights).as<double>()[weights_place(i) + j]
                            : score(i, j);
        of_weights[static_cast<std::size_t>(j)] = weight_cotangent(i, j);
      }
      if (b_.weights < 0) softmax(weights);
      double mean = 0;
      for (std::size_t j = 0; j < weights.size(); ++j) mean += weights[j] * of_weights[j];
      for (std::int64_t j = 0; j < s_.keys; ++j) {
        const double weight = weights[static_cast<std::size_t>(j)];
        add_values(i, j, weight);
        add_scores(i, j, weight * (of_weights[static_cast<std::size_t>(j)] - mean));
      }
    }
  }

 private:
  double dy(std::int64_t i, std::int64_t c, int part) const {
    const HostTensor& tensor = call_.operand(0);
    const std::int64_t channel = g_ * s_.value.size + c;
    return tensor.as<double>()[place(tensor, i, s_.interleaved ? 2 * channel + part : channel)];
  }
  double weight_cotangent(std::int64_t i, std::int64_t j) const {
    double sum = 0;
    for (std::int64_t c = 0; c < s_.value.size; ++c) {
      sum += dy(i, c, 0) * v(j, c);
      if (s_.relative_value >= 0) {
        sum += dy(i, c, 1) * matrix(s_.relative_value, distance(i, j), c);
      }
    }
    return sum;
  }

  void add_values(std::int64_t i, std::int64_t j, double weight) {
    for (std::int64_t c = 0; c < s_.value.size; ++c) {
      add(b_.value, s_.value, j, c, weight * dy(i, c, 0));
      if (s_.relative_value < 0) continue;
      add_row(b_.relative_value, distance(i, j), c, weight * dy(i, c, 1));
    }
  }

  void add_scores(std::int64_t i, std::int64_t j, double gradient) {
    if (b_.bias >= 0) result(b_.bias).as_mutable<double>()[bias_place(i, j)] += gradient;
    const double sum = unclamped(i, j);
    if (s_.clamp && (sum < s_.clamp->first || sum > s_.clamp->second)) return;
    gradient *= s_.scale;
    const std::array<double, 3> sums = parts(i, j);
    for (int part = 0; part < 3 && b_.score_scale >= 0; ++part) {
      if (row_of(part) < 0) continue;
      add_row(b_.score_scale, row_of(part), g_, gradient * sums[static_cast<std::size_t>(part)]);
    }
    std::array<double, 3> of_parts{};
    for (int part = 0; part < 3; ++part) {
      if (row_of(part) >= 0) of_parts[static_cast<std::size_t>(part)] = gradient * score_scale(part);
    }
    add_parts(i, j, of_parts);
  }
};

std::vector<HostTensor> sdpa_bwd(const Call& call) {
  const SdpaBwd bwd = sdpa_bwd_of(call.node);
  std::vector<HostTensor> results;
  for (const Extents& shape : call.result_shapes) results.emplace_back(DType::f64, shape);
  for (std::int64_t image = 0; image < call.operand(0).shape()[0]; ++image) {
    for (std::int64_t head = 0; head < bwd.sdpa.heads; ++head) {
      HeadGradient(call, bwd, image, head, results).run();
    }
  }
  return results;
}

/// Sums of the parts and of their squares.
class HeadMoments : Head {
 public:
  using Head::Head;
  void run(HostTensor& sums, HostTensor& squares) const {
    for (std::int64_t i = 0; i < s_.queries; ++i) {
      for (std::int64_t j = 0; j < s_.keys; ++j) {
        const std::array<double, 3> values = parts(i, j);
        for (int part = 0; part < 3; ++part) {
          if (row_of(part) < 0) continue;
          const std::int64_t at = row_of(part) * s_.heads + g_;
          const double value = values[static_cast<std::size_t>(part)];
          sums.as_mutable<double>()[at] += value;
          squares.as_mutable<double>()[at] += value * value;
        }
      }
    }
  }
};

std::vector<HostTensor> score_moments(const Call& call) {
  const Sdpa sdpa = score_moments_of(call.node);
  HostTensor means = call.result(), variances = call.result();
  const std::int64_t images = call.operand(0).shape()[0];
  for (std::int64_t image = 0; image < images; ++image) {
    for (std::int64_t head = 0; head < sdpa.heads; ++head) {
      HeadMoments(call, sdpa, 0, image, head).run(means, variances);
    }
  }
  const auto pairs = static_cast<double>(images * sdpa.queries * sdpa.keys);
  for (std::int64_t i = 0; i < means.element_count(); ++i) {
    double& mean = means.as_mutable<double>()[i];
    double& variance = variances.as_mutable<double>()[i];
    mean /= pairs;
    variance = variance / pairs - mean * mean;
  }
  return {means, variances};
}

class MomentsGradient : HeadSums {
 public:
  using HeadSums::HeadSums;
  void run(double pairs) {
    for (std::int64_t i = 0; i < s_.queries; ++i) {
      for (std::int64_t j = 0; j < s_.keys; ++j) {
        const std::array<double, 3> values = parts(i, j);
        std::array<double, 3> of_parts{};
        for (int part = 0; part < 3; ++part) {
          if (row_of(part) < 0) continue;
          const auto moment = [&](int number) {
            return call_.operand(number).as<double>()[row_of(part) * s_.heads + g_];
          };
          const double centred = values[static_cast<std::size_t>(part)] - moment(2);
          of_parts[static_cast<std::size_t>(part)] = (moment(0) + 2 * moment(1) * centred) / pairs;
        }
        add_parts(i, j, of_parts);
      }
    }
  }
};

std::vector<HostTensor> score_moments_bwd(const Call& call) {
  const SdpaBwd bwd = score_moments_bwd_of(call.node);
  std::vector<HostTensor> results;
  for (const Extents& shape : call.result_shapes) results.emplace_back(DType::f64, shape);
  const std::int64_t images = call.operand(3).shape()[0];
  const auto pairs = static_cast<double>(images * bwd.sdpa.queries * bwd.sdpa.keys);
  for (std::int64_t image = 0; image < images; ++image) {
    for (std::int64_t head = 0; head < bwd.sdpa.heads; ++head) {
      MomentsGradient(call, bwd, 3, image, head, results).run(pairs);
    }
  }
  return results;
}

}  // namespace

void add_attention_ops(EvaluatorTable& table) {
  table["skew"] = skew;
  table["unskew"] = unskew;
  table["sdpa"] = sdpa;
  table["sdpa_bwd"] = sdpa_bwd;
  table["score_moments"] = score_moments;
  table["score_moments_bwd"] = score_moments_bwd;
}

}  // namespace facet::reference
