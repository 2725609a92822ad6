#include <algorithm>
#include <string>
#include <vector>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/train_kernels.h"

namespace facet::cpu {
namespace {

/// Lines along the axis that are worked on side by side where they are contiguous across.
constexpr std::int64_t kBeside = 64;

/// A line is taken from dy and y into f32, and dx = y * (dy - sum(dy * y)) leaves it.
struct SoftmaxBwdPlan {
  Float types[3] = {};  ///< dy, y, dx
  std::int64_t length = 1;
  std::int64_t step[3] = {};  ///< along the axis
  std::int64_t line[3] = {};  ///< from line to line of a bundle
  std::int64_t lines = 1, bundle = 1, bundles = 1;
  Loops others;  ///< dy, y, dx; the innermost loop counts bundles

  std::string implementation() const { return std::string("softmax_bwd:") + vector_loops().name; }
  std::size_t scratch_bytes() const { return 0; }

  void run(const Addresses& a) const {
    const std::int64_t units = others.elements();
    parallel_for(units, units * bundle * length, [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> dy(static_cast<std::size_t>(length * bundle)), y(dy.size());
      std::vector<float> sums(static_cast<std::size_t>(bundle));
      std::int64_t unit = begin;
      for_each_position(others, begin, end, [&](const std::vector<std::int64_t>& at) {
        const std::int64_t count = std::min(bundle, lines - unit++ % bundles * bundle);
        const std::byte* const from[] = {a.operands[0] + at[0] * size_of(types[0]),
                                         a.operands[1] + at[1] * size_of(types[1])};
        std::byte* const to = a.results[0] + at[2] * size_of(types[2]);
        if (bundle == 1) {
          run_line(from, to, dy.data(), y.data());
        } else {
          run_bundle(from, to, count, dy.data(), y.data(), sums.data());
        }
      });
    });
  }

 private:
  void run_line(const std::byte* const from[2], std::byte* to, float* dy, float* y) const {
    load_floats(types[0], from[0], step[0], dy, length);
    load_floats(types[1], from[1], step[1], y, length);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < length; ++i) sum += dy[i] * y[i];
#pragma omp simd
    for (std::int64_t i = 0; i < length; ++i) dy[i] = y[i] * (dy[i] - sum);
    store_floats(types[2], dy, to, step[2], length);
  }

  void run_bundle(const std::byte* const from[2], std::byte* to, std::int64_t count, float* dy,
                  float* y, float* sums) const {
    std::fill_n(sums, count, 0.0f);
    for (std::int64_t i = 0; i < length; ++i) {
      float* const g = dy + i * count;
      float* const v = y + i * count;
      load_floats(types[0], from[0] + i * step[0] * size_of(types[0]), line[0], g, count);
      load_floats(types[1], from[1] + i * step[1] * size_of(types[1]), line[1], v, count);
#pragma omp simd
      for (std::int64_t c = 0; c < count; ++c) sums[c] += g[c] * v[c];
    }
    for (std::int64_t i = 0; i < length; ++i) {
      float* const g = dy + i * count;
      const float* const v = y + i * count;
#pragma omp simd
      for (std::int64_t c = 0; c < count; ++c) g[c] = v[c] * (g[c] - sums[c]);
      store_floats(types[2], g, to + i * step[2] * size_of(types[2]), line[2], count);
    }
  }
};

}  // namespace

std::unique_ptr<Kernel> lower_softmax_bwd(const Node& node, std::span<const View> operands,
                                          std::span<const View> results) {
  check_unblocked(node, operands, results);
  const View* const views[] = {&operands[0], &operands[1], &results[0]};
  std::vector<std::int64_t> extents = static_extents(operands[0].type.shape);
  std::int64_t given = node.attributes().integer("axis");
  if (given < 0) given += static_cast<std::int64_t>(extents.size());
  const auto axis = static_cast<std::size_t>(given);
  SoftmaxBwdPlan plan;
  plan.length = extents[axis];
  extents[axis] = 1;
  plan.others =
      collapse(extents, {operands[0].strides, operands[1].strides, results[0].strides}, 0);
  for (std::size_t v = 0; v < 3; ++v) {
    plan.types[v] = float_type(node, views[v]->type.dtype);
    plan.step[v] = plan.length == 1 ? 1 : views[v]->strides[axis];
    plan.line[v] = plan.others.strides[v].back();
  }
  plan.lines = plan.others.extents.back();
  if (plan.step[0] != 1 && plan.line[0] == 1) plan.bundle = std::min(plan.lines, kBeside);
  plan.bundles = (plan.lines + plan.bundle - 1) / plan.bundle;
  plan.others.extents.back() = plan.bundles;
  for (std::vector<std::int64_t>& strides : plan.others.strides) strides.back() *= plan.bundle;
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
