#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/train_kernels.h"
#include "backends/cpu/kernels/vector.h"

namespace facet::cpu {
namespace {

/// Columns that are in f32 at once.
constexpr std::int64_t kPiece = 1024;

/// A matrix [rows, columns], or a vector with one column, in memory.
struct Matrix {
  Float type = Float::f32;
  std::int64_t rows = 1, columns = 1;
  std::int64_t row_step = 0, column_step = 0;

  void load(const std::byte* base, std::int64_t row, std::int64_t first, std::int64_t count,
            float* to) const {
    load_floats(type, base + (row * row_step + first * column_step) * size_of(type), column_step,
                to, count);
  }
  void store(std::byte* base, std::int64_t row, std::int64_t first, std::int64_t count,
             const float* from) const {
    store_floats(type, from, base + (row * row_step + first * column_step) * size_of(type),
                 column_step, count);
  }
  float at(const std::byte* base, std::int64_t row, std::int64_t column) const {
    float value = 0;
    load(base, row, column, 1, &value);
    return value;
  }
  void set(std::byte* base, std::int64_t row, std::int64_t column, float value) const {
    store(base, row, column, 1, &value);
  }
  std::int64_t elements() const { return rows * columns; }
};

/// Labels i64 [N].
struct Labels {
  std::int64_t step = 1;
  std::int64_t classes = 0;

  /// The row's label, or -1 for a row without target.
  std::int64_t at(const std::byte* base, std::int64_t row) const {
    std::int64_t label = 0;
    std::memcpy(&label, base + row * step * std::int64_t{sizeof(label)}, sizeof(label));
    return label >= 0 && label < classes ? label : -1;
  }
};

/// What one of the ops does, given where its operands and results lie.
struct LabelsPlan {
  std::string name;
  std::vector<Matrix> operands;  ///< the labels' place is unused
  std::vector<Matrix> results;
  Labels labels;
  std::size_t labels_at = 1;
  double smoothing = 0;
  void (LabelsPlan::*rows)(const Addresses&, std::int64_t begin, std::int64_t end) const = nullptr;
  std::int64_t count = 0;     ///< rows that `rows` is called for
  std::int64_t elements = 0;  ///< of work

  std::string implementation() const { return name; }
  std::size_t scratch_bytes() const { return 0; }
  void run(const Addresses& a) const {
    parallel_for(count, elements,
                 [&](std::int64_t begin, std::int64_t end) { (this->*rows)(a, begin, end); });
  }

  std::int64_t label(const Addresses& a, std::int64_t row) const {
    return labels.at(a.operands[labels_at], row);
  }

  /// loss = lse - ((1 - s) * z[label] + s / C * sum(z)); the largest logit is taken out of the sum.
  void cross_entropy(const Addresses& a, std::int64_t begin, std::int64_t end) const {
    const Matrix& logits = operands[0];
    std::vector<float> z(static_cast<std::size_t>(logits.columns)), e(z.size());
    const VectorLoops& loops = vector_loops();
    for (std::int64_t row = begin; row < end; ++row) {
      logits.load(a.operands[0], row, 0, logits.columns, z.data());
      const float most = loops.fold_run[static_cast<int>(Fold::max)][0](z.data(), logits.columns);
      const Tile centring[] = {{z.data(), 0, true, Float::f32}, {&most, 0, false, Float::f32}};
      loops.functions[static_cast<int>(Function::sub)](e.data(), 0, centring, 1, logits.columns);
      double plain = 0, sum = 0;
      if (smoothing != 0) {
        for (std::int64_t first = 0; first < logits.columns; first += kPiece) {
          plain += loops.fold_run[0][0](z.data() + first, std::min(kPiece, logits.columns - first));
        }
      }
      const Tile centred{e.data(), 0, true, Float::f32};
      loops.functions[static_cast<int>(Function::exp)](e.data(), 0, &centred, 1, logits.columns);
      for (std::int64_t first = 0; first < logits.columns; first += kPiece) {
        sum += loops.fold_run[0][0](e.data() + first, std::min(kPiece, logits.columns - first));
      }
      const double lse = most + std::log(sum);
      const std::int64_t target = label(a, row);
      const double picked = target < 0 ? 0 : z[static_cast<std::size_t>(target)];
      const double mean = plain / static_cast<double>(logits.columns);
      const double loss = lse - ((1 - smoothing) * picked + smoothing * mean);
      results[0].set(a.results[0], row, 0, target < 0 ? 0.0f : static_cast<float>(loss));
      results[1].set(a.results[1], row, 0, static_cast<float>(lse));
    }
  }

  /// dloss * (exp(z - lse) - (1 - s) * onehot - s / C).
  void cross_entropy_bwd(const Addresses& a, std::int64_t begin, std::int64_t end) const {
    const Matrix& logits = operands[1];
    std::vector<float> z(static_cast<std::size_t>(std::min(kPiece, logits.columns)));
    const VectorLoops& loops = vector_loops();
    const auto uniform = static_cast<float>(smoothing / static_cast<double>(logits.columns));
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t target = label(a, row);
      const float gradient = target < 0 ? 0.0f : operands[0].at(a.operands[0], row, 0);
      const float lse = operands[3].at(a.operands[3], row, 0);
      const Tile tile{z.data(), 0, true, Float::f32};
      const Tile centring[] = {tile, {&lse, 0, false, Float::f32}};
      for (std::int64_t first = 0; first < logits.columns; first += kPiece) {
        const std::int64_t width = std::min(kPiece, logits.columns - first);
        if (target < 0) {
          std::fill_n(z.data(), width, 0.0f);
        } else {
          logits.load(a.operands[1], row, first, width, z.data());
          loops.functions[static_cast<int>(Function::sub)](z.data(), 0, centring, 1, width);
          loops.functions[static_cast<int>(Function::exp)](z.data(), 0, &tile, 1, width);
          if (target >= first && target < first + width) {
            z[static_cast<std::size_t>(target - first)] -= static_cast<float>(1 - smoothing);
          }
          for (std::int64_t i = 0; i < width; ++i)
            z[static_cast<std::size_t>(i)] = gradient * (z[static_cast<std::size_t>(i)] - uniform);
        }
        results[0].store(a.results[0], row, first, width, z.data());
      }
    }
  }

  void pick(const Addresses& a, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t target = label(a, row);
      results[0].set(a.results[0], row, 0,
                     target < 0 ? 0.0f : operands[0].at(a.operands[0], row, target));
    }
  }

  /// Copies row `from` of a matrix, or zeros, into row `to` of the result.
  void copy_row(const Matrix& source, const std::byte* base, std::int64_t from, const Addresses& a,
                std::int64_t to) const {
    float values[kPiece] = {};
    for (std::int64_t first = 0; first < results[0].columns; first += kPiece) {
      const std::int64_t width = std::min(kPiece, results[0].columns - first);
      if (from >= 0) source.load(base, from, first, width, values);
      results[0].store(a.results[0], to, first, width, values);
    }
  }

  void pick_bwd(const Addresses& a, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t row = begin; row < end; ++row) {
      copy_row(operands[0], nullptr, -1, a, row);
      const std::int64_t target = label(a, row);
      if (target >= 0) {
        results[0].set(a.results[0], row, target, operands[0].at(a.operands[0], row, 0));
      }
    }
  }

  void place(const Addresses& a, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t row = begin; row < end; ++row) {
      copy_row(operands[0], a.operands[0], row, a, row);
      const std::int64_t target = label(a, row);
      if (target >= 0) {
        results[0].set(a.results[0], row, target, operands[2].at(a.operands[2], row, 0));
      }
    }
  }

  void gather_rows(const Addresses& a, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t row = begin; row < end; ++row) {
      copy_row(operands[0], a.operands[0], label(a, row), a, row);
    }
  }

  /// Every row by two factors of its own, from a table and its velocity.
  void owed_rows(const Addresses& a, std::int64_t begin, std::int64_t end) const {
    float p[kPiece], v[kPiece];
    for (std::int64_t k = begin; k < end; ++k) {
      const std::int64_t row = label(a, k);
      const float of_p = operands[3].at(a.operands[3], 4 * k, 0);
      const float of_v = operands[3].at(a.operands[3], 4 * k + 1, 0);
      if (row < 0 || (of_p == 1 && of_v == 0)) {  // nothing is owed: half the bytes
        copy_row(operands[0], a.operands[0], row, a, k);
        continue;
      }
      for (std::int64_t first = 0; first < results[0].columns; first += kPiece) {
        const std::int64_t width = std::min(kPiece, results[0].columns - first);
        operands[0].load(a.operands[0], row, first, width, p);
        operands[1].load(a.operands[1], row, first, width, v);
        for (std::int64_t i = 0; i < width; ++i) p[i] = of_p * p[i] + of_v * v[i];
        results[0].store(a.results[0], k, first, width, p);
      }
    }
  }

  /// Called for rows of the result: those that share a label are added in order, by one thread.
  void scatter_add_rows(const Addresses& a, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t row = begin; row < end; ++row) copy_row(operands[0], nullptr, -1, a, row);
    std::vector<std::int64_t> next;
    for (std::int64_t row = 0; row < operands[0].rows; ++row) {
      const std::int64_t target = label(a, row);
      if (target >= begin && target < end) next.push_back(row);
    }
    std::stable_sort(next.begin(), next.end(), [&](std::int64_t one, std::int64_t other) {
      return label(a, one) < label(a, other);
    });
    std::vector<float> sum(static_cast<std::size_t>(results[0].columns)), values(sum.size());
    for (std::size_t i = 0; i < next.size();) {
      const std::int64_t target = label(a, next[i]);
      std::fill(sum.begin(), sum.end(), 0.0f);
      for (; i < next.size() && label(a, next[i]) == target; ++i) {
        operands[0].load(a.operands[0], next[i], 0, results[0].columns, values.data());
        std::transform(sum.begin(), sum.end(), values.begin(), sum.begin(), std::plus<>());
      }
      results[0].store(a.results[0], target, 0, results[0].columns, sum.data());
    }
  }
};

Matrix matrix_of(const Node& node, const View& view) {
  const std::vector<std::int64_t> extents = static_extents(view.type.shape);
  Matrix matrix;
  matrix.type = float_type(node, view.type.dtype);
  matrix.rows = extents[0];
  matrix.row_step = view.strides[0];
  if (extents.size() > 1) {
    matrix.columns = extents[1];
    matrix.column_step = view.strides[1];
  }
  return matrix;
}

}  // namespace

std::unique_ptr<Kernel> lower_labels(const Node& node, std::span<const View> operands,
                                     std::span<const View> results) {
  check_unblocked(node, operands, results);
  LabelsPlan plan;
  plan.name = std::string(node.kind());
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const bool are_labels = operands[i].type.dtype == DType::i64;
    if (are_labels) {
      plan.labels_at = i;
      plan.labels.step = operands[i].strides[0];
    }
    plan.operands.push_back(are_labels ? Matrix{} : matrix_of(node, operands[i]));
  }
  for (const View& view : results) plan.results.push_back(matrix_of(node, view));
  const Attributes& a = node.attributes();
  if (a.has("label_smoothing")) plan.smoothing = a.number("label_smoothing");
  plan.labels.classes = plan.operands[0].columns;
  plan.count = plan.results[0].rows;
  plan.elements = plan.results[0].elements();
  if (node.is("cross_entropy")) {
    plan.rows = &LabelsPlan::cross_entropy;
    plan.elements = plan.operands[0].elements();
  } else if (node.is("cross_entropy_bwd")) {
    plan.rows = &LabelsPlan::cross_entropy_bwd;
    plan.labels.classes = plan.operands[1].columns;
  } else if (node.is("pick")) {
    plan.rows = &LabelsPlan::pick;
  } else if (node.is("pick_bwd")) {
    plan.rows = &LabelsPlan::pick_bwd;
    plan.labels.classes = plan.results[0].columns;
  } else if (node.is("place")) {
    plan.rows = &LabelsPlan::place;
  } else if (node.is("gather_rows") || node.is("owed_rows")) {
    plan.rows = node.is("owed_rows") ? &LabelsPlan::owed_rows : &LabelsPlan::gather_rows;
    plan.labels.classes = plan.operands[0].rows;
  } else {
    plan.rows = &LabelsPlan::scatter_add_rows;
    plan.labels.classes = plan.results[0].rows;
  }
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
