#include "backends/cuda/kernels/single_update.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "backends/cuda/kernels/loops.h"
#include "backends/cuda/kernels/parameters.h"
#include "backends/cuda/kernels/update_formula.h"
#include "ir/error.h"
#include "ir/op.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
/// That square a tensor: the step's blocks add up what each of them leaves.
constexpr std::int64_t kMostSquaringBlocks = 256;

class SingleUpdate {
 public:
  explicit SingleUpdate(const Node& node)
      : node_(node),
        operands_(update_operands(node)),
        elements_(element_count(node.operand(operands_.source).shape()).factor) {
    if (elements_ > std::numeric_limits<std::int32_t>::max()) {
      throw failure(fmt::format("{} elements are too many for one update", elements_));
    }
    const Shape& gradient = node.operand(operands_.source).shape();
    width_ = has_rows() ? gradient.back().factor : elements_;
    vector_ = std::gcd(std::int64_t{4}, width_);
    units_ = elements_ / vector_;
    squaring_blocks_ = std::min(kMostSquaringBlocks, (units_ + kThreads - 1) / kThreads);
  }

  KernelSequence run() const {
    if (!node_.is("lars_update")) return {{step()}, 0};
    return {{squares(), step()}, 2 * squaring_blocks_ * size_of(DType::f32)};
  }

 private:
  bool has_rows() const { return operands_.rows >= 0; }

  /// The states, the gradient, the learning rate and the rows, if there are any.
  Parameters parameters() const {
    Parameters list;
    for (int s = 0; s < operands_.states; ++s) list.result(s, "float", fmt::format("state{}", s));
    list.operand(operands_.source, "float", "source");
    list.operand(operands_.rate, "float", "rate_at");
    if (operands_.step >= 0) list.operand(operands_.step, "float", "step_at");
    if (has_rows()) list.operand(operands_.rows, "long long", "rows");
    if (operands_.owed >= 0) list.operand(operands_.owed, "float", "owed");
    if (node_.is("lars_update")) list.scratch();
    return list;
  }

  /// Lines that define `from` in the gradient and `at` in the states, or do `otherwise`.
  std::string place(std::string_view otherwise) const {
    if (!has_rows()) return "    const int from = unit * V;\n    const long long at = from;\n";
    return fmt::format(
        "    const int from = unit * V, k = from / {0};\n    const long long row = rows[k];\n"
        "    if (row < 0 || row >= {1}) {2};\n"
        "    const long long at = {0} * row + from % {0};\n",
        width_, node_.operand(0).shape()[0].factor, otherwise);
  }

  KernelSource squares() const {
    KernelSource kernel = parameters().begin("facet_squares", kThreads, squaring_blocks_);
    kernel.text += fmt::format(
        "  constexpr int V = {0};\n  float parameter = 0.0f, gradient = 0.0f;\n"
        "  for (int unit = blockIdx.x * {1} + threadIdx.x; unit < {2}; unit += {3}) {{\n{4}"
        "    float p[V], g[V];\n    facet::load(p, state0 + at);\n"
        "    facet::load(g, source + from);\n    for (int i = 0; i < V; ++i) {{\n"
        "      parameter += p[i] * p[i];\n      gradient += g[i] * g[i];\n    }}\n  }}\n"
        "  parameter = facet::block_sum<{5}>(parameter);\n"
        "  gradient = facet::block_sum<{5}>(gradient);\n  if (threadIdx.x > 0) return;\n"
        "  scratch[blockIdx.x] = parameter;\n  scratch[{6} + blockIdx.x] = gradient;\n}}\n",
        vector_, kThreads, units_, squaring_blocks_ * kThreads, place("continue"), kWarps,
        squaring_blocks_);
    return kernel;
  }

  /// trust * |p| / (|g| + decay * |p| + epsilon), or 1.
  std::string local_rate() const {
    const auto sum = [&](std::string_view name, std::int64_t first) {
      return fmt::format(
          "  float {0} = threadIdx.x < {1} ? scratch[{2} + threadIdx.x] : 0.0f;\n"
          "  {0} = facet::sqrt(facet::block_sum<{3}>({0}));\n",
          name, squaring_blocks_, first, kWarps);
    };
    const Attributes& a = node_.attributes();
    return sum("parameter", 0) + sum("gradient", squaring_blocks_) +
           fmt::format(
               "  const float local = parameter > 0.0f && gradient > 0.0f\n"
               "      ? {} * parameter / (gradient + {} * parameter + {}) : 1.0f;\n",
               float_literal(a.number("trust_coefficient")),
               float_literal(a.number("weight_decay")), float_literal(a.number("epsilon")));
  }

  KernelSource step() const {
    KernelSource kernel =
        parameters().begin("facet_update", kThreads, (units_ + kThreads - 1) / kThreads);
    std::string& text = kernel.text;
    text += fmt::format("  constexpr int V = {};\n", vector_) + update_settings(node_);
    if (node_.is("lars_update")) text += local_rate();
    text += fmt::format("  const int unit = blockIdx.x * {} + threadIdx.x;\n  if (unit < {}) {{\n",
                        kThreads, units_);
    text += place("return");
    for (int s = 0; s < operands_.states; ++s) {
      text += fmt::format("    float s{0}[V];\n    facet::load(s{0}, state{0} + at);\n", s);
    }
    text += "    float g[V];\n    facet::load(g, source + from);\n";
    if (operands_.owed >= 0) {
      text +=
          "    const float pp = owed[4 * k], pv = owed[4 * k + 1];\n"
          "    const float vp = owed[4 * k + 2], vv = owed[4 * k + 3];\n"
          "    if (pp != 1.0f || pv != 0.0f || vp != 0.0f || vv != 1.0f) {\n"
          "      for (int i = 0; i < V; ++i) {\n        const float old = s0[i];\n"
          "        s0[i] = pp * old + pv * s1[i];\n        s1[i] = vp * old + vv * s1[i];\n"
          "      }\n    }\n";
    }
    text += "    for (int i = 0; i < V; ++i) {\n" + update_formula(node_) + "    }\n";
    for (int s = 0; s < operands_.states; ++s) {
      text += fmt::format("    facet::store(state{0} + at, s{0});\n", s);
    }
    text += "  }\n}\n";
    return kernel;
  }

  const Node& node_;
  UpdateOperands operands_;
  std::int64_t elements_ = 0;  ///< of the gradient
  std::int64_t width_ = 0;     ///< of a row; all elements where there are no rows
  std::int64_t vector_ = 1;
  std::int64_t units_ = 0;
  std::int64_t squaring_blocks_ = 1;
};

}  // namespace

bool is_single_update(const Node& node) {
  if (node.is("lars_update")) return true;
  return (node.is("sgd_update") || node.is("adam_update")) && update_operands(node).rows >= 0;
}

KernelSequence single_update_kernels(const Node& node) {
  if (!is_single_update(node)) {
    throw failure(fmt::format("'{}' is no update of rows and no lars_update", node.kind()));
  }
  return SingleUpdate(node).run();
}

}  // namespace facet::cuda
