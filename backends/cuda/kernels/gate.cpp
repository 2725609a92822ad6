#include "backends/cuda/kernels/gate.h"

#include <fmt/format.h>

#include "backends/cuda/kernels/gate_pass.h"
#include "backends/cuda/kernels/parameters.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr std::int64_t kWarp = 32;
constexpr int kVoters = 256;  // threads that vote on one image

class GateWriter {
 public:
  GateWriter(const Node& node, std::span<const View> operands, const View& result)
      : s_(node, operands, result) {}

  KernelSequence run() {
    GatePass done;
    const std::vector<GateStage>& stages = s_.gate.stages;
    for (std::size_t i = 0; i < stages.size(); ++i) {
      const bool is_last = i + 1 == stages.size();
      switch (stages[i]) {
        case GateStage::pixels:
          done = {.pixels = true, .writes = is_last};
          if (!is_last) {
            done.statistics = stages[i + 1] == GateStage::window;
            done.sums = stages[i + 1] == GateStage::channels && s_.sums_fit();
          }
          add_pass(done);
          is_mapped_ = true;
          break;
        case GateStage::channels:
          if (!done.sums) add_pass({.sums = true});
          add_vote();
          is_scaled_ = true;
          break;
        case GateStage::window:
          if (!done.statistics) add_pass({.statistics = true});
          add_map();
          is_mapped_ = true;
          break;
      }
    }
    if (!done.writes) add_pass({.writes = true});
    sequence_.scratch_bytes = s_.scratch.bytes();
    return std::move(sequence_);
  }

 private:
  void add_pass(GatePass pass) {
    pass.is_scaled = is_scaled_;
    pass.is_mapped = is_mapped_;
    if (pass.sums) vote_parts_ = s_.parts_of(pass);
    sequence_.kernels.push_back(gate_pass_kernel(s_, pass));
  }
  void add_vote();
  void add_map();

  GateScheme s_;
  std::int64_t vote_parts_ = 1;  ///< of the sums that were made
  bool is_scaled_ = false;       ///< by the channels' gate
  bool is_mapped_ = false;       ///< by the pixels' or the window's gate
  KernelSequence sequence_;
};

void GateWriter::add_vote() {
  const std::int64_t kinds = s_.gate.max_too ? 2 : 1;
  const std::int64_t c = s_.gate.channels, r = s_.gate.channel_hidden;
  if (kinds * (c + r) * 4 > 48 << 10) {
    throw failure(fmt::format("a gate of {} channels has no room in shared memory", c));
  }
  Parameters parameters;
  const auto weight = [&](int operand, const char* name) {
    if (operand >= 0) parameters.operand(operand, s_.type_of(operand), name);
  };
  weight(s_.gate.channel_w1, "w1");
  weight(s_.gate.channel_b1, "b1");
  weight(s_.gate.channel_w2, "w2");
  weight(s_.gate.channel_b2, "b2");
  weight(s_.gate.gamma, "gamma");
  parameters.scratch();
  KernelSource kernel = parameters.begin("facet_gate_vote", kVoters, s_.images);
  std::string& text = kernel.text;
  text += fmt::format(
      "  __shared__ float pooled[{0}][{1}];\n  __shared__ float hidden[{0}][{2}];\n"
      "  const int lane = threadIdx.x % facet::kLanes;\n"
      "  const int image = blockIdx.x;\n"
      "  for (int c = threadIdx.x; c < {1}; c += {3}) {{\n"
      "    const float* sums = scratch + {4} + {5} * image + c;\n    float sum = 0.0f;\n"
      "    for (int part = 0; part < {6}; ++part) sum += sums[{1} * part];\n"
      "    pooled[0][c] = sum / {7}.0f;\n",
      kinds, c, r, kVoters, s_.sums, c * vote_parts_, vote_parts_, s_.gate.pixels());
  if (s_.gate.max_too) {
    text += fmt::format(
        "    const float* peaks = scratch + {0} + {1} * image + c;\n    float peak = peaks[0];\n"
        "    for (int part = 1; part < {2}; ++part) peak = facet::maximum(peak, peaks[{3} * "
        "part]);\n    pooled[1][c] = peak;\n",
        s_.peaks, c * vote_parts_, vote_parts_, c);
  }
  text += fmt::format(
      "  }}\n  __syncthreads();\n"
      "  for (int u = threadIdx.x / facet::kLanes; u < {0}; u += {1}) {{\n"
      "    const int j = u % {2};\n    float sum = 0.0f;\n"
      "    for (int c = lane; c < {3}; c += facet::kLanes) "
      "sum += facet::to_float(w1[{3} * j + c]) * pooled[u / {2}][c];\n"
      "    sum = facet::warp_sum(sum);\n"
      "    if (lane == 0) hidden[u / {2}][j] = facet::relu(sum + {4});\n  }}\n"
      "  __syncthreads();\n",
      kinds * r, kVoters / kWarp, r, c,
      s_.gate.channel_b1 >= 0 ? "facet::to_float(b1[j])" : "0.0f");
  text += fmt::format(
      "  for (int c = threadIdx.x; c < {0}; c += {1}) {{\n    const float b = {2};\n"
      "    float z = b;\n"
      "    for (int j = 0; j < {3}; ++j) z += facet::to_float(w2[{0} * j + c]) * hidden[0][j];\n",
      c, kVoters, s_.gate.channel_b2 >= 0 ? "facet::to_float(b2[c])" : "0.0f", r);
  if (s_.gate.max_too) {
    text += fmt::format(
        "    float peak = b;\n"
        "    for (int j = 0; j < {0}; ++j) peak += facet::to_float(w2[{1} * j + c]) * "
        "hidden[1][j];\n    z += {2}peak;\n",
        r, c, s_.gate.gamma >= 0 ? "facet::to_float(gamma[0]) * " : "");
  }
  text += fmt::format("    scratch[{0} + {1} * image + c] = facet::sigmoid(z);\n  }}\n}}\n",
                      s_.scale, c);
  sequence_.kernels.push_back(std::move(kernel));
}

void GateWriter::add_map() {
  Parameters parameters;
  parameters.operand(s_.gate.window_w, s_.type_of(s_.gate.window_w), "w");
  if (s_.gate.window_b >= 0)
    parameters.operand(s_.gate.window_b, s_.type_of(s_.gate.window_b), "b");
  parameters.scratch();
  const std::int64_t count = s_.images * s_.gate.pixels();
  KernelSource kernel =
      parameters.begin("facet_gate_map", kVoters, (count + kVoters - 1) / kVoters);
  kernel.text += fmt::format(
      "  const int unit = blockIdx.x * {0} + threadIdx.x;\n  if (unit >= {1}) return;\n"
      "  const int p = unit % {2};\n"
      "  const float* statistics = scratch + {3} + {4} * (unit / {2});\n  float z = {5};\n"
      "  for (int kind = 0; kind < 2; ++kind) {{\n    for (int i = 0; i < {6}; ++i) {{\n"
      "      const int row = p / {7} + i - {8};\n      if (row < 0 || row >= {9}) continue;\n"
      "      for (int j = 0; j < {6}; ++j) {{\n        const int column = p % {7} + j - {8};\n"
      "        if (column < 0 || column >= {7}) continue;\n"
      "        z += facet::to_float(w[{6} * ({6} * kind + i) + j]) * "
      "statistics[{2} * kind + {7} * row + column];\n      }}\n    }}\n  }}\n"
      "  float* map = scratch + {10};\n  map[unit] = {11}facet::sigmoid(z);\n}}\n",
      kVoters, count, s_.gate.pixels(), s_.statistics, 2 * s_.gate.pixels(),
      s_.gate.window_b >= 0 ? "facet::to_float(b[0])" : "0.0f", s_.gate.kernel, s_.gate.width,
      s_.gate.kernel / 2, s_.gate.height, s_.map, is_mapped_ ? "map[unit] * " : "");
  sequence_.kernels.push_back(std::move(kernel));
}

}  // namespace

bool is_gate(const Node& node) { return node.is("gate") && is_float(node.operand(0).dtype()); }

LayoutChoice gate_layouts(const Node& node) {
  const Gate gate = gate_of(node);
  LayoutChoice choice{std::vector<Layout>(static_cast<std::size_t>(node.operand_count())),
                      {"acdb"}};
  choice.operands[0] = "acdb";
  if (gate.residual >= 0) choice.operands[static_cast<std::size_t>(gate.residual)] = "acdb";
  return choice;
}

KernelSequence gate_kernels(const Node& node, std::span<const View> operands, const View& result) {
  if (!is_gate(node)) throw failure(fmt::format("'{}' is no gate", node.kind()));
  return GateWriter(node, operands, result).run();
}

}  // namespace facet::cuda
