#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "backends/reference/reference.h"
#include "ir/dsl.h"
#include "tests/support/fill.h"

/// Blocks against direct computations: loops over plain arrays, written from the papers' formulas.
namespace facet::zoo {

using Numbers = std::vector<double>;

/// A block on one input `x`, evaluated in float64 on the golden fill.
class BlockCase {
 public:
  /// `declare` makes the block at the scope "b" of a network whose input has this shape; taps are
  /// the values inside that the test wants to see.
  BlockCase(std::vector<std::int64_t> shape, const std::function<Tensor(Scope, Tensor)>& declare,
            const std::vector<std::string>& taps = {})
      : graph_(make(shape, declare)) {
    graph_.promote_taps(taps);
    parameters_ = testing::fill_parameters(graph_);
    inputs_ = testing::fill_inputs(graph_, shape[0]);
    outputs_ = evaluate(graph_, inputs_, parameters_);
  }

  const Graph& graph() const { return graph_; }
  Numbers x() const { return inputs_.at("x").to_doubles(); }
  const HostTensor& y() const { return outputs_.at("y"); }
  Numbers tap(const std::string& name) const { return outputs_.at(name).to_doubles(); }
  Numbers parameter(const std::string& key) const {
    return parameters_.at("b." + key).to_doubles();
  }

 private:
  static Graph make(const std::vector<std::int64_t>& shape,
                    const std::function<Tensor(Scope, Tensor)>& declare) {
    Network network("block");
    Shape dims(shape.begin(), shape.end());
    dims[0] = Dim("N");
    const Tensor x = network.input("x", dims);
    network.output("y", declare(network.root() / "b", x));
    return network.finish();
  }

  Graph graph_;
  TensorMap parameters_, inputs_, outputs_;
};

inline double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }

/// rows of `in` numbers -> rows of `out`: x weight^T (+ bias).
inline Numbers dense(const Numbers& x, const Numbers& weight, std::size_t in,
                     const Numbers& bias = {}) {
  const std::size_t out = weight.size() / in;
  Numbers y(x.size() / in * out);
  for (std::size_t i = 0; i < y.size(); ++i) {
    y[i] = bias.empty() ? 0 : bias[i % out];
    for (std::size_t c = 0; c < in; ++c) y[i] += x[i / out * in + c] * weight[i % out * in + c];
  }
  return y;
}

inline void expect_close(const Numbers& found, const Numbers& expected, double bound = 1e-12) {
  ASSERT_EQ(found.size(), expected.size());
  double worst = 0, scale = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    worst = std::max(worst, std::fabs(found[i] - expected[i]));
    scale = std::max(scale, std::fabs(expected[i]));
  }
  EXPECT_GT(scale, 0);
  EXPECT_LE(worst, bound * scale);
}

}  // namespace facet::zoo
