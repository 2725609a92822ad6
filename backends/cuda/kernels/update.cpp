#include "backends/cuda/kernels/update.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "backends/cuda/kernels/loops.h"
#include "ir/error.h"
#include "ir/op.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 4;
constexpr int kRounds = 4;  // vectors a thread
constexpr std::int64_t kBlockElements = kThreads * kVector * kRounds;

/// Where an op's operands stand.
struct Operands {
  int states = 0;
  int source = 0;
  int rate = -1;
  int step = -1;
};

Operands operands_of(const Node& node) {
  if (node.is("sgd_update")) return {2, 2, 3, -1};
  if (node.is("adam_update")) return {3, 3, 4, 5};
  if (node.is("ema_update")) return {1, 1, node.operand_count() > 2 ? 2 : -1, -1};
  throw failure(fmt::format("'{}' is no update that the GPU has a kernel for", node.kind()));
}

std::string number(const Node& node, const char* name) {
  return float_literal(node.attributes().number(name));
}

/// New states s0, s1, s2 from the old ones, `g` (the source), `rate` and `step`: lines for one
/// element.
std::string formula(const Node& node) {
  if (node.is("ema_update")) {
    const double decay = node.attributes().number("decay");
    return fmt::format("      s0[i] = {} * s0[i] + {} * g[i];\n", float_literal(decay),
                       float_literal(1 - decay));
  }
  const std::string decay = number(node, "weight_decay");
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

/// Lines that load, compute and store `width` neighbours at `at`.
std::string body(const Node& node, const Operands& operands) {
  std::string text;
  for (int s = 0; s < operands.states; ++s) {
    text += fmt::format("    float s{0}[V];\n    facet::load(s{0}, u.states[{0}] + at);\n", s);
  }
  text += "    float g[V];\n    facet::load(g, u.source + at);\n";
  text += "    for (int i = 0; i < V; ++i) {\n" + formula(node) + "    }\n";
  for (int s = 0; s < operands.states; ++s) {
    text += fmt::format("    facet::store(u.states[{0}] + at, s{0});\n", s);
  }
  return text;
}

}  // namespace

bool is_update(const Node& node) {
  return node.is("sgd_update") || node.is("adam_update") || node.is("ema_update");
}

bool updates_together(const Node& a, const Node& b) {
  if (a.kind() != b.kind() || !(a.attributes() == b.attributes())) return false;
  if (a.operand_count() != b.operand_count()) return false;
  for (int i = operands_of(a).source + 1; i < a.operand_count(); ++i) {
    if (!(a.operand(i) == b.operand(i))) return false;
  }
  return true;
}

UpdateKernel update_kernel(std::span<const Node* const> nodes) {
  const Node& first = *nodes.front();
  const Operands operands = operands_of(first);
  UpdateKernel result;
  std::int64_t blocks = 0;
  for (const Node* node : nodes) {
    const std::int64_t count = element_count(node->operand(0).shape()).factor;
    result.rows.push_back({count, static_cast<int>(blocks)});
    blocks += (count + kBlockElements - 1) / kBlockElements;
  }
  if (blocks > std::numeric_limits<std::int32_t>::max()) {
    throw failure("there are too many parameters for one update");
  }
  KernelSource& kernel = result.kernel;
  kernel = {"facet_update", {}, kThreads, blocks, {{KernelArgument::Place::table, 0}}};
  std::string parameters = "const facet::Update* table";
  std::string settings;
  if (operands.rate >= 0) {
    kernel.arguments.push_back({KernelArgument::Place::operand, operands.rate});
    parameters += ", const float* rate_at";
    settings += "  const float rate = *rate_at;\n  if (!facet::is_finite(rate)) return;\n";
  }
  if (operands.step >= 0) {
    kernel.arguments.push_back({KernelArgument::Place::operand, operands.step});
    parameters += ", const float* step_at";
    for (const int i : {1, 2}) {
      settings += fmt::format(
          "  const float inverse{0} = 1.0f / facet::bias_correction({1}, *step_at);\n", i,
          float_literal(std::log(first.attributes().number(i == 1 ? "beta1" : "beta2"))));
    }
  }
  std::string& text = kernel.text;
  text = fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}({}) {{\n", kThreads,
                     kernel.name, parameters);
  text += settings;
  text += fmt::format(
      "  const facet::Update u = table[facet::find_update(table, {}, blockIdx.x)];\n"
      "  const long long begin = {}LL * (blockIdx.x - u.first_block);\n",
      nodes.size(), kBlockElements);
  text += fmt::format("  long long at = begin + {} * threadIdx.x;\n", kVector);
  text += fmt::format("  for (int round = 0; round < {}; ++round, at += {}) {{\n", kRounds,
                      kThreads * kVector);
  text += fmt::format("    if (at + {} > u.count) break;\n    constexpr int V = {};\n", kVector,
                      kVector);
  text += body(first, operands) + "  }\n";
  text += fmt::format(
      "  // What no vector holds is left to the thread that came upon the end.\n"
      "  for (; at < u.count && at < begin + {}; ++at) {{\n    constexpr int V = 1;\n",
      kBlockElements);
  return text += body(first, operands) + "  }\n}\n", result;
}

}  // namespace facet::cuda
