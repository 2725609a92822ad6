#include "backends/cuda/kernels/update_formula.h"

#include <fmt/format.h>

#include <cmath>

#include "backends/cuda/kernels/loops.h"
#include "ir/error.h"
#include "ir/op.h"

namespace facet::cuda {
namespace {

std::string number(const Node& node, const char* name) {
  return float_literal(node.attributes().number(name));
}

}  // namespace

UpdateOperands update_operands(const Node& node) {
  UpdateOperands operands;
  const int given = node.operand_count();
  const auto if_given = [&](int i) { return i < given ? i : -1; };
  if (node.is("ema_update")) return {1, 1, if_given(2)};
  if (node.is("sgd_update")) return {2, 2, 3, -1, if_given(4), if_given(5)};
  if (node.is("lars_update")) return {2, 2, 3, -1, if_given(4)};
  if (node.is("adam_update")) return {3, 3, 4, 5, if_given(6)};
  throw failure(fmt::format("'{}' is no update that the GPU has a kernel for", node.kind()));
}

std::string update_settings(const Node& node) {
  const UpdateOperands operands = update_operands(node);
  std::string text;
  if (operands.rate >= 0) {
    text += "  const float rate = *rate_at;\n  if (!facet::is_finite(rate)) return;\n";
  }
  if (operands.step < 0) return text;
  for (const int i : {1, 2}) {
    text +=
        fmt::format("  const float inverse{0} = 1.0f / facet::bias_correction({1}, *step_at);\n", i,
                    float_literal(std::log(node.attributes().number(i == 1 ? "beta1" : "beta2"))));
  }
  return text;
}

std::string update_formula(const Node& node) {
  if (node.is("ema_update")) {
    const double decay = node.attributes().number("decay");
    return fmt::format("      s0[i] = {} * s0[i] + {} * g[i];\n", float_literal(decay),
                       float_literal(1 - decay));
  }
  const std::string decay = number(node, "weight_decay");
  if (node.is("lars_update")) {
    return fmt::format("      s1[i] = {} * s1[i] + local * (g[i] + {} * s0[i]);\n",
                       number(node, "momentum"), decay) +
           "      s0[i] -= rate * s1[i];\n";
  }
  if (node.is("sgd_update")) {
    const std::string momentum = number(node, "momentum");
    std::string text = fmt::format("      const float d = g[i] + {} * s0[i];\n", decay);
    text += fmt::format("      s1[i] = {} * s1[i] + d;\n", momentum);
    const bool nesterov = node.attributes().boolean("nesterov");
    return text + fmt::format("      s0[i] -= rate * {};\n",
                              nesterov ? fmt::format("(d + {} * s1[i])", momentum) : "s1[i]");
  }
  const double beta1 = node.attributes().number("beta1");
  const double beta2 = node.attributes().number("beta2");
  const bool decoupled = node.attributes().boolean("decoupled");
  std::string text;
  if (decoupled) text += fmt::format("      s0[i] *= 1.0f - rate * {};\n", decay);
  text += decoupled ? "      const float d = g[i];\n"
                    : fmt::format("      const float d = g[i] + {} * s0[i];\n", decay);
  text += fmt::format("      s1[i] = {} * s1[i] + {} * d;\n", float_literal(beta1),
                      float_literal(1 - beta1));
  text += fmt::format("      s2[i] = {} * s2[i] + {} * d * d;\n", float_literal(beta2),
                      float_literal(1 - beta2));
  return text + fmt::format(
                    "      s0[i] -= rate * (s1[i] * inverse1) / "
                    "(facet::sqrt(s2[i] * inverse2) + {});\n",
                    number(node, "epsilon"));
}

}  // namespace facet::cuda
