#include "backends/cuda/kernels/update.h"

#include <fmt/format.h>

#include <limits>

#include "backends/cuda/kernels/update_formula.h"
#include "ir/error.h"
#include "ir/op.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 4;
constexpr int kRounds = 4;  // vectors a thread
constexpr std::int64_t kBlockElements = kThreads * kVector * kRounds;

/// Lines that load, compute and store `width` neighbours at `at`.
std::string body(const Node& node, const UpdateOperands& operands) {
  std::string text;
  for (int s = 0; s < operands.states; ++s) {
    text += fmt::format("    float s{0}[V];\n    facet::load(s{0}, u.states[{0}] + at);\n", s);
  }
  text += "    float g[V];\n    facet::load(g, u.source + at);\n";
  text += "    for (int i = 0; i < V; ++i) {\n" + update_formula(node) + "    }\n";
  for (int s = 0; s < operands.states; ++s) {
    text += fmt::format("    facet::store(u.states[{0}] + at, s{0});\n", s);
  }
  return text;
}

}  // namespace

bool is_update(const Node& node) {
  if (node.is("ema_update")) return true;
  if (!node.is("sgd_update") && !node.is("adam_update")) return false;
  return update_operands(node).rows < 0;
}

bool updates_together(const Node& a, const Node& b) {
  if (a.kind() != b.kind() || !(a.attributes() == b.attributes())) return false;
  if (a.operand_count() != b.operand_count()) return false;
  for (int i = update_operands(a).source + 1; i < a.operand_count(); ++i) {
    if (!(a.operand(i) == b.operand(i))) return false;
  }
  return true;
}

UpdateKernel update_kernel(std::span<const Node* const> nodes) {
  const Node& first = *nodes.front();
  if (!is_update(first)) {
    throw failure(fmt::format("'{}' is no update of many tensors", first.kind()));
  }
  const UpdateOperands operands = update_operands(first);
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
  if (operands.rate >= 0) {
    kernel.arguments.push_back({KernelArgument::Place::operand, operands.rate});
    parameters += ", const float* rate_at";
  }
  if (operands.step >= 0) {
    kernel.arguments.push_back({KernelArgument::Place::operand, operands.step});
    parameters += ", const float* step_at";
  }
  std::string& text = kernel.text;
  text = fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}({}) {{\n", kThreads,
                     kernel.name, parameters);
  text += update_settings(first);
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
