#include "ir/dropout.h"

#include <cmath>
#include <string>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/train_kernels.h"

namespace facet::cpu {
namespace {

constexpr std::int64_t kPiece = 512;

/// The mask goes by an element's row-major number, whatever the strides.
struct DropoutPlan {
  Float from = Float::f32, to = Float::f32, step_type = Float::f32;
  std::vector<std::int64_t> extents, x, y;
  std::uint64_t seed = 0;
  double rate = 0;

  std::string implementation() const { return "dropout"; }
  std::size_t scratch_bytes() const { return 0; }

  void run(const Addresses& a) const {
    float step = 0;
    load_floats(step_type, a.operands[1], 1, &step, 1);
    const DropoutMask mask(seed, static_cast<std::uint64_t>(step), rate);
    const auto scale = static_cast<float>(1 / (1 - rate));
    const std::int64_t columns = extents.back();
    const Loops rows{{extents.begin(), extents.end() - 1},
                     {{x.begin(), x.end() - 1}, {y.begin(), y.end() - 1}}};
    const std::int64_t count = rows.elements();
    parallel_for(count, 8 * count * columns, [&](std::int64_t begin, std::int64_t end) {
      std::int64_t row = begin;
      for_each_position(rows, begin, end, [&](const std::vector<std::int64_t>& at) {
        float values[kPiece];
        for (std::int64_t first = 0; first < columns; first += kPiece) {
          const std::int64_t width = std::min(kPiece, columns - first);
          load_floats(from, a.operands[0] + (at[0] + first * x.back()) * size_of(from), x.back(),
                      values, width);
          for (std::int64_t i = 0; i < width; ++i) {
            const auto number = static_cast<std::uint64_t>(row * columns + first + i);
            values[i] = mask.keeps(number) ? values[i] * scale : 0.0f;
          }
          store_floats(to, values, a.results[0] + (at[1] + first * y.back()) * size_of(to),
                       y.back(), width);
        }
        ++row;
      });
    });
  }
};

}  // namespace

std::unique_ptr<Kernel> lower_dropout_train(const Node& node, std::span<const View> operands,
                                            std::span<const View> results) {
  check_unblocked(node, operands, results);
  DropoutPlan plan;
  plan.from = float_type(node, operands[0].type.dtype);
  plan.to = float_type(node, results[0].type.dtype);
  plan.step_type = float_type(node, operands[1].type.dtype);
  plan.extents = static_extents(results[0].type.shape);
  plan.x = operands[0].strides;
  plan.y = results[0].strides;
  if (plan.extents.size() < 2) {  // rows of a vector are its elements
    plan.extents.insert(plan.extents.begin(), 2 - plan.extents.size(), 1);
    plan.x.insert(plan.x.begin(), 2 - plan.x.size(), 0);
    plan.y.insert(plan.y.begin(), 2 - plan.y.size(), 0);
  }
  plan.seed = static_cast<std::uint64_t>(node.attributes().integer("seed"));
  plan.rate = node.attributes().number("rate");
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
