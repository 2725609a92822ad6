#include "tests/cuda/run/host_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "ir/error.h"
#include "tests/cuda/run/host_values.h"

namespace facet::test {
namespace {

using cuda::GraphOp;
using cuda::GraphStep;
using cuda::GraphTensor;
using cuda::OperationGraph;
using Extents = std::vector<std::int64_t>;
using Values = std::vector<float>;

std::int64_t count_of(const Extents& extents) {
  std::int64_t count = 1;
  for (const std::int64_t extent : extents) count *= extent;
  return count;
}

/// Calls `visit` with the number of each element, row-major, and its offset along `strides`.
template <class Visit>
void each(const Extents& extents, const Extents& strides, Visit visit) {
  for (std::int64_t i = 0; i < count_of(extents); ++i) {
    std::int64_t offset = 0;
    std::int64_t rest = i;
    for (std::size_t axis = extents.size(); axis-- > 0; rest /= extents[axis]) {
      offset += rest % extents[axis] * strides[axis];
    }
    visit(static_cast<std::size_t>(i), offset);
  }
}

class HostGraph {
 public:
  HostGraph(const OperationGraph& graph, std::span<std::byte* const> addresses)
      : graph_(graph), addresses_(addresses), values_(graph.tensors.size()) {}

  void run() {
    for (const GraphStep& step : graph_.steps) {
      for (const int operand : step.operands) read(operand);
      compute(step);
      write(step.result);
      for (const int result : step.more_results) write(result);
    }
  }

 private:
  const GraphTensor& tensor(int number) const {
    return graph_.tensors.at(static_cast<std::size_t>(number));
  }
  const Extents& extents(int number) const { return tensor(number).extents; }
  Values& values(int number) {
    Values& found = values_.at(static_cast<std::size_t>(number));
    found.resize(static_cast<std::size_t>(count_of(extents(number))));
    return found;
  }

  void read(int number) {
    const GraphTensor& from = tensor(number);
    const std::byte* const at = addresses_[static_cast<std::size_t>(number)];
    if (at == nullptr) return;
    Values& to = values(number);
    each(from.extents, from.strides,
         [&](std::size_t i, std::int64_t offset) { to[i] = load_value(at, from.dtype, offset); });
  }

  void write(int number) {
    const GraphTensor& to = tensor(number);
    std::byte* const at = addresses_[static_cast<std::size_t>(number)];
    if (at == nullptr) return;
    const Values& from = values(number);
    each(to.extents, to.strides,
         [&](std::size_t i, std::int64_t offset) { store_value(at, to.dtype, offset, from[i]); });
  }

  void compute(const GraphStep& step) {
    switch (step.op) {
      case GraphOp::convolution:
        return convolve(step, step.operands[0], step.operands[1], step.result);
      case GraphOp::data_gradient:
        return convolve(step, step.result, step.operands[1], step.operands[0]);
      case GraphOp::weights_gradient:
        return convolve(step, step.operands[1], step.result, step.operands[0]);
      case GraphOp::max_pool:
      case GraphOp::avg_pool:
        return pool(step, step.operands[0], step.result);
      case GraphOp::avg_pool_gradient:
        return pool(step, step.result, step.operands[0]);
      case GraphOp::batch_norm:
        return batch_norm(step);
      case GraphOp::batch_norm_gradient:
        return batch_norm_gradient(step);
      case GraphOp::matmul:
        return multiply(step);
      case GraphOp::transpose:
        return transpose(step);
      case GraphOp::reduce_sum:
      case GraphOp::reduce_max:
        return reduce(step);
      default:
        return pointwise(step);
    }
  }

  void multiply(const GraphStep& step) {
    const Extents& result = extents(step.result);
    const auto inner = static_cast<std::size_t>(extents(step.operands[0]).back());
    const auto rows = static_cast<std::size_t>(result.end()[-2]);
    const auto columns = static_cast<std::size_t>(result.back());
    const Values& a = values(step.operands[0]);
    const Values& b = values(step.operands[1]);
    Values& to = values(step.result);
    for (std::size_t i = 0; i < to.size(); ++i) {
      const std::size_t row = i / columns, matrix = row / rows;
      double sum = 0;
      for (std::size_t k = 0; k < inner; ++k) {
        sum += static_cast<double>(a[row * inner + k]) *
               b[(matrix * inner + k) * columns + i % columns];
      }
      to[i] = static_cast<float>(sum);
    }
  }

  void transpose(const GraphStep& step) {
    const Extents& result = extents(step.result);
    const auto rows = static_cast<std::size_t>(result.end()[-2]);
    const auto columns = static_cast<std::size_t>(result.back());
    const Values& from = values(step.operands[0]);
    Values& to = values(step.result);
    for (std::size_t i = 0; i < to.size(); ++i) {
      const std::size_t matrix = i / (rows * columns);
      to[i] = from[(matrix * columns + i % columns) * rows + i / columns % rows];
    }
  }

  /// Over the axes along which the result has one element.
  void reduce(const GraphStep& step) {
    const bool is_sum = step.op == GraphOp::reduce_sum;
    const Values& from = values(step.operands[0]);
    Values& to = values(step.result);
    std::fill(to.begin(), to.end(), is_sum ? 0.0F : -INFINITY);
    each(extents(step.operands[0]), strides_over(step.result, extents(step.operands[0])),
         [&](std::size_t i, std::int64_t offset) {
           float& at = to[static_cast<std::size_t>(offset)];
           at = is_sum ? at + from[i] : std::max(at, from[i]);
         });
  }

  /// Strides of value `number` along axes of these extents, 0 where it has one element.
  Extents strides_over(int number, const Extents& along) const {
    const Extents& given = extents(number);
    Extents strides(along.size(), 0);
    std::int64_t stride = 1;
    for (std::size_t axis = along.size(); axis-- > 0; stride *= given[axis]) {
      strides[axis] = given[axis] == 1 ? 0 : stride;
    }
    return strides;
  }

  /// All three directions are one sum over the products that a convolution is made of:
  /// y[n, o, p] += x[n, c, p * stride + k - pad] * w[o, c, k]; the step's result is what is added
  /// to.
  void convolve(const GraphStep& step, int x, int w, int y) {
    Values& sums = values(step.result);
    std::fill(sums.begin(), sums.end(), 0.0F);
    std::vector<double> exact(sums.size(), 0.0);
    const Extents& xe = extents(x);
    const Extents& we = extents(w);
    const Extents& ye = extents(y);
    const cuda::Window& window = step.window;
    const std::int64_t group_outputs = we[0] / (xe[1] / we[1]);
    for (std::int64_t n = 0; n < ye[0]; ++n) {
      for (std::int64_t o = 0; o < ye[1]; ++o) {
        for (std::int64_t h = 0; h < ye[2]; ++h) {
          for (std::int64_t v = 0; v < ye[3]; ++v) {
            const std::int64_t at_y = ((n * ye[1] + o) * ye[2] + h) * ye[3] + v;
            for (std::int64_t c = 0; c < we[1]; ++c) {
              for (std::int64_t kh = 0; kh < we[2]; ++kh) {
                for (std::int64_t kw = 0; kw < we[3]; ++kw) {
                  const std::int64_t ih =
                      h * window.strides[0] + kh * window.dilations[0] - window.pads[0];
                  const std::int64_t iw =
                      v * window.strides[1] + kw * window.dilations[1] - window.pads[1];
                  if (ih < 0 || ih >= xe[2] || iw < 0 || iw >= xe[3]) continue;
                  const std::int64_t channel = o / group_outputs * we[1] + c;
                  const std::int64_t at_x = ((n * xe[1] + channel) * xe[2] + ih) * xe[3] + iw;
                  const std::int64_t at_w = ((o * we[1] + c) * we[2] + kh) * we[3] + kw;
                  const auto value = [&](int number, std::int64_t at) {
                    return static_cast<double>(values(number)[static_cast<std::size_t>(at)]);
                  };
                  if (step.result == y)
                    exact[static_cast<std::size_t>(at_y)] += value(x, at_x) * value(w, at_w);
                  if (step.result == x)
                    exact[static_cast<std::size_t>(at_x)] += value(y, at_y) * value(w, at_w);
                  if (step.result == w)
                    exact[static_cast<std::size_t>(at_w)] += value(y, at_y) * value(x, at_x);
                }
              }
            }
          }
        }
      }
    }
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = static_cast<float>(exact[i]);
  }

  /// Windows over x for each element of y; the gradient of a mean gives y's elements back to x.
  void pool(const GraphStep& step, int x, int y) {
    const Extents& xe = extents(x);
    const Extents& ye = extents(y);
    const cuda::Window& window = step.window;
    Values& to = values(step.result);
    std::fill(to.begin(), to.end(), step.op == GraphOp::max_pool ? -INFINITY : 0.0F);
    const auto taps = static_cast<float>(window.kernel[0] * window.kernel[1]);
    const Extents visited = {ye[0] * ye[1], ye[2], ye[3], window.kernel[0], window.kernel[1]};
    each(visited, {0, 0, 0, 0, 0}, [&](std::size_t number, std::int64_t) {
      auto rest = static_cast<std::int64_t>(number);
      const std::int64_t kw = rest % window.kernel[1];
      const std::int64_t kh = (rest /= window.kernel[1]) % window.kernel[0];
      const std::int64_t w = (rest /= window.kernel[0]) % ye[3];
      const std::int64_t h = (rest /= ye[3]) % ye[2];
      const std::int64_t plane = rest / ye[2];
      const std::int64_t ih = h * window.strides[0] + kh - window.pads[0];
      const std::int64_t iw = w * window.strides[1] + kw - window.pads[1];
      if (ih < 0 || ih >= xe[2] || iw < 0 || iw >= xe[3]) return;
      const auto at_x = static_cast<std::size_t>((plane * xe[2] + ih) * xe[3] + iw);
      const auto at_y = static_cast<std::size_t>((plane * ye[2] + h) * ye[3] + w);
      if (step.op == GraphOp::max_pool) to[at_y] = std::max(to[at_y], values(x)[at_x]);
      if (step.op == GraphOp::avg_pool) to[at_y] += values(x)[at_x] / taps;
      if (step.op == GraphOp::avg_pool_gradient) to[at_x] += values(y)[at_y] / taps;
    });
  }

  void pointwise(const GraphStep& step) {
    const Extents& result = extents(step.result);
    Values made(static_cast<std::size_t>(count_of(result)));
    each(result, strides_over(step.operands[0], result), [&](std::size_t i, std::int64_t offset) {
      made[i] = values(step.operands[0])[static_cast<std::size_t>(offset)];
    });
    if (step.operands.size() > 1) {
      each(result, strides_over(step.operands[1], result), [&](std::size_t i, std::int64_t offset) {
        made[i] =
            binary(step.op, made[i], values(step.operands[1])[static_cast<std::size_t>(offset)]);
      });
    } else if (!step.settings.empty()) {
      const auto number = static_cast<float>(step.settings[0]);
      for (float& value : made) value = binary(step.op, value, number);
    } else {
      for (float& value : made) value = unary(step.op, value);
    }
    values(step.result) = made;
  }

  static float binary(GraphOp op, float a, float b) {
    if (op == GraphOp::add) return a + b;
    if (op == GraphOp::subtract) return a - b;
    if (op == GraphOp::multiply) return a * b;
    if (op == GraphOp::divide) return a / b;
    if (op == GraphOp::maximum) return std::max(a, b);
    if (op == GraphOp::minimum) return std::min(a, b);
    throw failure(fmt::format("the host does not compute '{}'", to_string(op)));
  }

  static float unary(GraphOp op, float a) {
    if (op == GraphOp::relu) return a > 0 ? a : 0;
    if (op == GraphOp::sigmoid) return 1 / (1 + std::exp(-a));
    if (op == GraphOp::negate) return -a;
    if (op == GraphOp::exp) return std::exp(a);
    if (op == GraphOp::log) return std::log(a);
    if (op == GraphOp::copy) return a;
    throw failure(fmt::format("the host does not compute '{}'", to_string(op)));
  }

  /// Calls `visit` with the number of each element of channel `c` of an image.
  template <class Visit>
  static void each_of_channel(const Extents& e, std::int64_t c, Visit visit) {
    for (std::int64_t n = 0; n < e[0]; ++n) {
      for (std::int64_t i = 0; i < e[2] * e[3]; ++i) {
        visit(static_cast<std::size_t>((n * e[1] + c) * e[2] * e[3] + i));
      }
    }
  }

  void batch_norm(const GraphStep& step) {
    const Values& x = values(step.operands[0]);
    const Extents& e = extents(step.operands[0]);
    const double count = static_cast<double>(e[0] * e[2] * e[3]);
    const double momentum = step.settings.at(1);
    for (std::int64_t channel = 0; channel < e[1]; ++channel) {
      const auto c = static_cast<std::size_t>(channel);
      double sum = 0;
      double squares = 0;
      each_of_channel(e, channel, [&](std::size_t i) { sum += x[i]; });
      const double mean = sum / count;
      each_of_channel(e, channel, [&](std::size_t i) { squares += (x[i] - mean) * (x[i] - mean); });
      const double inverse = 1 / std::sqrt(squares / count + step.settings.at(0));
      const double scale = values(step.operands[1])[c];
      const double bias = values(step.operands[2])[c];
      Values& y = values(step.result);
      each_of_channel(e, channel, [&](std::size_t i) {
        y[i] = static_cast<float>((x[i] - mean) * inverse * scale + bias);
      });
      const auto blend = [&](int running, double now) {
        return static_cast<float>((1 - momentum) * values(running)[c] + momentum * now);
      };
      values(step.more_results[0])[c] = static_cast<float>(mean);
      values(step.more_results[1])[c] = static_cast<float>(inverse);
      values(step.more_results[2])[c] = blend(step.operands[3], mean);
      values(step.more_results[3])[c] = blend(step.operands[4], squares / (count - 1));
    }
  }

  void batch_norm_gradient(const GraphStep& step) {
    const Values& dy = values(step.operands[0]);
    const Values& x = values(step.operands[1]);
    const Extents& e = extents(step.operands[1]);
    const double count = static_cast<double>(e[0] * e[2] * e[3]);
    for (std::int64_t channel = 0; channel < e[1]; ++channel) {
      const auto c = static_cast<std::size_t>(channel);
      const double scale = values(step.operands[2])[c];
      const double mean = values(step.operands[3])[c];
      const double inverse = values(step.operands[4])[c];
      double dscale = 0;
      double dbias = 0;
      each_of_channel(e, channel, [&](std::size_t i) {
        dscale += dy[i] * (x[i] - mean) * inverse;
        dbias += dy[i];
      });
      Values& dx = values(step.result);
      each_of_channel(e, channel, [&](std::size_t i) {
        const double normal = (x[i] - mean) * inverse;
        dx[i] =
            static_cast<float>(scale * inverse * (dy[i] - dbias / count - normal * dscale / count));
      });
      values(step.more_results[0])[c] = static_cast<float>(dscale);
      values(step.more_results[1])[c] = static_cast<float>(dbias);
    }
  }

  const OperationGraph& graph_;
  std::span<std::byte* const> addresses_;
  std::vector<Values> values_;
};

}  // namespace

void run_on_host(const cuda::OperationGraph& graph, std::span<std::byte* const> addresses) {
  HostGraph(graph, addresses).run();
}

}  // namespace facet::test
