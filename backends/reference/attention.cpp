// skew, unskew, sdpa.

#include <algorithm>
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

/// One head of one image of `sdpa`, by the formula at the top of ir/sdpa.h.
class Head {
 public:
  Head(const Call& call, const Sdpa& sdpa, std::int64_t image, std::int64_t head)
      : call_(call), s_(sdpa), n_(image), g_(head) {}

  void run(HostTensor& result) const {
    std::vector<double> row(static_cast<std::size_t>(s_.keys));
    for (std::int64_t i = 0; i < s_.queries; ++i) {
      for (std::int64_t j = 0; j < s_.keys; ++j) row[static_cast<std::size_t>(j)] = score(i, j);
      softmax(row);
      for (std::int64_t c = 0; c < s_.value.size; ++c) {
        const std::int64_t channel = g_ * s_.value.size + c;
        result.as_mutable<double>()[place(result, i, channel)] = output(row, i, c, channel);
      }
    }
  }

 private:
  static void softmax(std::vector<double>& row) {
    const double largest = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (double& value : row) {
      value = std::exp(value - largest);
      sum += value;
    }
    for (double& value : row) value /= sum;
  }

  std::int64_t place(const HostTensor& tensor, std::int64_t token, std::int64_t channel) const {
    const std::int64_t image = tensor.element_count() / tensor.shape()[0];
    const std::int64_t channels = s_.channels_last ? tensor.shape().back() : tensor.shape()[1];
    return n_ * image +
           (s_.channels_last ? token * channels + channel : channel * (image / channels) + token);
  }
  double of(int operand, const HeadChannels& heads, std::int64_t token, std::int64_t c) const {
    const HostTensor& tensor = call_.operand(operand);
    return tensor.as<double>()[place(tensor, token, heads.first + g_ * heads.step + c)];
  }
  double q(std::int64_t i, std::int64_t c) const { return of(0, s_.query, i, c); }
  double k(std::int64_t j, std::int64_t c) const { return of(1, s_.key, j, c); }
  double v(std::int64_t j, std::int64_t c) const { return of(2, s_.value, j, c); }
  /// Element [row, column] of an extra operand that is a matrix.
  double matrix(int operand, std::int64_t row, std::int64_t column) const {
    const HostTensor& tensor = call_.operand(operand);
    return tensor.as<double>()[row * tensor.shape().back() + column];
  }
  std::int64_t distance(std::int64_t i, std::int64_t j) const { return i - j + s_.keys - 1; }

  double score(std::int64_t i, std::int64_t j) const {
    double content = 0, query_places = 0, key_places = 0;
    for (std::int64_t c = 0; c < s_.query.size; ++c) {
      content += q(i, c) * k(j, c);
      if (s_.has_query_places()) query_places += q(i, c) * query_place(i, j, c);
      if (s_.relative_key >= 0) key_places += k(j, c) * matrix(s_.relative_key, distance(i, j), c);
    }
    int term = 0;
    const auto scaled = [&](double part) {
      return s_.score_scale >= 0 ? part * matrix(s_.score_scale, term++, g_) : part;
    };
    double sum = scaled(content);
    if (s_.has_query_places()) sum += scaled(query_places);
    if (s_.relative_key >= 0) sum += scaled(key_places);
    sum *= s_.scale;
    if (s_.clamp) sum = std::clamp(sum, s_.clamp->first, s_.clamp->second);
    return s_.bias >= 0 ? sum + bias(i, j) : sum;
  }

  double query_place(std::int64_t i, std::int64_t j, std::int64_t c) const {
    if (s_.relative_query >= 0) return matrix(s_.relative_query, distance(i, j), c);
    const std::int64_t dy = i / s_.width - j / s_.width;
    const std::int64_t dx = i % s_.width - j % s_.width;
    return matrix(s_.relative_height, dy + s_.height - 1, c) +
           matrix(s_.relative_width, dx + s_.width - 1, c);
  }

  /// Element [n, g, i, j] of the bias, whose extents of 1 repeat.
  double bias(std::int64_t i, std::int64_t j) const {
    const HostTensor& tensor = call_.operand(s_.bias);
    const std::int64_t index[] = {n_, g_, i, j};
    std::int64_t at = 0;
    for (std::size_t axis = 0; axis < tensor.shape().size(); ++axis) {
      const std::int64_t extent = tensor.shape()[axis];
      const std::int64_t along = index[4 - tensor.shape().size() + axis];
      at = at * extent + (extent == 1 ? 0 : along);
    }
    return tensor.as<double>()[at];
  }

  double output(const std::vector<double>& row, std::int64_t i, std::int64_t c,
                std::int64_t channel) const {
    double content = 0, places = 0;
    for (std::int64_t j = 0; j < s_.keys; ++j) {
      const double weight = row[static_cast<std::size_t>(j)];
      content += weight * v(j, c);
      if (s_.relative_value >= 0) places += weight * matrix(s_.relative_value, distance(i, j), c);
    }
    if (s_.output_scale >= 0) {
      content *= matrix(s_.output_scale, 0, channel);
      if (s_.relative_value >= 0) places *= matrix(s_.output_scale, 1, channel);
    }
    const double shift = s_.output_shift >= 0 ? matrix(s_.output_shift, 0, channel) : 0;
    return content + places + shift;
  }

  const Call& call_;
  const Sdpa& s_;
  std::int64_t n_, g_;
};

std::vector<HostTensor> sdpa(const Call& call) {
  const Sdpa sdpa = sdpa_of(call.node);
  HostTensor result = call.result();
  for (std::int64_t image = 0; image < result.shape()[0]; ++image) {
    for (std::int64_t head = 0; head < sdpa.heads; ++head)
      Head(call, sdpa, image, head).run(result);
  }
  return {result};
}

}  // namespace

void add_attention_ops(EvaluatorTable& table) {
  table["skew"] = skew;
  table["unskew"] = unskew;
  table["sdpa"] = sdpa;
}

}  // namespace facet::reference
