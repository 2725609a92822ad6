#include <algorithm>
#include <string>
#include <vector>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/pooling_window.h"
#include "backends/cpu/kernels/train_kernels.h"
#include "backends/cpu/kernels/train_loops.h"

namespace facet::cpu {
namespace {

/// Floats of the band of dx that one unit of work sums into: it stays in the second-level cache.
constexpr std::int64_t kBandFloats = 48 * 1024;
constexpr std::int64_t kChannels = 512;

struct PoolingBwdPlan {
  bool is_max = true;
  Float dy_type = Float::f32, x_type = Float::f32, dx_type = Float::f32;
  std::int64_t batch = 1, channels = 1;
  Window h, w;
  std::vector<std::int64_t> dy, x, dx;  ///< strides along N, C, H, W
  bool by_channels = false;
  std::int64_t block = 1;  ///< channels of a band
  std::int64_t band = 1;   ///< rows of it
  float factor = 1;

  std::string implementation() const {
    return std::string(by_channels ? "pooling_bwd_nhwc:" : "pooling_bwd_planes:") +
           train_loops().name;
  }
  std::size_t scratch_bytes() const { return 0; }
  std::int64_t bands() const { return (h.in + band - 1) / band; }
  std::int64_t blocks() const { return (channels + block - 1) / block; }

  void run(const Addresses& a) const {
    const std::int64_t work = batch * channels * h.in * w.in * 4;
    if (!by_channels) {
      parallel_for(batch * channels, work, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t plane = begin; plane < end; ++plane) run_plane(a, plane);
      });
    } else if (is_max) {
      parallel_for(batch * bands() * blocks(), work, [&](std::int64_t begin, std::int64_t end) {
        std::vector<float> sums(static_cast<std::size_t>(band * w.in * block));
        for (std::int64_t unit = begin; unit < end; ++unit) run_band(a, unit, sums.data());
      });
    } else {
      parallel_for(batch * h.in, work, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) run_row(a, row);
      });
    }
  }

 private:
  /// Asks for the pixels of the next row of windows that no window above or to the left has.
  /// Inline: GCC leaves out calls of a function that does nothing else.
  [[gnu::always_inline]] void fetch(const std::byte* from, std::int64_t row, std::int64_t column,
                                    std::int64_t width) const {
    constexpr std::int64_t kLine = 64;
    for (std::int64_t r = row; r < std::min(row + h.stride, h.in); ++r) {
      for (std::int64_t c = column; c < std::min(column + w.stride, w.in); ++c) {
        const std::byte* const pixel = from + (r * x[2] + c * x[3]) * size_of(x_type);
        for (std::int64_t at = 0; at < width * size_of(x_type); at += kLine) {
          __builtin_prefetch(pixel + at);
        }
      }
    }
  }

  /// Rows of dx [first, last) of `block` channels of an image, from all windows that reach into it.
  void run_band(const Addresses& a, std::int64_t unit, float* sums) const {
    const std::int64_t channel = unit % blocks() * block;
    const std::int64_t first = unit / blocks() % bands() * band;
    const std::int64_t image = unit / blocks() / bands();
    const std::int64_t last = std::min(first + band, h.in);
    const std::int64_t width = std::min(block, channels - channel);
    std::fill_n(sums, (last - first) * w.in * width, 0.0f);
    const std::byte* const from = a.operands[1] + (image * x[0] + channel) * size_of(x_type);
    const std::byte* const gradient = a.operands[0] + (image * dy[0] + channel) * size_of(dy_type);
    MaxWindow window;
    window.x_step[0] = x[2];
    window.x_step[1] = x[3];
    window.dx_step[0] = w.in * width;
    window.dx_step[1] = width;
    const auto [o_first, o_last] = h.reaching(first, last);
    for (std::int64_t o = o_first; o < o_last; ++o) {
      const auto [top, bottom] = h.clip(o);
      window.count[0] = bottom - top;
      window.first = std::max<std::int64_t>(first - top, 0);
      window.last = std::min(bottom, last) - top;
      for (std::int64_t p = 0; p < w.out; ++p) {
        const auto [left, right] = w.clip(p);
        window.count[1] = right - left;
        window.x = from + (top * x[2] + left * x[3]) * size_of(x_type);
        window.dy = gradient + (o * dy[2] + p * dy[3]) * size_of(dy_type);
        window.dx = sums + ((top - first) * w.in + left) * width;
        fetch(from, bottom, p * w.stride, width);
        train_loops().max_pool_bwd[static_cast<int>(x_type)](window, width);
      }
    }
    for (std::int64_t row = first; row < last; ++row) {
      std::byte* const to =
          a.results[0] + (image * dx[0] + row * dx[2] + channel) * size_of(dx_type);
      const float* const values = sums + (row - first) * w.in * width;
      if (dx[3] == width) {
        store_floats(dx_type, values, to, 1, w.in * width);
        continue;
      }
      for (std::int64_t column = 0; column < w.in; ++column) {
        store_floats(dx_type, values + column * width, to + column * dx[3] * size_of(dx_type), 1,
                     width);
      }
    }
  }

  /// A row of pixels of the mean's dx: each takes from the windows that reach it.
  void run_row(const Addresses& a, std::int64_t row) const {
    const FoldRows fold =
        vector_loops().fold_rows[static_cast<int>(Fold::sum)][static_cast<int>(dy_type)];
    const std::int64_t image = row / h.in;
    const std::int64_t y = row % h.in;
    const auto [top, bottom] = h.reaching(y, y + 1);
    const std::int64_t strides[2] = {dy[2], dy[3]};
    float sums[kChannels];
    for (std::int64_t column = 0; column < w.in; ++column) {
      const auto [left, right] = w.reaching(column, column + 1);
      const std::int64_t counts[2] = {bottom - top, right - left};
      const std::int64_t from = image * dy[0] + top * dy[2] + left * dy[3];
      const std::int64_t to = image * dx[0] + y * dx[2] + column * dx[3];
      for (std::int64_t c = 0; c < channels; c += kChannels) {
        const std::int64_t width = std::min(kChannels, channels - c);
        fold(a.operands[0] + (from + c) * size_of(dy_type), counts, strides, width, sums);
        for (std::int64_t i = 0; i < width; ++i) sums[i] *= factor;
        store_floats(dx_type, sums, a.results[0] + (to + c) * size_of(dx_type), 1, width);
      }
    }
  }

  /// One channel of one image, whatever the strides.
  void run_plane(const Addresses& a, std::int64_t plane) const {
    const std::int64_t image = plane / channels;
    const std::int64_t channel = plane % channels;
    const auto plane_of = [&](const std::byte* base, const std::vector<std::int64_t>& s, Float type,
                              const Window& down, const Window& across, bool is_out) {
      const std::int64_t rows = is_out ? down.out : down.in;
      const std::int64_t cols = is_out ? across.out : across.in;
      std::vector<float> values(static_cast<std::size_t>(rows * cols));
      for (std::int64_t r = 0; r < rows; ++r) {
        load_floats(type, base + (image * s[0] + channel * s[1] + r * s[2]) * size_of(type), s[3],
                    values.data() + r * cols, cols);
      }
      return values;
    };
    const std::vector<float> g = plane_of(a.operands[0], dy, dy_type, h, w, true);
    std::vector<float> in;
    if (is_max) in = plane_of(a.operands[1], x, x_type, h, w, false);
    std::vector<float> sums(static_cast<std::size_t>(h.in * w.in));
    for (std::int64_t o = 0; o < h.out; ++o) {
      for (std::int64_t p = 0; p < w.out; ++p) {
        spread(g[static_cast<std::size_t>(o * w.out + p)], h.clip(o), w.clip(p), in, sums);
      }
    }
    for (std::int64_t r = 0; r < h.in; ++r) {
      store_floats(dx_type, sums.data() + r * w.in,
                   a.results[0] + (image * dx[0] + channel * dx[1] + r * dx[2]) * size_of(dx_type),
                   dx[3], w.in);
    }
  }

  void spread(float g, std::pair<std::int64_t, std::int64_t> rows,
              std::pair<std::int64_t, std::int64_t> cols, const std::vector<float>& in,
              std::vector<float>& sums) const {
    const auto at = [&](std::int64_t r, std::int64_t c) {
      return static_cast<std::size_t>(r * w.in + c);
    };
    std::size_t winner = at(rows.first, cols.first);
    for (std::int64_t r = rows.first; r < rows.second; ++r) {
      for (std::int64_t c = cols.first; c < cols.second; ++c) {
        if (!is_max) {
          sums[at(r, c)] += g * factor;
        } else if (!(in[winner] >= in[at(r, c)] || in[winner] != in[winner])) {
          winner = at(r, c);
        }
      }
    }
    if (is_max) sums[winner] += g;
  }
};

}  // namespace

std::unique_ptr<Kernel> lower_pooling_bwd(const Node& node, std::span<const View> operands,
                                          std::span<const View> results) {
  check_unblocked(node, operands, results);
  PoolingBwdPlan plan;
  plan.is_max = node.is("max_pool_bwd");
  const std::vector<std::int64_t> in = static_extents(results[0].type.shape);
  const std::vector<std::int64_t> out = static_extents(operands[0].type.shape);
  const Ints& kernel = node.attributes().ints("kernel");
  const Ints& strides = node.attributes().ints("strides");
  const Ints& pads = node.attributes().ints("pads");
  plan.dy_type = float_type(node, operands[0].type.dtype);
  plan.dx_type = float_type(node, results[0].type.dtype);
  plan.batch = in[0];
  plan.channels = in[1];
  plan.h = {in[2], out[2], kernel[0], strides[0], pads[0]};
  plan.w = {in[3], out[3], kernel[1], strides[1], pads[1]};
  plan.dy = operands[0].strides;
  plan.dx = results[0].strides;
  plan.by_channels = plan.channels > 1 && plan.dy[1] == 1 && plan.dx[1] == 1;
  if (plan.is_max) {
    plan.x = operands[1].strides;
    plan.x_type = float_type(node, operands[1].type.dtype);
    plan.by_channels = plan.by_channels && plan.x[1] == 1 && plan.x_type == plan.dy_type;
  }
  plan.factor = 1 / static_cast<float>(kernel[0] * kernel[1]);
  plan.block = std::min<std::int64_t>(plan.channels, 64);
  plan.band = std::clamp(kBandFloats / (plan.w.in * plan.block), strides[0], plan.h.in);
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
