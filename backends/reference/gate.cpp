#include "ir/gate.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "backends/reference/evaluators.h"

// gate, one image at a time, straight from the formula in ir/gate.h.

namespace facet::reference {
namespace {

class Image {
 public:
  Image(const Call& call, const Gate& gate, double* v) : call_(call), g_(gate), v_(v) {}

  /// v [C, H, W] becomes what the stage leaves of it.
  void apply(GateStage stage) {
    if (stage == GateStage::channels) return scale_channels();
    const std::vector<double> map = stage == GateStage::pixels ? pixel_logits() : window_logits();
    for (std::int64_t c = 0; c < g_.channels; ++c) {
      for (std::int64_t p = 0; p < g_.pixels(); ++p) {
        at(c, p) *= sigmoid(map[static_cast<std::size_t>(p)]);
      }
    }
  }

 private:
  static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
  double& at(std::int64_t c, std::int64_t p) { return v_[c * g_.pixels() + p]; }
  /// Element `i` of an extra operand; `absent` without it.
  double extra(int operand, std::int64_t i, double absent = 0) const {
    return operand < 0 ? absent : call_.operand(operand).as<double>()[i];
  }

  std::vector<double> pixel_logits() {
    std::vector<double> map;
    const std::int64_t r = g_.pixel_hidden;
    for (std::int64_t p = 0; p < g_.pixels(); ++p) {
      double logit = extra(g_.pixel_b2, 0);
      for (std::int64_t j = 0; j < r; ++j) {
        double hidden = extra(g_.pixel_b1, j);
        for (std::int64_t c = 0; c < g_.channels; ++c) {
          hidden += extra(g_.pixel_w1, c * r + j) * at(c, p);
        }
        logit += extra(g_.pixel_w2, j) * std::max(hidden, 0.0);
      }
      map.push_back(logit);
    }
    return map;
  }

  std::vector<double> window_logits() {
    const auto pixels = static_cast<std::size_t>(g_.pixels());
    std::vector<double> both(2 * pixels, 0);
    for (std::size_t p = 0; p < pixels; ++p) {
      both[pixels + p] = at(0, static_cast<std::int64_t>(p));
      for (std::int64_t c = 0; c < g_.channels; ++c) {
        const double v = at(c, static_cast<std::int64_t>(p));
        both[p] += v / static_cast<double>(g_.channels);
        both[pixels + p] = std::max(both[pixels + p], v);
      }
    }
    std::vector<double> map;
    for (std::int64_t h = 0; h < g_.height; ++h) {
      for (std::int64_t w = 0; w < g_.width; ++w) map.push_back(window_logit(both, h, w));
    }
    return map;
  }

  double window_logit(const std::vector<double>& both, std::int64_t h, std::int64_t w) const {
    const std::int64_t k = g_.kernel;
    double logit = extra(g_.window_b, 0);
    for (std::int64_t i = 0; i < 2 * k * k; ++i) {
      const std::int64_t y = h + i / k % k - k / 2, x = w + i % k - k / 2;
      if (y < 0 || y >= g_.height || x < 0 || x >= g_.width) continue;
      const std::int64_t place = i / (k * k) * g_.pixels() + y * g_.width + x;
      logit += extra(g_.window_w, i) * both[static_cast<std::size_t>(place)];
    }
    return logit;
  }

  void scale_channels() {
    std::vector<double> mean, peak;
    for (std::int64_t c = 0; c < g_.channels; ++c) {
      const double* const row = &at(c, 0);
      double sum = 0;
      for (std::int64_t p = 0; p < g_.pixels(); ++p) sum += row[p];
      mean.push_back(sum / static_cast<double>(g_.pixels()));
      peak.push_back(*std::max_element(row, row + g_.pixels()));
    }
    std::vector<double> logits = vote(mean);
    if (g_.max_too) {
      const std::vector<double> second = vote(peak);
      const double gamma = extra(g_.gamma, 0, 1);
      for (std::size_t c = 0; c < logits.size(); ++c) logits[c] += gamma * second[c];
    }
    for (std::int64_t c = 0; c < g_.channels; ++c) {
      const double scale = sigmoid(logits[static_cast<std::size_t>(c)]);
      for (std::int64_t p = 0; p < g_.pixels(); ++p) at(c, p) *= scale;
    }
  }

  /// f of the formula.
  std::vector<double> vote(const std::vector<double>& u) const {
    std::vector<double> result;
    for (std::int64_t c = 0; c < g_.channels; ++c) result.push_back(extra(g_.channel_b2, c));
    for (std::int64_t j = 0; j < g_.channel_hidden; ++j) {
      double hidden = extra(g_.channel_b1, j);
      for (std::int64_t c = 0; c < g_.channels; ++c) {
        hidden += extra(g_.channel_w1, j * g_.channels + c) * u[static_cast<std::size_t>(c)];
      }
      hidden = std::max(hidden, 0.0);
      for (std::int64_t c = 0; c < g_.channels; ++c) {
        result[static_cast<std::size_t>(c)] += hidden * extra(g_.channel_w2, j * g_.channels + c);
      }
    }
    return result;
  }

  const Call& call_;
  const Gate& g_;
  double* v_;
};

std::vector<HostTensor> gate(const Call& call) {
  const Gate gate = gate_of(call.node);
  HostTensor result = call.operand(0).clone();
  double* const y = result.as_mutable<double>();
  const std::int64_t image = gate.channels * gate.pixels();
  for (std::int64_t n = 0; n < result.shape()[0]; ++n) {
    Image each(call, gate, y + n * image);
    for (const GateStage stage : gate.stages) each.apply(stage);
  }
  for (std::int64_t i = 0; i < result.element_count(); ++i) {
    if (gate.residual >= 0) y[i] += call.operand(gate.residual).as<double>()[i];
    if (gate.relu) y[i] = std::max(y[i], 0.0);
  }
  return {result};
}

}  // namespace

void add_gate_ops(EvaluatorTable& table) { table["gate"] = gate; }

}  // namespace facet::reference
