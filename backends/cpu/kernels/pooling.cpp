#include <algorithm>
#include <limits>
#include <memory>
#include <string>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/pooling_window.h"

namespace facet::cpu {
namespace {

/// Results that are folded before they are stored: windows side by side.
constexpr std::int64_t kSums = 2048;

struct PoolingPlan {
  Fold fold = Fold::max;
  Float from = Float::f32;
  Float to = Float::f32;
  std::int64_t batch = 1, channels = 1;
  Window h, w;
  std::vector<std::int64_t> x, y;  ///< strides along N, C, H, W
  float factor = 1;                ///< 1 / area for a mean; padding counts as zeros

  std::string implementation() const {
    return std::string(by_channels() ? "pooling_nhwc:" : "pooling_planes:") + vector_loops().name;
  }
  std::size_t scratch_bytes() const { return 0; }
  /// Contiguous channels: the window's pixels are folded as vectors. Otherwise rows of a plane are.
  bool by_channels() const { return channels > 1 && x[1] == 1; }

  void run(const Addresses& addresses) const {
    const std::byte* const from_base = addresses.operands[0];
    std::byte* const to_base = addresses.results[0];
    const std::int64_t elements = batch * channels * h.out * w.out * h.kernel * w.kernel;
    if (by_channels()) {
      parallel_for(batch * h.out, elements, [&](std::int64_t begin, std::int64_t end) {
        const auto sums =
            std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(run() * channels));
        for (std::int64_t row = begin; row < end; ++row) {
          pool_pixels(from_base, to_base, row, sums.get());
        }
      });
      return;
    }
    parallel_for(batch * channels * h.out, elements, [&](std::int64_t begin, std::int64_t end) {
      const auto buffer = std::make_unique_for_overwrite<float[]>(
          static_cast<std::size_t>(2 * w.phases() * w.phase_row() + w.in + w.out));
      std::fill_n(buffer.get(), w.phases() * w.phase_row(), start());
      for (std::int64_t row = begin; row < end; ++row) {
        pool_row(from_base, to_base, row, buffer.get());
      }
    });
  }

  float start() const { return fold == Fold::sum ? 0 : -std::numeric_limits<float>::infinity(); }

  /// Output row `row` of N * H, all channels: the windows that padding cuts one by one, those
  /// between them in runs.
  void pool_pixels(const std::byte* from_base, std::byte* to_base, std::int64_t row,
                   float* sums) const {
    const auto [top, bottom] = h.clip(row % h.out);
    const std::byte* const in = from_base + (row / h.out * x[0] + top * x[2]) * size_of(from);
    std::byte* const out = to_base + (row / h.out * y[0] + row % h.out * y[2]) * size_of(to);
    for (std::int64_t o = 0; o < w.out;) {
      const auto [left, right] = w.clip(o);
      std::int64_t windows = 1;
      const std::int64_t count[2] = {bottom - top, right - left};
      while (windows < run() && o + windows < w.out && w.is_whole(o) && w.is_whole(o + windows)) {
        ++windows;
      }
      pool_run(in + left * x[3] * size_of(from), count, windows, out + o * y[3] * size_of(to),
               sums);
      o += windows;
    }
  }

  /// Windows whose sums fit the buffer.
  std::int64_t run() const { return std::max<std::int64_t>(kSums / channels, 1); }

  void pool_run(const std::byte* in, const std::int64_t count[2], std::int64_t windows,
                std::byte* out, float* sums) const {
    const std::int64_t stride[2] = {x[2], x[3]};
    // f32 results are folded where they belong.
    const bool direct = to == Float::f32 && y[1] == 1;
    float* const values = direct ? reinterpret_cast<float*>(out) : sums;
    const std::int64_t step = direct ? y[3] : channels;
    vector_loops().fold_windows[static_cast<int>(fold)][static_cast<int>(from)](
        in, count, stride, channels, values, windows, w.stride * x[3], step);
    if (factor != 1) {
      for (std::int64_t o = 0; o < windows; ++o) {
        for (std::int64_t c = 0; c < channels; ++c) values[o * step + c] *= factor;
      }
    }
    if (direct) return;
    if (y[1] == 1 && y[3] == channels) {
      return store_floats(to, sums, out, 1, windows * channels);
    }
    for (std::int64_t o = 0; o < windows; ++o) {
      store_floats(to, sums + o * channels, out + o * y[3] * size_of(to), y[1], channels);
    }
  }

  /// Output row `row` of N * C * H. The window's rows are folded into one padded line; the line is
  /// split by position modulo the stride, so that each step of the window is a contiguous row; the
  /// steps are folded.
  void pool_row(const std::byte* from_base, std::byte* to_base, std::int64_t row,
                float* line) const {
    const std::int64_t n = row / (channels * h.out);
    const std::int64_t c = row / h.out % channels;
    const auto [top, bottom] = h.clip(row % h.out);
    const std::byte* const in = from_base + (n * x[0] + c * x[1] + top * x[2]) * size_of(from);
    const std::int64_t phases = w.phases();
    float* const split = line + phases * w.phase_row();
    float* const next = split + phases * w.phase_row();
    float* const values = next + w.in;
    fold_lines(in, bottom - top, line + w.pad, next);
    const VectorLoops& loops = vector_loops();
    const float* steps = line;
    if (phases > 1) {
      loops.transpose32(line, phases, split, w.phase_row(), w.phase_row(), phases);
      steps = split;
    }
    std::copy_n(steps, w.out, values);
    for (std::int64_t k = 1; k < w.kernel; ++k) {
      combine(values, steps + k % phases * w.phase_row() + k / phases, w.out);
    }
    if (factor != 1) {
      for (std::int64_t o = 0; o < w.out; ++o) values[o] *= factor;
    }
    std::byte* const out = to_base + (n * y[0] + c * y[1] + row % h.out * y[2]) * size_of(to);
    store_floats(to, values, out, y[3], w.out);
  }

  void fold_lines(const std::byte* in, std::int64_t count, float* line, float* next) const {
    if (x[3] == 1) {
      const std::int64_t counts[2] = {1, count};
      const std::int64_t strides[2] = {0, x[2]};
      vector_loops().fold_rows[static_cast<int>(fold)][static_cast<int>(from)](in, counts, strides,
                                                                               w.in, line);
      return;
    }
    load_floats(from, in, x[3], line, w.in);
    for (std::int64_t i = 1; i < count; ++i) {
      load_floats(from, in + i * x[2] * size_of(from), x[3], next, w.in);
      combine(line, next, w.in);
    }
  }

  /// a = fold(a, b), n elements.
  void combine(float* a, const float* b, std::int64_t n) const {
    const Tile arguments[] = {{a, 0, true, Float::f32}, {b, 0, true, Float::f32}};
    const Function function = fold == Fold::sum ? Function::add : Function::maximum;
    vector_loops().functions[static_cast<int>(function)](a, 0, arguments, 1, n);
  }
};

}  // namespace

std::unique_ptr<Kernel> lower_pooling(const Node& node, std::span<const View> operands,
                                      std::span<const View> results) {
  check_unblocked(node, operands, results);
  const std::vector<std::int64_t> in = static_extents(operands[0].type.shape);
  const std::vector<std::int64_t> out = static_extents(results[0].type.shape);
  const Ints& kernel = node.attributes().ints("kernel");
  const Ints& strides = node.attributes().ints("strides");
  const Ints& pads = node.attributes().ints("pads");
  PoolingPlan plan;
  plan.from = float_type(node, operands[0].type.dtype);
  plan.to = float_type(node, results[0].type.dtype);
  plan.batch = in[0];
  plan.channels = in[1];
  plan.h = {in[2], out[2], kernel[0], strides[0], pads[0]};
  plan.w = {in[3], out[3], kernel[1], strides[1], pads[1]};
  plan.x = operands[0].strides;
  plan.y = results[0].strides;
  if (node.is("avg_pool")) {
    plan.fold = Fold::sum;
    plan.factor = 1 / static_cast<float>(kernel[0] * kernel[1]);
  }
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
