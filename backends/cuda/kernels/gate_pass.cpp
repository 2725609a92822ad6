#include "backends/cuda/kernels/gate_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "backends/cuda/kernels/loops.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr std::int64_t kWarp = 32;
constexpr std::int64_t kWarps = 4;  // of a block that passes over a map
/// Blocks that keep an H200's 132 multiprocessors busy: an image is cut until there are as many.
constexpr std::int64_t kWantedBlocks = 1024;
/// Weights of the pixels that a block keeps in shared memory, beside the sums of its warps.
constexpr std::int64_t kMostWeightBytes = 28 << 10;
/// Sums (and maxima) that a lane keeps in registers.
constexpr std::int64_t kMostSums = 32;

std::int64_t rounded_up(std::int64_t x, std::int64_t to) { return (x + to - 1) / to * to; }

GateMap map_of(const View& view) {
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

std::int64_t tile_of(const GatePass& pass) { return pass.pixels ? 16 : 4; }

class PassWriter {
 public:
  PassWriter(const GateScheme& scheme, const GatePass& pass) : s_(scheme), pass_(pass) {}
  KernelSource run() const;

 private:
  std::string shared_weights() const;
  std::string gates_of_pixels() const;
  std::string each_element() const;
  std::string leave_sums() const;

  const GateScheme& s_;
  const GatePass& pass_;
};

/// The hidden weights [C, r] times what already scales the channels, transposed.
std::string PassWriter::shared_weights() const {
  if (!pass_.pixels || !s_.shares_weights()) return "";
  return fmt::format(
      "  __shared__ facet::Four<{0}> shared_weights[{1} * {2} / 4];\n"
      "  {0}* const weights = shared_weights[0].values;\n"
      "  for (int i = threadIdx.x; i < {1} * {3}; i += {4}) {{\n"
      "    const int j = i % {1}, c = i / {1};\n"
      "    const float w = j < {5} && c < {6} ? facet::to_float(w1[{5} * c + j]){7} : 0.0f;\n"
      "    facet::from_float(w, weights[{2} * j + c]);\n  }}\n  __syncthreads();\n",
      s_.x.type, s_.hidden_rows(), s_.weight_stride(), rounded_up(s_.gate.channels, 16),
      kWarps * kWarp, s_.gate.pixel_hidden, s_.gate.channels, pass_.is_scaled ? " * scale[c]" : "");
}

/// gates[warp][0..15] of the tile's pixels, each multiplied with the map that is there already.
std::string PassWriter::gates_of_pixels() const {
  if (!pass_.pixels) return "";
  const std::int64_t tiles = s_.hidden_rows() / 8;
  const std::int64_t together = tiles % 4 == 0 ? 4 : tiles % 3 == 0 ? 3 : tiles % 2 == 0 ? 2 : 1;
  const bool whole = s_.gate.channels % 4 == 0 && s_.x.pixel % 4 == 0 && s_.x.image % 4 == 0;
  std::string text = fmt::format(
      "    const int g = lane / 4, t = lane % 4;\n"
      "    const int p0 = first + g < end ? first + g : end - 1;\n"
      "    const int p1 = first + g + 8 < end ? first + g + 8 : end - 1;\n"
      "    const float m0 = {0}, m1 = {1};\n    float z0 = 0.0f, z1 = 0.0f;\n"
      "    for (int j = 0; j < {2}; j += {3}) {{\n      float h[{4}][4] = {{}};\n"
      "      for (int step = 0; step < {5}; step += 16) {{\n        const int c = step + 4 * t;\n"
      "        const facet::Four<{6}> a0 = facet::load_four<{7}>(x + {8}LL * p0 + c, {9} - c);\n"
      "        const facet::Four<{6}> a1 = facet::load_four<{7}>(x + {8}LL * p1 + c, {9} - c);\n"
      "        for (int n = 0; n < {4}; ++n) {{\n",
      pass_.is_mapped ? "map[p0]" : "1.0f", pass_.is_mapped ? "map[p1]" : "1.0f", s_.hidden_rows(),
      8 * together, together, rounded_up(s_.gate.channels, 16), s_.x.type, whole, s_.x.pixel,
      s_.gate.channels);
  if (s_.shares_weights()) {
    text += fmt::format(
        "          const facet::Four<{}> b = "
        "facet::load_four<true>(weights + {} * (j + 8 * n + g) + c, 4);\n",
        s_.x.type, s_.weight_stride());
  } else {
    text += fmt::format(
        "          facet::Four<{0}> b;\n          for (int i = 0; i < 4; ++i) {{\n"
        "            const bool is_there = j + 8 * n + g < {1} && c + i < {2};\n"
        "            facet::from_float(is_there ? facet::to_float(w1[{1} * (c + i) + j + 8 * n + "
        "g]){3} : 0.0f, b.values[i]);\n          }}\n",
        s_.x.type, s_.gate.pixel_hidden, s_.gate.channels,
        pass_.is_scaled ? " * scale[c + i]" : "");
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
      together, s_.gate.pixel_hidden, s_.gate.pixel_b1 >= 0 ? "facet::to_float(b1[r])" : "0.0f",
      s_.gate.pixel_b2 >= 0 ? "facet::to_float(b2[0])" : "0.0f");
  if (!pass_.writes) {
    text += "    if (lane < 16 && first + lane < end) map[first + lane] = gates[warp][lane];\n";
  }
  return text;
}

/// What is done with the tile's elements, once its gates are known.
std::string PassWriter::each_element() const {
  const std::int64_t tile = tile_of(pass_);
  std::string text;
  if (pass_.statistics) {
    text += fmt::format(
        "    float total[{0}], most[{0}];\n    for (int q = 0; q < {0}; ++q) {{\n"
        "      total[q] = 0.0f;\n      most[q] = facet::bits_to_float(0xff800000u);\n    }}\n",
        tile);
  }
  const bool guards = s_.gate.channels % (kWarp * s_.vector * s_.steps_of(pass_)) != 0;
  text += fmt::format(
      "{0}    for (int s = 0; s < {1}; ++s) {{\n"
      "      const int c = channel + {2} * s;\n{3}",
      pass_.sums ? "#pragma unroll\n" : "", s_.steps_of(pass_), kWarp * s_.vector,
      guards ? fmt::format("      if (c >= {}) continue;\n", s_.gate.channels) : "");
  if (pass_.is_scaled) text += "      float k[V];\n      facet::load(k, scale + c);\n";
  text += fmt::format(
      "#pragma unroll {0}\n      for (int q = 0; q < {1}; ++q) {{\n"
      "        const int p = first + q;\n        if (p >= end) continue;\n"
      "        float v[V];\n        facet::load(v, x + {2}LL * p + c);\n",
      pass_.statistics ? tile : 4, tile, s_.x.pixel);
  if (pass_.pixels || pass_.is_mapped) {
    text +=
        fmt::format("        const float gate = {};\n", pass_.pixels ? "gates[warp][q]" : "map[p]");
  }
  if (pass_.writes && s_.gate.residual >= 0) {
    text += fmt::format("        float r[V];\n        facet::load(r, residual + {}LL * p + c);\n",
                        s_.residual.pixel);
  }
  text += "        for (int i = 0; i < V; ++i) {\n";
  if (pass_.is_scaled) text += "          v[i] *= k[i];\n";
  if (pass_.pixels || pass_.is_mapped) text += "          v[i] *= gate;\n";
  if (pass_.sums) text += "          sums[s][i] += v[i];\n";
  if (pass_.sums && s_.gate.max_too) {
    text += "          peaks[s][i] = facet::maximum(peaks[s][i], v[i]);\n";
  }
  if (pass_.statistics) {
    text += "          total[q] += v[i];\n          most[q] = facet::maximum(most[q], v[i]);\n";
  }
  if (pass_.writes && s_.gate.residual >= 0) text += "          v[i] += r[i];\n";
  if (pass_.writes && s_.gate.relu) text += "          v[i] = facet::relu(v[i]);\n";
  text += "        }\n";
  if (pass_.writes) text += fmt::format("        facet::store(y + {}LL * p + c, v);\n", s_.y.pixel);
  text += "      }\n    }\n";
  if (pass_.statistics) {
    text += fmt::format(
        "    for (int q = 0; q < {0}; ++q) {{\n      const float sum = facet::warp_sum(total[q]);\n"
        "      const float peak = facet::warp_maximum(most[q]);\n"
        "      if (lane > 0 || first + q >= end) continue;\n"
        "      statistics[first + q] = sum / {1}.0f;\n"
        "      statistics[{2} + first + q] = peak;\n    }}\n",
        tile, s_.gate.channels, s_.gate.pixels());
  }
  return text;
}

/// Adds up what the warps have and leaves it for the vote.
std::string PassWriter::leave_sums() const {
  const std::int64_t channels = s_.steps_of(pass_) * kWarp * s_.vector;
  std::string text;
  for (const bool is_peak : {false, true}) {
    if (is_peak && !s_.gate.max_too) continue;
    text += fmt::format(
        "  __syncthreads();\n#pragma unroll\n  for (int s = 0; s < {0}; ++s) {{\n"
        "    for (int i = 0; i < V; ++i) all[warp][(s * {1} + lane) * V + i] = {2}[s][i];\n  }}\n"
        "  __syncthreads();\n"
        "  for (int c = threadIdx.x; c < {3}; c += {4}) {{\n"
        "    if ({3} * slice + c >= {5}) continue;\n    float x = all[0][c];\n"
        "    for (int w = 1; w < {6}; ++w) x = {7};\n"
        "    scratch[{8} + {5} * (image * {9} + part) + {3} * slice + c] = x;\n  }}\n",
        s_.steps_of(pass_), kWarp, is_peak ? "peaks" : "sums", channels, kWarps * kWarp,
        s_.gate.channels, kWarps, is_peak ? "facet::maximum(x, all[w][c])" : "x + all[w][c]",
        is_peak ? s_.peaks : s_.sums, s_.parts_of(pass_));
  }
  return text;
}

KernelSource PassWriter::run() const {
  Parameters parameters;
  // The memory plan may put the result over the map.
  parameters.operand(0, s_.x.type, "x", !pass_.writes);
  if (pass_.pixels) {
    parameters.operand(s_.gate.pixel_w1, s_.type_of(s_.gate.pixel_w1), "w1");
    if (s_.gate.pixel_b1 >= 0)
      parameters.operand(s_.gate.pixel_b1, s_.type_of(s_.gate.pixel_b1), "b1");
    parameters.operand(s_.gate.pixel_w2, s_.type_of(s_.gate.pixel_w2), "w2");
    if (s_.gate.pixel_b2 >= 0)
      parameters.operand(s_.gate.pixel_b2, s_.type_of(s_.gate.pixel_b2), "b2");
  }
  if (pass_.writes && s_.gate.residual >= 0) {
    parameters.operand(s_.gate.residual, s_.residual.type, "residual", false);
  }
  if (pass_.writes) parameters.result(0, s_.y.type, "y");
  parameters.scratch();
  const std::int64_t steps = s_.steps_of(pass_);
  const std::int64_t slices = (s_.steps() + steps - 1) / steps;
  const std::int64_t parts = s_.parts_of(pass_);
  KernelSource kernel = parameters.begin("facet_gate_pass", static_cast<int>(kWarps * kWarp),
                                         s_.images * parts * slices);
  std::string& text = kernel.text;
  text += fmt::format(
      "  constexpr int V = {0};\n  const int lane = threadIdx.x % facet::kLanes;\n"
      "  const int warp = threadIdx.x / facet::kLanes;\n"
      "  const int slice = blockIdx.x % {1}, part = blockIdx.x / {1} % {2};\n"
      "  const int image = blockIdx.x / {3};\n",
      s_.vector, slices, parts, parts * slices);
  text += fmt::format("  const int end = {0} * (part + 1) < {1} ? {0} * (part + 1) : {1};\n",
                      s_.chunk_of(pass_), s_.gate.pixels());
  text += fmt::format("  const int channel = {} * slice + lane * V;\n", steps * kWarp * s_.vector);
  text += fmt::format("  x += {}LL * image;\n", s_.x.image);
  if (pass_.writes) text += fmt::format("  y += {}LL * image;\n", s_.y.image);
  if (pass_.writes && s_.gate.residual >= 0) {
    text += fmt::format("  residual += {}LL * image;\n", s_.residual.image);
  }
  if (pass_.is_scaled) {
    text += fmt::format("  const float* scale = scratch + {} + {} * image;\n", s_.scale,
                        s_.gate.channels);
  }
  if (pass_.is_mapped || pass_.pixels) {
    text += fmt::format("  float* map = scratch + {} + {} * image;\n", s_.map, s_.gate.pixels());
  }
  if (pass_.statistics) {
    text += fmt::format("  float* statistics = scratch + {} + {} * image;\n", s_.statistics,
                        2 * s_.gate.pixels());
  }
  text += shared_weights();
  if (pass_.pixels) text += fmt::format("  __shared__ float gates[{}][16];\n", kWarps);
  if (pass_.sums) {
    text += fmt::format("  __shared__ float all[{}][{}];\n  float sums[{}][V] = {{}};\n", kWarps,
                        steps * kWarp * s_.vector, steps);
    if (s_.gate.max_too) {
      text += fmt::format(
          "  float peaks[{0}][V];\n  for (int s = 0; s < {0}; ++s) {{\n"
          "    for (int i = 0; i < V; ++i) peaks[s][i] = facet::bits_to_float(0xff800000u);\n  "
          "}}\n",
          steps);
    }
  }
  text += fmt::format("  for (int first = {} * part + {} * warp; first < end; first += {}) {{\n",
                      s_.chunk_of(pass_), tile_of(pass_), tile_of(pass_) * kWarps);
  text += gates_of_pixels() + each_element() + "  }\n";
  if (pass_.sums) text += leave_sums();
  text += "}\n";
  return kernel;
}

}  // namespace

GateScheme::GateScheme(const Node& node, std::span<const View> all, const View& result)
    : gate(gate_of(node)), operands(all), x(map_of(all[0])), y(map_of(result)) {
  if (gate.residual >= 0) residual = map_of(all[static_cast<std::size_t>(gate.residual)]);
  images = static_extents(result.type.shape)[0];
  if (images * gate.channels * gate.pixels() > std::numeric_limits<std::int32_t>::max()) {
    throw failure(fmt::format("{} is too large for one gate", to_string(result.type)));
  }
  for (std::size_t i = 1; i < operands.size(); ++i) {
    if (static_cast<int>(i) == gate.residual) continue;
    if (operands[i].strides == dense_strides(operands[i].type)) continue;
    throw failure(
        fmt::format("weights of a gate must be dense, not {}", to_string(operands[i].type)));
  }
  // 16 bytes at most, fewer where lanes would be idle.
  std::int64_t smallest = std::min(x.size, y.size), common = gate.channels;
  for (const GateMap* one : {&x, &y, &residual}) {
    if (one->size == 0) continue;
    smallest = std::min(smallest, one->size);
    common = std::gcd(common, std::gcd(one->image, one->pixel));
  }
  vector = std::gcd(std::int64_t{16} / smallest, common);
  while (vector > 1 && vector * kWarp > gate.channels) vector /= 2;
  std::int64_t parts = parts_of({.sums = true});
  if (gate.has(GateStage::pixels)) parts = std::max(parts, parts_of({.pixels = true}));
  sums = scratch.take(images * parts * gate.channels);
  if (gate.max_too) peaks = scratch.take(images * parts * gate.channels);
  scale = scratch.take(images * gate.channels);
  map = scratch.take(images * gate.pixels());
  if (gate.has(GateStage::window)) statistics = scratch.take(2 * images * gate.pixels());
}

std::string_view GateScheme::type_of(int operand) const {
  return type_name(operands[static_cast<std::size_t>(operand)].type.dtype);
}

std::int64_t GateScheme::steps() const {
  return rounded_up(gate.channels, kWarp * vector) / (kWarp * vector);
}

bool GateScheme::sums_fit() const { return steps() * vector * (gate.max_too ? 2 : 1) <= kMostSums; }

// A pass that only sums leaves further channels to further blocks.
std::int64_t GateScheme::steps_of(const GatePass& pass) const {
  if (!pass.sums || pass.pixels) return steps();
  return std::min(steps(), kMostSums / (vector * (gate.max_too ? 2 : 1)));
}

std::int64_t GateScheme::chunk_of(const GatePass& pass) const {
  const std::int64_t tile = tile_of(pass);
  const std::int64_t most = (gate.pixels() + tile * kWarps - 1) / (tile * kWarps);
  const std::int64_t parts = std::clamp<std::int64_t>(kWantedBlocks / images, 1, most);
  return rounded_up((gate.pixels() + parts - 1) / parts, tile);
}

std::int64_t GateScheme::parts_of(const GatePass& pass) const {
  return (gate.pixels() + chunk_of(pass) - 1) / chunk_of(pass);
}

std::int64_t GateScheme::hidden_rows() const { return rounded_up(gate.pixel_hidden, 8); }

// Rows begin in different banks.
std::int64_t GateScheme::weight_stride() const {
  std::int64_t stride = rounded_up(gate.channels, 16);
  while (stride * x.size % 128 != 16 * x.size) stride += 16;
  return stride;
}

bool GateScheme::shares_weights() const {
  return hidden_rows() * weight_stride() * x.size <= kMostWeightBytes;
}

KernelSource gate_pass_kernel(const GateScheme& scheme, const GatePass& pass) {
  return PassWriter(scheme, pass).run();
}

}  // namespace facet::cuda
