#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/train_kernels.h"
#include "backends/cpu/kernels/train_loops.h"
#include "ir/error.h"
#include "ir/layout.h"

// Optimizer steps. New state is written over the old one: where the memory plan gave a result
// another place than its operand, the operand is copied there first. A step of rows of a table reads
// and writes these rows alone; what a row is owed is paid while it is in the cache.

namespace facet::cpu {
namespace {

/// Elements whose squares are summed in f32; the sums are added in double, in order.
constexpr std::int64_t kSumPiece = 4096;

enum class Rule { sgd, adam, lars, ema };

struct UpdatePlan {
  std::string name;
  Rule rule = Rule::sgd;
  std::int64_t elements = 0;  ///< of the gradient
  std::int64_t state_elements = 0;
  std::int64_t rows = 0;   ///< of a table that are stepped; 0: all of the state
  std::int64_t table = 0;  ///< the table's rows
  std::size_t rows_operand = 0, owed_operand = 0;  ///< their numbers; 0: there is none
  std::size_t states = 1;
  std::size_t rate_operand = 0;  ///< number of the operand lr; 0: there is none
  double momentum = 0, weight_decay = 0, beta1 = 0, beta2 = 0, epsilon = 0, trust = 0, decay = 0;
  bool nesterov = false, decoupled = false;

  std::string implementation() const { return name + ":" + train_loops().name; }
  std::int64_t pieces() const {
    return rows > 0 ? rows : (elements + kSumPiece - 1) / kSumPiece;
  }
  std::size_t scratch_bytes() const {
    return rule == Rule::lars ? static_cast<std::size_t>(2 * pieces()) * sizeof(float) : 0;
  }

  void run(const Addresses& a) const {
    for (std::size_t i = 0; i < states; ++i) {
      if (a.results[i] != a.operands[i]) {
        std::copy_n(a.operands[i], state_elements * std::int64_t{sizeof(float)}, a.results[i]);
      }
    }
    // A step whose loss was not finite has such a learning rate: it changes nothing.
    if (rate_operand > 0 && !std::isfinite(number(a, rate_operand))) return;
    switch (rule) {
      case Rule::sgd:
        return run_sgd(a, {number(a, 3), static_cast<float>(momentum),
                           static_cast<float>(weight_decay), nesterov, 1});
      case Rule::lars:
        return run_sgd(a, {number(a, 3), static_cast<float>(momentum),
                           static_cast<float>(weight_decay), false, local_rate(a)});
      case Rule::adam:
        return run_adam(a);
      case Rule::ema:
        return each(a, [&](std::int64_t first, std::int64_t from, std::int64_t count) {
          train_loops().ema(static_cast<float>(decay), result(a, 0) + first, operand(a, 1) + from,
                            count);
        });
    }
  }

 private:
  static const float* operand(const Addresses& a, std::size_t i) {
    return reinterpret_cast<const float*>(a.operands[i]);
  }
  static float* result(const Addresses& a, std::size_t i) {
    return reinterpret_cast<float*>(a.results[i]);
  }
  static float number(const Addresses& a, std::size_t i) { return *operand(a, i); }

  /// body(first element of the state, of the gradient, how many), in parallel.
  template <class Body>
  void each(const Addresses& a, const Body& body) const {
    if (rows == 0) {
      return parallel_for(elements, elements, [&](std::int64_t begin, std::int64_t end) {
        body(begin, begin, end - begin);
      });
    }
    parallel_for(rows, elements, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t k = begin; k < end; ++k) {
        const std::int64_t row = row_at(a, k);
        if (row >= 0) body(row * width(), k * width(), width());
      }
    });
  }

  std::int64_t width() const { return elements / rows; }

  /// The row of the table that piece `k` steps; -1: none.
  std::int64_t row_at(const Addresses& a, std::int64_t k) const {
    std::int64_t row = 0;
    std::memcpy(&row, a.operands[rows_operand] + k * std::int64_t{sizeof(row)}, sizeof(row));
    return row >= 0 && row < table ? row : -1;
  }

  void run_sgd(const Addresses& a, const SgdStep& step) const {
    each(a, [&](std::int64_t first, std::int64_t from, std::int64_t count) {
      float* const p = result(a, 0) + first;
      float* const v = result(a, 1) + first;
      if (owed_operand > 0) pay(operand(a, owed_operand) + from / count * 4, p, v, count);
      train_loops().sgd(step, p, v, operand(a, 2) + from, count);
    });
  }

  /// The steps that passed the row by.
  static void pay(const float* owed, float* p, float* v, std::int64_t count) {
    const float pp = owed[0], pv = owed[1], vp = owed[2], vv = owed[3];
    if (pp == 1 && pv == 0 && vp == 0 && vv == 1) return;
    for (std::int64_t i = 0; i < count; ++i) {
      const float old = p[i];
      p[i] = pp * old + pv * v[i];
      v[i] = vp * old + vv * v[i];
    }
  }

  void run_adam(const Addresses& a) const {
    const double lr = number(a, 4);
    const double step = number(a, 5);
    AdamStep s;
    s.beta1 = static_cast<float>(beta1);
    s.beta2 = static_cast<float>(beta2);
    s.rest1 = static_cast<float>(1 - beta1);
    s.rest2 = static_cast<float>(1 - beta2);
    s.added_decay = decoupled ? 0.0f : static_cast<float>(weight_decay);
    s.keep = decoupled ? static_cast<float>(1 - lr * weight_decay) : 1.0f;
    s.rate = static_cast<float>(lr / (1 - std::pow(beta1, step)));
    s.root_scale = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, step)));
    s.epsilon = static_cast<float>(epsilon);
    each(a, [&](std::int64_t first, std::int64_t from, std::int64_t count) {
      train_loops().adam(s, result(a, 0) + first, result(a, 1) + first, result(a, 2) + first,
                         operand(a, 3) + from, count);
    });
  }

  /// trust * |p| / (|g| + decay * |p| + epsilon), or 1.
  float local_rate(const Addresses& a) const {
    auto* const sums = reinterpret_cast<float*>(a.scratch);
    parallel_for(pieces(), 2 * elements, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t from = i * (rows > 0 ? width() : kSumPiece);
        const std::int64_t count = rows > 0 ? width() : std::min(kSumPiece, elements - from);
        const std::int64_t row = rows > 0 ? row_at(a, i) : 0;
        const std::int64_t first = rows > 0 ? row * width() : from;
        sums[2 * i] = row < 0 ? 0 : train_loops().square_sum(result(a, 0) + first, count);
        sums[2 * i + 1] = row < 0 ? 0 : train_loops().square_sum(operand(a, 2) + from, count);
      }
    });
    double parameter = 0, gradient = 0;
    for (std::int64_t i = 0; i < pieces(); ++i) {
      parameter += sums[2 * i];
      gradient += sums[2 * i + 1];
    }
    parameter = std::sqrt(parameter);
    gradient = std::sqrt(gradient);
    if (!(parameter > 0) || !(gradient > 0)) return 1;
    return static_cast<float>(trust * parameter / (gradient + weight_decay * parameter + epsilon));
  }
};

}  // namespace

std::unique_ptr<Kernel> lower_update(const Node& node, std::span<const View> operands,
                                     std::span<const View> results) {
  UpdatePlan plan;
  plan.name = std::string(node.kind());
  plan.states = results.size();
  if (operands.size() > plan.states + 1) plan.rate_operand = plan.states + 1;
  plan.state_elements = element_count(static_extents(operands[0].type.shape));
  plan.elements = element_count(static_extents(operands[plan.states].type.shape));
  for (std::size_t i = plan.states + 2; i < operands.size(); ++i) {
    if (operands[i].type.dtype != DType::i64) continue;
    plan.rows_operand = i;
    plan.rows = operands[i].type.shape[0].factor;
    plan.table = operands[0].type.shape[0].factor;
    if (i + 1 < operands.size()) plan.owed_operand = i + 1;
  }
  const auto check = [&](const View& view) {
    const std::vector<std::int64_t> extents = static_extents(view.type.shape);
    const bool is_rows = plan.rows > 0 && &view == &operands[plan.rows_operand];
    if (view.type.dtype == (is_rows ? DType::i64 : DType::f32) && !is_blocked(view.type.layout) &&
        same_strides(extents, view.strides, dense_strides({view.type.dtype, view.type.shape, {}}))) {
      return;
    }
    throw failure(fmt::format("'{}' ({}) takes dense row-major f32, not {}", node.kind(),
                              node.provenance().scope, to_string(view.type)));
  };
  for (const View& view : operands) check(view);
  for (const View& view : results) check(view);
  const Attributes& a = node.attributes();
  if (node.is("ema_update")) {
    plan.rule = Rule::ema;
    plan.decay = a.number("decay");
    return make_kernel(std::move(plan));
  }
  plan.weight_decay = a.number("weight_decay");
  if (node.is("adam_update")) {
    plan.rule = Rule::adam;
    plan.beta1 = a.number("beta1");
    plan.beta2 = a.number("beta2");
    plan.epsilon = a.number("epsilon");
    plan.decoupled = a.boolean("decoupled");
    return make_kernel(std::move(plan));
  }
  plan.momentum = a.number("momentum");
  if (node.is("sgd_update")) {
    plan.nesterov = a.boolean("nesterov");
  } else {
    plan.rule = Rule::lars;
    plan.trust = a.number("trust_coefficient");
    plan.epsilon = a.number("epsilon");
  }
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
