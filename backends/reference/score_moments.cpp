// score_moments, score_moments_bwd: from all scores, one by one.

#include "backends/reference/attention_head.h"

namespace facet::reference {
namespace {

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

void add_score_moments_ops(EvaluatorTable& table) {
  table["score_moments"] = score_moments;
  table["score_moments_bwd"] = score_moments_bwd;
}

}  // namespace facet::reference
