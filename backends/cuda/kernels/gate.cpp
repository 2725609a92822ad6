#include "backends/cuda/kernels/gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "backends/cuda/kernels/loops.h"
#include "backends/cuda/kernels/parameters.h"
#include "ir/error.h"
#include "ir/gate.h"

namespace facet::cuda {
namespace {

constexpr std::int64_t kWarp = 32;
constexpr std::int64_t kWarps = 4;  // of a block that passes over a map
constexpr int kVoters = 256;        // threads that vote on one image
/// Blocks that keep an H200's 132 multiprocessors busy: an image is cut until there are as many.
constexpr std::int64_t kWantedBlocks = 1024;
/// Weights of the pixels that a block keeps in shared memory, beside the sums of its warps.
constexpr std::int64_t kMostWeightBytes = 28 << 10;
/// Sums (and maxima) that a lane keeps in registers.
constexpr std::int64_t kMostSums = 32;

/// A map [N, C, H, W] with its channels last.
struct Map {
  std::string_view type;
  std::int64_t size = 0;              ///< bytes of an element
  std::int64_t image = 0, pixel = 0;  ///< strides
};

Map map_of(const View& view) {
  const std::vector<std::int64_t> extents = static_extents(view.type.shape);
  if (view.strides.size() != 4) {
    throw failure(fmt::format("the GPU gates plain layouts, not {}", to_string(view.type)));
  }
  const std::int64_t columns = extents[3];
  const std::int64_t pixel = columns > 1 ? view.strides[3] : view.strides[2];
  if ((extents[1] > 1 && view.strides[1] != 1) ||
      (extents[2] > 1 && columns > 1 && view.strides[2] != pixel * columns)) {
    throw failure(
        fmt::format("the GPU gates maps whose channels are last, not {}", to_string(view.type)));
  }
  return {type_name(view.type.dtype), size_of(view.type.dtype), view.strides[0], pixel};
}

std::int64_t rounded_up(std::int64_t x, std::int64_t to) { return (x + to - 1) / to * to; }

/// What one pass over the map reads and makes.
struct Pass {
  bool pixels = false;      ///< computes the gate of the pixels
  bool statistics = false;  ///< mean and maximum over the channels
  bool sums = false;        ///< parts of the sums (and maxima) over the pixels
  bool writes = false;
};

class GateWriter {
 public:
  GateWriter(const Node& node, std::span<const View> operands, const View& result)
      : gate_(gate_of(node)), operands_(operands), x_(map_of(operands[0])), y_(map_of(result)) {
    if (gate_.residual >= 0) residual_ = map_of(view(gate_.residual));
    images_ = static_extents(result.type.shape)[0];
    if (images_ * gate_.channels * gate_.pixels() > std::numeric_limits<std::int32_t>::max()) {
      throw failure(fmt::format("{} is too large for one gate", to_string(result.type)));
    }
    for (std::size_t i = 1; i < operands.size(); ++i) {
      if (static_cast<int>(i) == gate_.residual) continue;
      if (operands[i].strides == dense_strides(operands[i].type)) continue;
      throw failure(
          fmt::format("weights of a gate must be dense, not {}", to_string(operands[i].type)));
    }
    vector_ = vector();
    summed_parts_ = parts_of({.sums = true});
    if (gate_.has(GateStage::pixels)) {
      summed_parts_ = std::max(summed_parts_, parts_of({.pixels = true}));
    }
    sums_ = scratch_.take(images_ * summed_parts_ * gate_.channels);
    if (gate_.max_too) peaks_ = scratch_.take(images_ * summed_parts_ * gate_.channels);
    scale_ = scratch_.take(images_ * gate_.channels);
    map_ = scratch_.take(images_ * gate_.pixels());
    if (gate_.has(GateStage::window)) statistics_ = scratch_.take(2 * images_ * gate_.pixels());
  }

  KernelSequence run() {
    Pass done;
    for (std::size_t i = 0; i < gate_.stages.size(); ++i) {
      const bool is_last = i + 1 == gate_.stages.size();
      switch (gate_.stages[i]) {
        case GateStage::pixels:
          done = {.pixels = true, .writes = is_last};
          if (!is_last) {
            done.statistics = gate_.stages[i + 1] == GateStage::window;
            done.sums = gate_.stages[i + 1] == GateStage::channels && sums_fit();
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
    sequence_.scratch_bytes = scratch_.bytes();
    return std::move(sequence_);
  }

 private:
  const View& view(int operand) const { return operands_[static_cast<std::size_t>(operand)]; }
  std::string_view type_of(int operand) const { return type_name(view(operand).type.dtype); }

  /// Neighbours that a lane moves at once: 16 bytes at most, fewer where lanes would be idle.
  std::int64_t vector() const {
    std::int64_t smallest = std::min(x_.size, y_.size), common = gate_.channels;
    for (const Map* map : {&x_, &y_, &residual_}) {
      if (map->size == 0) continue;
      smallest = std::min(smallest, map->size);
      common = std::gcd(common, std::gcd(map->image, map->pixel));
    }
    std::int64_t vector = std::gcd(std::int64_t{16} / smallest, common);
    while (vector > 1 && vector * kWarp > gate_.channels) vector /= 2;
    return vector;
  }

  std::int64_t steps() const {
    return rounded_up(gate_.channels, kWarp * vector_) / (kWarp * vector_);
  }
  bool sums_fit() const { return steps() * vector_ * (gate_.max_too ? 2 : 1) <= kMostSums; }
  /// A pass that only sums leaves further channels to further blocks.
  std::int64_t steps_of(const Pass& pass) const {
    if (!pass.sums || pass.pixels) return steps();
    return std::min(steps(), kMostSums / (vector_ * (gate_.max_too ? 2 : 1)));
  }

  static std::int64_t tile_of(const Pass& pass) { return pass.pixels ? 16 : 4; }
  /// Pixels of a part: whole tiles.
  std::int64_t chunk_of(const Pass& pass) const {
    const std::int64_t tile = tile_of(pass);
    const std::int64_t most = (gate_.pixels() + tile * kWarps - 1) / (tile * kWarps);
    const std::int64_t parts = std::clamp<std::int64_t>(kWantedBlocks / images_, 1, most);
    return rounded_up((gate_.pixels() + parts - 1) / parts, tile);
  }
  std::int64_t parts_of(const Pass& pass) const {
    return (gate_.pixels() + chunk_of(pass) - 1) / chunk_of(pass);
  }

  void add_pass(const Pass& pass);
  std::string shared_weights(const Pass& pass) const;
  std::string gates_of_pixels(const Pass& pass) const;
  std::string each_element(const Pass& pass) const;
  std::string leave_sums(const Pass& pass) const;
  void add_vote();
  void add_map();

  /// Of a row of hidden weights in shared memory: rows begin in different banks.
  std::int64_t weight_stride() const {
    std::int64_t stride = rounded_up(gate_.channels, 16);
    while (stride * x_.size % 128 != 16 * x_.size) stride += 16;
    return stride;
  }
  std::int64_t hidden_rows() const { return rounded_up(gate_.pixel_hidden, 8); }
  bool shares_weights() const {
    return hidden_rows() * weight_stride() * x_.size <= kMostWeightBytes;
  }

  Gate gate_;
  std::span<const View> operands_;
  Map x_, y_, residual_;
  std::int64_t images_ = 0;
  std::int64_t vector_ = 1;
  std::int64_t summed_parts_ = 1;  ///< that there is room for
  std::int64_t vote_parts_ = 1;    ///< that were made
  bool is_scaled_ = false;         ///< by the channels' gate
  bool is_mapped_ = false;         ///< by the pixels' or the window's gate
  Scratch scratch_;
  std::int64_t sums_ = 0, peaks_ = 0, scale_ = 0, map_ = 0, statistics_ = 0;
  KernelSequence sequence_;
};

/// The hidden weights [C, r] times what already scales the channels, transposed.
std::string GateWriter::shared_weights(const Pass& pass) const {
  if (!pass.pixels || !shares_weights()) return "";
  return fmt::format(
      "  __shared__ {0} weights[{1} * {2}];\n"
      "  for (int i = threadIdx.x; i < {1} * {3}; i += {4}) {{\n"
      "    const int j = i % {1}, c = i / {1};\n"
      "    const float w = j < {5} && c < {6} ? facet::to_float(w1[{5} * c + j]){7} : 0.0f;\n"
      "    facet::from_float(w, weights[{2} * j + c]);\n  }}\n  __syncthreads();\n",
      x_.type, hidden_rows(), weight_stride(), rounded_up(gate_.channels, 16), kWarps * kWarp,
      gate_.pixel_hidden, gate_.channels, is_scaled_ ? " * scale[c]" : "");
}

/// gates[warp][0..15] of the tile's pixels, each multiplied with the map that is there already.
std::string GateWriter::gates_of_pixels(const Pass& pass) const {
  if (!pass.pixels) return "";
  const std::int64_t tiles = hidden_rows() / 8;
  const std::int64_t together = tiles % 4 == 0 ? 4 : tiles % 3 == 0 ? 3 : tiles % 2 == 0 ? 2 : 1;
  const bool whole = gate_.channels % 4 == 0 && x_.pixel % 4 == 0 && x_.image % 4 == 0;
  std::string text = fmt::format(
      "    const int g = lane / 4, t = lane % 4;\n"
      "    const int p0 = first + g < end ? first + g : end - 1;\n"
      "    const int p1 = first + g + 8 < end ? first + g + 8 : end - 1;\n"
      "    const float m0 = {0}, m1 = {1};\n    float z0 = 0.0f, z1 = 0.0f;\n"
      "    for (int j = 0; j < {2}; j += {3}) {{\n      float h[{4}][4] = {{}};\n"
      "      for (int c = 4 * t; c < {5}; c += 16) {{\n"
      "        const facet::Four<{6}> a0 = facet::load_four<{7}>(x + {8}LL * p0 + c, {9} - c);\n"
      "        const facet::Four<{6}> a1 = facet::load_four<{7}>(x + {8}LL * p1 + c, {9} - c);\n"
      "        for (int n = 0; n < {4}; ++n) {{\n",
      is_mapped_ ? "map[p0]" : "1.0f", is_mapped_ ? "map[p1]" : "1.0f", hidden_rows(), 8 * together,
      together, rounded_up(gate_.channels, 16), x_.type, whole, x_.pixel, gate_.channels);
  if (shares_weights()) {
    text += fmt::format(
        "          const facet::Four<{}> b = "
        "facet::load_four<true>(weights + {} * (j + 8 * n + g) + c, 4);\n",
        x_.type, weight_stride());
  } else {
    text += fmt::format(
        "          facet::Four<{0}> b;\n          for (int i = 0; i < 4; ++i) {{\n"
        "            const bool is_there = j + 8 * n + g < {1} && c + i < {2};\n"
        "            facet::from_float(is_there ? facet::to_float(w1[{1} * (c + i) + j + 8 * n + "
        "g]){3} : 0.0f, b.values[i]);\n          }}\n",
        x_.type, gate_.pixel_hidden, gate_.channels, is_scaled_ ? " * scale[c + i]" : "");
  }
  text += fmt::format(
      "          facet::multiply(h[n], a0, a1, b);\n        }}\n      }}\n"
      "      for (int n = 0; n < {0}; ++n) {{\n        for (int i = 0; i < 2; ++i) {{\n"
      "          const int r = j + 8 * n + 2 * t + i;\n          if (r >= {1}) continue;\n"
      "          const float b = {2}, w = facet::to_float(w2[r]);\n"
      "          z0 += facet::relu(m0 * h[n][i] + b) * w;\n"
      "          z1 += facet::relu(m1 * h[n][i + 2] + b) * w;\n        }}\n      }}\n    }}\n"
      "    for (int distance = 1; distance < 4; distance *= 2) {{\n"
      "      z0 += facet::exchange(z0, distance);\n      z1 += facet::exchange(z1, distance);\n"
      "    }}\n    __syncwarp();\n    if (t == 0) {{\n"
      "      gates[warp][g] = m0 * facet::sigmoid(z0 + {3});\n"
      "      gates[warp][g + 8] = m1 * facet::sigmoid(z1 + {3});\n    }}\n    __syncwarp();\n",
      together, gate_.pixel_hidden, gate_.pixel_b1 >= 0 ? "facet::to_float(b1[r])" : "0.0f",
      gate_.pixel_b2 >= 0 ? "facet::to_float(b2[0])" : "0.0f");
  if (!pass.writes) {
    text += "    if (lane < 16 && first + lane < end) map[first + lane] = gates[warp][lane];\n";
  }
  return text;
}

/// What is done with the tile's elements, once its gates are known.
std::string GateWriter::each_element(const Pass& pass) const {
  const std::int64_t tile = tile_of(pass);
  std::string text;
  if (pass.statistics) {
    text += fmt::format(
        "    float total[{0}], most[{0}];\n    for (int q = 0; q < {0}; ++q) {{\n"
        "      total[q] = 0.0f;\n      most[q] = facet::bits_to_float(0xff800000u);\n    }}\n",
        tile);
  }
  const bool guards = gate_.channels % (kWarp * vector_ * steps_of(pass)) != 0;
  text += fmt::format(
      "{0}    for (int s = 0; s < {1}; ++s) {{\n"
      "      const int c = channel + {2} * s;\n{3}",
      pass.sums ? "#pragma unroll\n" : "", steps_of(pass), kWarp * vector_,
      guards ? fmt::format("      if (c >= {}) continue;\n", gate_.channels) : "");
  if (is_scaled_) text += "      float k[V];\n      facet::load(k, scale + c);\n";
  text += fmt::format(
      "#pragma unroll {0}\n      for (int q = 0; q < {1}; ++q) {{\n"
      "        const int p = first + q;\n        if (p >= end) continue;\n"
      "        float v[V];\n        facet::load(v, x + {2}LL * p + c);\n",
      pass.statistics ? tile : 4, tile, x_.pixel);
  if (pass.pixels || is_mapped_) {
    text +=
        fmt::format("        const float gate = {};\n", pass.pixels ? "gates[warp][q]" : "map[p]");
  }
  if (pass.writes && gate_.residual >= 0) {
    text += fmt::format("        float r[V];\n        facet::load(r, residual + {}LL * p + c);\n",
                        residual_.pixel);
  }
  text += "        for (int i = 0; i < V; ++i) {\n";
  if (is_scaled_) text += "          v[i] *= k[i];\n";
  if (pass.pixels || is_mapped_) text += "          v[i] *= gate;\n";
  if (pass.sums) text += "          sums[s][i] += v[i];\n";
  if (pass.sums && gate_.max_too) {
    text += "          peaks[s][i] = facet::maximum(peaks[s][i], v[i]);\n";
  }
  if (pass.statistics) {
    text += "          total[q] += v[i];\n          most[q] = facet::maximum(most[q], v[i]);\n";
  }
  if (pass.writes && gate_.residual >= 0) text += "          v[i] += r[i];\n";
  if (pass.writes && gate_.relu) text += "          v[i] = facet::relu(v[i]);\n";
  text += "        }\n";
  if (pass.writes) text += fmt::format("        facet::store(y + {}LL * p + c, v);\n", y_.pixel);
  text += "      }\n    }\n";
  if (pass.statistics) {
    text += fmt::format(
        "    for (int q = 0; q < {0}; ++q) {{\n      const float sum = facet::warp_sum(total[q]);\n"
        "      const float peak = facet::warp_maximum(most[q]);\n"
        "      if (lane > 0 || first + q >= end) continue;\n"
        "      statistics[first + q] = sum / {1}.0f;\n"
        "      statistics[{2} + first + q] = peak;\n    }}\n",
        tile, gate_.channels, gate_.pixels());
  }
  return text;
}

/// Adds up what the warps have and leaves it for the vote.
std::string GateWriter::leave_sums(const Pass& pass) const {
  const std::int64_t channels = steps_of(pass) * kWarp * vector_;
  std::string text;
  for (const bool is_peak : {false, true}) {
    if (is_peak && !gate_.max_too) continue;
    text += fmt::format(
        "  __syncthreads();\n#pragma unroll\n  for (int s = 0; s < {0}; ++s) {{\n"
        "    for (int i = 0; i < V; ++i) all[warp][(s * {1} + lane) * V + i] = {2}[s][i];\n  }}\n"
        "  __syncthreads();\n"
        "  for (int c = threadIdx.x; c < {3}; c += {4}) {{\n"
        "    if ({3} * slice + c >= {5}) continue;\n    float x = all[0][c];\n"
        "    for (int w = 1; w < {6}; ++w) x = {7};\n"
        "    scratch[{8} + {5} * (image * {9} + part) + {3} * slice + c] = x;\n  }}\n",
        steps_of(pass), kWarp, is_peak ? "peaks" : "sums", channels, kWarps * kWarp, gate_.channels,
        kWarps, is_peak ? "facet::maximum(x, all[w][c])" : "x + all[w][c]",
        is_peak ? peaks_ : sums_, parts_of(pass));
  }
  return text;
}

void GateWriter::add_pass(const Pass& pass) {
  Parameters parameters;
  // The memory plan may put the result over the map.
  parameters.operand(0, x_.type, "x", !pass.writes);
  if (pass.pixels) {
    parameters.operand(gate_.pixel_w1, type_of(gate_.pixel_w1), "w1");
    if (gate_.pixel_b1 >= 0) parameters.operand(gate_.pixel_b1, type_of(gate_.pixel_b1), "b1");
    parameters.operand(gate_.pixel_w2, type_of(gate_.pixel_w2), "w2");
    if (gate_.pixel_b2 >= 0) parameters.operand(gate_.pixel_b2, type_of(gate_.pixel_b2), "b2");
  }
  if (pass.writes && gate_.residual >= 0) {
    parameters.operand(gate_.residual, residual_.type, "residual", false);
  }
  if (pass.writes) parameters.result(0, y_.type, "y");
  parameters.scratch();
  const std::int64_t steps = steps_of(pass);
  const std::int64_t slices = (this->steps() + steps - 1) / steps;
  const std::int64_t parts = parts_of(pass);
  KernelSource kernel = parameters.begin("facet_gate_pass", static_cast<int>(kWarps * kWarp),
                                         images_ * parts * slices);
  std::string& text = kernel.text;
  text += fmt::format(
      "  constexpr int V = {0};\n  const int lane = threadIdx.x % facet::kLanes;\n"
      "  const int warp = threadIdx.x / facet::kLanes;\n"
      "  const int slice = blockIdx.x % {1}, part = blockIdx.x / {1} % {2};\n"
      "  const int image = blockIdx.x / {3};\n",
      vector_, slices, parts, parts * slices);
  text += fmt::format("  const int end = {0} * (part + 1) < {1} ? {0} * (part + 1) : {1};\n",
                      chunk_of(pass), gate_.pixels());
  text += fmt::format("  const int channel = {} * slice + lane * V;\n", steps * kWarp * vector_);
  text += fmt::format("  x += {}LL * image;\n", x_.image);
  if (pass.writes) text += fmt::format("  y += {}LL * image;\n", y_.image);
  if (pass.writes && gate_.residual >= 0) {
    text += fmt::format("  residual += {}LL * image;\n", residual_.image);
  }
  if (is_scaled_) {
    text +=
        fmt::format("  const float* scale = scratch + {} + {} * image;\n", scale_, gate_.channels);
  }
  if (is_mapped_ || pass.pixels) {
    text += fmt::format("  float* map = scratch + {} + {} * image;\n", map_, gate_.pixels());
  }
  if (pass.statistics) {
    text += fmt::format("  float* statistics = scratch + {} + {} * image;\n", statistics_,
                        2 * gate_.pixels());
  }
  text += shared_weights(pass);
  if (pass.pixels) text += fmt::format("  __shared__ float gates[{}][16];\n", kWarps);
  if (pass.sums) {
    text += fmt::format("  __shared__ float all[{}][{}];\n  float sums[{}][V] = {{}};\n", kWarps,
                        steps * kWarp * vector_, steps);
    if (gate_.max_too) {
      text += fmt::format(
          "  float peaks[{0}][V];\n  for (int s = 0; s < {0}; ++s) {{\n"
          "    for (int i = 0; i < V; ++i) peaks[s][i] = facet::bits_to_float(0xff800000u);\n  "
          "}}\n",
          steps);
    }
  }
  text += fmt::format("  for (int first = {} * part + {} * warp; first < end; first += {}) {{\n",
                      chunk_of(pass), tile_of(pass), tile_of(pass) * kWarps);
  text += gates_of_pixels(pass) + each_element(pass) + "  }\n";
  if (pass.sums) {
    text += leave_sums(pass);
    vote_parts_ = parts;
  }
  text += "}\n";
  sequence_.kernels.push_back(std::move(kernel));
}

void GateWriter::add_vote() {
  const std::int64_t kinds = gate_.max_too ? 2 : 1;
  const std::int64_t c = gate_.channels, r = gate_.channel_hidden;
  if (kinds * (c + r) * 4 > 48 << 10) {
    throw failure(fmt::format("a gate of {} channels has no room in shared memory", c));
  }
  Parameters parameters;
  const auto weight = [&](int operand, const char* name) {
    if (operand >= 0) parameters.operand(operand, type_of(operand), name);
  };
  weight(gate_.channel_w1, "w1");
  weight(gate_.channel_b1, "b1");
  weight(gate_.channel_w2, "w2");
  weight(gate_.channel_b2, "b2");
  weight(gate_.gamma, "gamma");
  parameters.scratch();
  KernelSource kernel = parameters.begin("facet_gate_vote", kVoters, images_);
  std::string& text = kernel.text;
  text += fmt::format(
      "  __shared__ float pooled[{0}][{1}];\n  __shared__ float hidden[{0}][{2}];\n"
      "  const int lane = threadIdx.x % facet::kLanes;\n"
      "  const int image = blockIdx.x;\n"
      "  for (int c = threadIdx.x; c < {1}; c += {3}) {{\n"
      "    const float* sums = scratch + {4} + {5} * image + c;\n    float sum = 0.0f;\n"
      "    for (int part = 0; part < {6}; ++part) sum += sums[{1} * part];\n"
      "    pooled[0][c] = sum / {7}.0f;\n",
      kinds, c, r, kVoters, sums_, c * vote_parts_, vote_parts_, gate_.pixels());
  if (gate_.max_too) {
    text += fmt::format(
        "    const float* peaks = scratch + {0} + {1} * image + c;\n    float peak = peaks[0];\n"
        "    for (int part = 1; part < {2}; ++part) peak = facet::maximum(peak, peaks[{3} * "
        "part]);\n    pooled[1][c] = peak;\n",
        peaks_, c * vote_parts_, vote_parts_, c);
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
      kinds * r, kVoters / kWarp, r, c, gate_.channel_b1 >= 0 ? "facet::to_float(b1[j])" : "0.0f");
  text += fmt::format(
      "  for (int c = threadIdx.x; c < {0}; c += {1}) {{\n    const float b = {2};\n"
      "    float z = b;\n"
      "    for (int j = 0; j < {3}; ++j) z += facet::to_float(w2[{0} * j + c]) * hidden[0][j];\n",
      c, kVoters, gate_.channel_b2 >= 0 ? "facet::to_float(b2[c])" : "0.0f", r);
  if (gate_.max_too) {
    text += fmt::format(
        "    float peak = b;\n"
        "    for (int j = 0; j < {0}; ++j) peak += facet::to_float(w2[{1} * j + c]) * "
        "hidden[1][j];\n    z += {2}peak;\n",
        r, c, gate_.gamma >= 0 ? "facet::to_float(gamma[0]) * " : "");
  }
  text +=
      fmt::format("    scratch[{0} + {1} * image + c] = facet::sigmoid(z);\n  }}\n}}\n", scale_, c);
  sequence_.kernels.push_back(std::move(kernel));
}

void GateWriter::add_map() {
  Parameters parameters;
  parameters.operand(gate_.window_w, type_of(gate_.window_w), "w");
  if (gate_.window_b >= 0) parameters.operand(gate_.window_b, type_of(gate_.window_b), "b");
  parameters.scratch();
  const std::int64_t count = images_ * gate_.pixels();
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
      kVoters, count, gate_.pixels(), statistics_, 2 * gate_.pixels(),
      gate_.window_b >= 0 ? "facet::to_float(b[0])" : "0.0f", gate_.kernel, gate_.width,
      gate_.kernel / 2, gate_.height, map_, is_mapped_ ? "map[unit] * " : "");
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
