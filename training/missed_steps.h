#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "ir/host_tensor.h"

namespace facet {

/// The steps of SGD that rows of a table missed because they were not sampled, to be made up for
/// when they are next read.
///
/// Partial FC v2 keeps the centres as one dense parameter: a row that is not sampled has the
/// gradient zero, yet momentum and weight decay move it. Under a zero gradient a step of learning
/// rate h with momentum m and weight decay l is linear in the row's element w and velocity v,
///
///   v' = l w + m v         w' = w - h v'                  (w' = w - h (l w + m v') for Nesterov)
///
///        w'     1 - h l      -h m      w               1 - h l (1 + m)    -h m^2
///          =                             ,  Nesterov:
///        v'        l           m       v                     l               m
///
/// and the matrix is the same for all elements. A row whose values are those after step s is owed,
/// at step t, the product M(t) ... M(s+1), which has four numbers; so a step that reads K rows
/// costs K products of D elements, not C. The products for all ages come from the last one
/// backwards, P(n) = P(n-1) M(t-n+1), from the learning rates alone. Products of all steps with an
/// inverse, P(t) P(s)^-1, would be shorter to keep and useless: the determinant of M is m for
/// either rule, so that P is singular to rounding after a few hundred steps.
///
/// In exact numbers the result is that of stepping every row at every step. In rounded ones it
/// differs by the order of roundings only. Not synchronised.
class MissedSteps {
 public:
  struct Rule {
    double momentum = 0;
    double weight_decay = 0;
    bool nesterov = false;
  };
  /// (w, v) becomes (a w + b v, c w + d v): {a, b, c, d}.
  using Step = std::array<double, 4>;

  MissedSteps(std::int64_t rows, const Rule& rule, std::int64_t window = 4096);

  /// What each of the rows i64 [K] is owed: f32 [4 K], or f64 for programs of float64.
  HostTensor owed(const HostTensor& rows, DType dtype = DType::f32) const;
  /// A step of that rate was made, in which these rows were paid and stepped.
  void stepped(const HostTensor& rows, double learning_rate);

  /// Learning rates are kept for `window` steps. True when the next step would need more: then all
  /// rows have to be paid. It depends on the state alone, so a resumed training pays at the same
  /// step.
  bool is_full();
  /// Table and velocity f32 [C, D] as they are now; nothing is owed any more.
  void pay_all(HostTensor& table, HostTensor& velocity);
  /// A copy of the table alone as it is now.
  HostTensor paid(const HostTensor& table, const HostTensor& velocity) const;

  std::int64_t steps() const { return *count_.as<std::int64_t>(); }
  /// The state, shared: `touched` i64 [C], `rates` f64 [window], `steps` i64 [1].
  TensorMap tensors() const;
  /// Of the same keys and shapes.
  void assign(const TensorMap& tensors);

 private:
  /// P(0) to P(n): by age.
  std::vector<Step> products(std::int64_t oldest) const;
  std::int64_t first_touched() const;

  Rule rule_;
  std::int64_t window_;
  HostTensor touched_;  ///< number of the step whose result a row's values are
  HostTensor rates_;    ///< of step s at s mod window
  HostTensor count_;
  std::int64_t not_before_ = 0;  ///< no row was touched before this step
};

}  // namespace facet
