#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "ir/resample.h"

namespace facet::cpu {
namespace {

/// Where one side of a pass lies: the operand, the result, or one of two buffers of f32 between.
enum class Store { operand, result, even, odd };

struct Side {
  Store store = Store::operand;
  Float type = Float::f32;
  std::vector<std::int64_t> strides;
};

/// One axis resampled. Elements lie in rows along `lane`, an axis that is not resampled and
/// contiguous; without one, the resampled axis itself is walked.
struct Pass {
  ResampleTable table;
  std::vector<float> weights;
  Side from, to;
  std::int64_t axis = 0;
  std::int64_t lane = -1;
  std::int64_t lanes = 1;  ///< extent of the lane axis
  Loops loops;             ///< over the other axes; views: from, to, number of the result's element
};

/// Elements of the result that lie outside of x.
struct Outside {
  std::int64_t offset = 0;  ///< of the first one, in elements
  Loops loops;
};

struct ResizePlan {
  std::vector<Pass> passes;
  std::vector<Outside> outside;
  float extrapolation = 0;
  std::int64_t even_floats = 0, odd_floats = 0;

  std::string implementation() const { return std::string("resize:") + vector_loops().name; }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(even_floats + odd_floats) * sizeof(float);
  }

  void run(const Addresses& a) const {
    const auto address = [&](const Side& side) -> std::byte* {
      switch (side.store) {
        case Store::operand:
          return a.operands[0];
        case Store::result:
          return a.results[0];
        case Store::even:
          return a.scratch;
        case Store::odd:
          return a.scratch + static_cast<std::size_t>(even_floats) * sizeof(float);
      }
      return nullptr;
    };
    for (const Pass& pass : passes) {
      const std::byte* const from = address(pass.from);
      std::byte* const to = address(pass.to);
      const std::int64_t work = pass.loops.elements() * pass.lanes;
      parallel_for(pass.loops.elements(), pass.lane < 0 ? work * pass.table.in : work,
                   [&](std::int64_t begin, std::int64_t end) {
                     pass.lane < 0 ? walk(pass, from, to, begin, end)
                                   : blend(pass, from, to, begin, end);
                   });
    }
    const Float type = passes.back().to.type;
    for (const Outside& part : outside) {
      for_each_position(part.loops, 0, part.loops.elements(),
                        [&](const std::vector<std::int64_t>& at) {
                          store_floats(type, &extrapolation,
                                       a.results[0] + (part.offset + at[0]) * size_of(type), 1, 1);
                        });
    }
  }

 private:
  /// Rows along the lane axis: sums of weighted rows.
  static void blend(const Pass& p, const std::byte* from, std::byte* to, std::int64_t begin,
                    std::int64_t end) {
    const auto lane = static_cast<std::size_t>(p.lane);
    const std::int64_t from_step = p.from.strides[static_cast<std::size_t>(p.axis)];
    const bool reads = p.from.type == Float::f32 && p.from.strides[lane] == 1;
    const bool writes = p.to.type == Float::f32 && p.to.strides[lane] == 1;
    std::vector<float> buffer(static_cast<std::size_t>(2 * p.lanes));
    for_each_position(p.loops, begin, end, [&](const std::vector<std::int64_t>& at) {
      std::byte* const target = to + at[1] * size_of(p.to.type);
      float* const sum = writes ? reinterpret_cast<float*>(target) : buffer.data();
      const auto o = static_cast<std::size_t>(at[2]);
      if (p.table.first[o] == p.table.first[o + 1]) std::fill_n(sum, p.lanes, 0.0f);
      for (std::int64_t tap = p.table.first[o]; tap < p.table.first[o + 1]; ++tap) {
        const auto t = static_cast<std::size_t>(tap);
        const std::byte* source =
            from + (at[0] + p.table.index[t] * from_step) * size_of(p.from.type);
        const float* row = reinterpret_cast<const float*>(source);
        if (!reads) {
          row = buffer.data() + p.lanes;
          load_floats(p.from.type, source, p.from.strides[lane], buffer.data() + p.lanes, p.lanes);
        }
        add_row(row, p.weights[t], tap == p.table.first[o], p.lanes, sum);
      }
      if (!writes) store_floats(p.to.type, sum, target, p.to.strides[lane], p.lanes);
    });
  }

  /// sum = row * weight, or sum + row * weight.
  static void add_row(const float* row, float weight, bool is_first, std::int64_t n, float* sum) {
    if (is_first && weight == 1) {
      std::copy_n(row, n, sum);
      return;
    }
    const Function function = is_first ? Function::mul : Function::multiply_add;
    const Tile arguments[] = {
        {row, 0, true, Float::f32}, {&weight, 0, false, Float::f32}, {sum, 0, true, Float::f32}};
    vector_loops().functions[static_cast<int>(function)](sum, 0, arguments, 1, n);
  }

  /// Lines along the resampled axis, element by element.
  static void walk(const Pass& p, const std::byte* from, std::byte* to, std::int64_t begin,
                   std::int64_t end) {
    const auto axis = static_cast<std::size_t>(p.axis);
    std::vector<float> line(static_cast<std::size_t>(p.table.in));
    std::vector<float> values(static_cast<std::size_t>(p.table.out()));
    for_each_position(p.loops, begin, end, [&](const std::vector<std::int64_t>& at) {
      load_floats(p.from.type, from + at[0] * size_of(p.from.type), p.from.strides[axis],
                  line.data(), p.table.in);
      for (std::size_t o = 0; o < values.size(); ++o) {
        float sum = 0;
        for (std::int64_t tap = p.table.first[o]; tap < p.table.first[o + 1]; ++tap) {
          const auto t = static_cast<std::size_t>(tap);
          sum += p.weights[t] * line[static_cast<std::size_t>(p.table.index[t])];
        }
        values[o] = sum;
      }
      store_floats(p.to.type, values.data(), to + at[1] * size_of(p.to.type), p.to.strides[axis],
                   p.table.out());
    });
  }
};

using Extents = std::vector<std::int64_t>;

/// Dense strides in the order in which `like` lies in memory.
Extents dense_like(const Extents& like, const Extents& extents) {
  std::vector<std::size_t> order(extents.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return like[a] < like[b]; });
  Extents strides(extents.size());
  std::int64_t next = 1;
  for (const std::size_t axis : order) {
    strides[axis] = next;
    next *= extents[axis];
  }
  return strides;
}

/// Fills in lane and loops, for results of `extents`.
void arrange(Pass& pass, const Extents& extents) {
  const auto axis = static_cast<std::size_t>(pass.axis);
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const bool better = i != axis && extents[i] > 1 &&
                        (pass.lane < 0 ||
                         pass.to.strides[i] < pass.to.strides[static_cast<std::size_t>(pass.lane)]);
    if (better) pass.lane = static_cast<std::int64_t>(i);
  }
  if (pass.lane >= 0) {
    const auto lane = static_cast<std::size_t>(pass.lane);
    if (pass.from.strides[axis] < pass.from.strides[lane]) pass.lane = -1;
  }
  if (pass.lane >= 0) pass.lanes = extents[static_cast<std::size_t>(pass.lane)];
  pass.loops.strides.resize(3);
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (static_cast<std::int64_t>(i) == pass.lane || (i == axis && pass.lane < 0)) continue;
    pass.loops.extents.push_back(extents[i]);
    pass.loops.strides[0].push_back(i == axis ? 0 : pass.from.strides[i]);
    pass.loops.strides[1].push_back(pass.to.strides[i]);
    pass.loops.strides[2].push_back(i == axis ? 1 : 0);
  }
  if (pass.loops.extents.empty()) pad_loops(pass.loops, 1);
}

/// Results of `extents` that a table has no taps for: places of the resampled axis, all of the
/// others.
void append_outside(const ResampleTable& table, std::int64_t axis, const Side& to,
                    const Extents& extents, std::vector<Outside>& list) {
  Loops loops;
  loops.strides.resize(1);
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (static_cast<std::int64_t>(i) == axis) continue;
    loops.extents.push_back(extents[i]);
    loops.strides[0].push_back(to.strides[i]);
  }
  if (loops.extents.empty()) pad_loops(loops, 1);
  for (std::int64_t o = 0; o < table.out(); ++o) {
    const auto i = static_cast<std::size_t>(o);
    if (table.first[i] != table.first[i + 1]) continue;
    list.push_back({o * to.strides[static_cast<std::size_t>(axis)], loops});
  }
}

/// The node's tables by axis, those that shrink x most first.
std::vector<std::pair<std::int64_t, ResampleTable>> tables_of(const Node& node, const Extents& x,
                                                              const Extents& y) {
  const Ints& sizes = node.attributes().ints("sizes");
  const bool backward = node.is("resize_bwd");
  std::vector<std::pair<std::int64_t, ResampleTable>> tables;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 0) continue;
    ResampleTable table = resample_table(node.attributes(), i, backward ? y[i] : x[i], sizes[i]);
    if (backward) table = table.transposed();
    if (!table.is_identity()) tables.emplace_back(static_cast<std::int64_t>(i), std::move(table));
  }
  std::stable_sort(tables.begin(), tables.end(), [](const auto& a, const auto& b) {
    return a.second.out() * b.second.in < b.second.out() * a.second.in;
  });
  if (tables.empty()) {  // a copy
    ResampleTable same;
    same.in = x.empty() ? 1 : x[0];
    for (std::int64_t i = 0; i < same.in; ++i) {
      same.first.push_back(i + 1);
      same.index.push_back(i);
      same.weight.push_back(1);
    }
    tables.emplace_back(0, std::move(same));
  }
  return tables;
}

}  // namespace

std::unique_ptr<Kernel> lower_resize(const Node& node, const View& operand, const View& result) {
  check_unblocked(node, std::span(&operand, 1), std::span(&result, 1));
  Extents extents = static_extents(operand.type.shape);
  const Extents made = static_extents(result.type.shape);
  auto tables = tables_of(node, extents, made);
  ResizePlan plan;
  plan.extrapolation = static_cast<float>(node.attributes().number("extrapolation"));
  Side from{Store::operand, float_type(node, operand.type.dtype), operand.strides};
  for (std::size_t i = 0; i < tables.size(); ++i) {
    Pass pass;
    pass.axis = tables[i].first;
    pass.table = std::move(tables[i].second);
    pass.weights.assign(pass.table.weight.begin(), pass.table.weight.end());
    pass.from = from;
    extents[static_cast<std::size_t>(pass.axis)] = pass.table.out();
    if (i + 1 == tables.size()) {
      pass.to = {Store::result, float_type(node, result.type.dtype), result.strides};
    } else {
      pass.to = {i % 2 == 0 ? Store::even : Store::odd, Float::f32,
                 dense_like(operand.strides, extents)};
      std::int64_t& floats = i % 2 == 0 ? plan.even_floats : plan.odd_floats;
      // Whole cache lines, so that the odd buffer behind it is aligned.
      floats = std::max(floats, (element_count(extents) + 15) / 16 * 16);
    }
    from = pass.to;
    arrange(pass, extents);
    plan.passes.push_back(std::move(pass));
  }
  if (plan.extrapolation != 0 && node.is("resize")) {
    for (const Pass& pass : plan.passes) {
      append_outside(pass.table, pass.axis, plan.passes.back().to, made, plan.outside);
    }
  }
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
