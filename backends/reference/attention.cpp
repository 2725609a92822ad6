// skew, unskew, sdpa, sdpa_bwd.

#include "backends/reference/attention_head.h"

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
      if (row_of(part) >= 0)
        of_parts[static_cast<std::size_t>(part)] = gradient * score_scale(part);
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

}  // namespace

void add_attention_ops(EvaluatorTable& table) {
  table["skew"] = skew;
  table["unskew"] = unskew;
  table["sdpa"] = sdpa;
  table["sdpa_bwd"] = sdpa_bwd;
}

}  // namespace facet::reference
