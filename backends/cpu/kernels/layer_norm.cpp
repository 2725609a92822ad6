#include <cmath>
#include <string>
#include <vector>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"

namespace facet::cpu {
namespace {

using Extents = std::vector<std::int64_t>;

/// The normalised axes of a view in row-major order, as lines of evenly spaced elements.
struct Lines {
  Float type = Float::f32;
  Loops outer;  ///< over the lines
  std::int64_t count = 1, stride = 1;

  /// Of the axes of `view` from `axis` on.
  Lines(const Node& node, const View& view, std::size_t axis)
      : type(float_type(node, view.type.dtype)) {
    const Extents extents = static_extents(view.type.shape);
    std::size_t left = extents.size();
    while (left > axis) {
      const std::size_t i = left - 1;
      if (count == 1) {
        stride = view.strides[i];
      } else if (extents[i] > 1 && view.strides[i] != stride * count) {
        break;
      }
      count *= extents[i];
      left = i;
    }
    outer.strides.resize(1);
    for (std::size_t i = axis; i < left; ++i) {
      outer.extents.push_back(extents[i]);
      outer.strides[0].push_back(view.strides[i]);
    }
    pad_loops(outer, 1);
  }

  void load(const std::byte* from, float* row) const {
    for_each_position(outer, 0, outer.elements(), [&](const Extents& at) {
      load_floats(type, from + at[0] * size_of(type), stride, row, count);
      row += count;
    });
  }
  void store(const float* row, std::byte* to) const {
    for_each_position(outer, 0, outer.elements(), [&](const Extents& at) {
      store_floats(type, row, to + at[0] * size_of(type), stride, count);
      row += count;
    });
  }
};

struct LayerNormPlan {
  std::int64_t length;         ///< elements that are normalised together
  Loops rows;                  ///< views: x, y
  Lines x, y;                  ///< along a row
  std::vector<Lines> vectors;  ///< scale, bias: operands 1 and 2
  float epsilon;

  std::string implementation() const { return std::string("layer_norm:") + vector_loops().name; }
  std::size_t scratch_bytes() const { return 0; }

  void run(const Addresses& a) const {
    parallel_for(rows.elements(), rows.elements() * length * 4,
                 [&](std::int64_t begin, std::int64_t end) { run_rows(a, begin, end); });
  }

 private:
  void run_rows(const Addresses& a, std::int64_t begin, std::int64_t end) const {
    const auto n = static_cast<std::size_t>(length);
    std::vector<float> buffer((2 + vectors.size()) * n);
    float* const row = buffer.data();
    float* const squares = row + n;
    std::vector<const float*> factors;
    for (std::size_t i = 0; i < vectors.size(); ++i) {
      float* const values = squares + (i + 1) * n;
      vectors[i].load(a.operands[i + 1], values);
      factors.push_back(values);
    }
    for_each_position(rows, begin, end, [&](const std::vector<std::int64_t>& at) {
      x.load(a.operands[0] + at[0] * size_of(x.type), row);
      normalize(row, squares, factors);
      y.store(row, a.results[0] + at[1] * size_of(y.type));
    });
  }

  /// In place; `squares` is as long as the row.
  void normalize(float* row, float* squares, const std::vector<const float*>& factors) const {
    const float mean = sum(row) / static_cast<float>(length);
    apply(Function::sub, row, row, &mean, false);
    apply(Function::mul, squares, row, row, true);
    const float inverse = 1 / std::sqrt(sum(squares) / static_cast<float>(length) + epsilon);
    apply(Function::mul, row, row, &inverse, false);
    if (!factors.empty()) apply(Function::mul, row, row, factors[0], true);
    if (factors.size() > 1) apply(Function::add, row, row, factors[1], true);
  }

  float sum(const float* row) const {
    return vector_loops().fold_run[static_cast<int>(Fold::sum)][static_cast<int>(Float::f32)](
        row, length);
  }

  void apply(Function function, float* result, const float* a, const float* b, bool varies) const {
    const Tile arguments[] = {{a, 0, true, Float::f32}, {b, 0, varies, Float::f32}};
    vector_loops().functions[static_cast<int>(function)](result, 0, arguments, 1, length);
  }
};

}  // namespace

std::unique_ptr<Kernel> lower_layer_norm(const Node& node, std::span<const View> operands,
                                         const View& result) {
  check_unblocked(node, operands, std::span(&result, 1));
  const View& x = operands[0];
  const Extents extents = static_extents(x.type.shape);
  const std::int64_t given = node.attributes().integer("axis");
  const auto axis = static_cast<std::size_t>(given < 0 ? given + x.type.rank() : given);
  const auto skip = static_cast<std::ptrdiff_t>(axis);
  const auto leading = [&](const Extents& values) {
    return Extents(values.begin(), values.begin() + skip);
  };
  LayerNormPlan plan{element_count(Extents(extents.begin() + skip, extents.end())),
                     collapse(leading(extents), {leading(x.strides), leading(result.strides)}, 0),
                     Lines(node, x, axis),
                     Lines(node, result, axis),
                     {},
                     static_cast<float>(node.attributes().number("epsilon"))};
  for (const View& vector : operands.subspan(1)) plan.vectors.emplace_back(node, vector, 0);
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
