// Optimizer steps. Each result is the new value of the state operand at its place.

#include <cmath>

#include "backends/reference/evaluators.h"

namespace facet::reference {
namespace {

double square_sum(const double* x, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += x[i] * x[i];
  return sum;
}

/// What of the state an update steps: all of it with the whole gradient, or of a table [C, D] the rows
/// that operand `at` names, each with its row of the gradient.
class Pieces {
 public:
  Pieces(const Call& call, std::size_t at)
      : elements_(call.operand(0).element_count()) {
    if (call.operands.size() <= at) return;
    rows_ = &call.operands[at];
    classes_ = call.operand(0).shape()[0];
    elements_ = call.operand(0).shape()[1];
  }

  /// body(first element of the state, of the gradient, how many, number of the piece).
  template <class Body>
  void each(const Body& body) const {
    if (rows_ == nullptr) return body(0, 0, elements_, 0);
    for (std::int64_t k = 0; k < rows_->element_count(); ++k) {
      const auto row = static_cast<std::int64_t>(rows_->as<double>()[k]);
      if (row >= 0 && row < classes_) body(row * elements_, k * elements_, elements_, k);
    }
  }

 private:
  const HostTensor* rows_ = nullptr;
  std::int64_t classes_ = 0;
  std::int64_t elements_ = 0;
};

std::vector<HostTensor> sgd_update(const Call& call) {
  const double momentum = call.attributes().number("momentum");
  const double decay = call.attributes().number("weight_decay");
  const bool nesterov = call.attributes().boolean("nesterov");
  HostTensor parameter = call.operand(0).clone(), velocity = call.operand(1).clone();
  const double lr = call.operand(3).as<double>()[0];
  const double* owed = call.operands.size() > 5 ? call.operand(5).as<double>() : nullptr;
  Pieces(call, 4).each([&](std::int64_t first, std::int64_t from, std::int64_t count, std::int64_t k) {
    double* p = parameter.as_mutable<double>() + first;
    double* v = velocity.as_mutable<double>() + first;
    const double* grad = call.operand(2).as<double>() + from;
    for (std::int64_t i = 0; i < count; ++i) {
      if (owed != nullptr) {
        const double* o = owed + 4 * k;
        const double old = p[i];
        p[i] = o[0] * old + o[1] * v[i];
        v[i] = o[2] * old + o[3] * v[i];
      }
      const double d = grad[i] + decay * p[i];
      v[i] = momentum * v[i] + d;
      p[i] -= lr * (nesterov ? d + momentum * v[i] : v[i]);
    }
  });
  return {parameter, velocity};
}

std::vector<HostTensor> adam_update(const Call& call) {
  const Attributes& attributes = call.attributes();
  const double beta1 = attributes.number("beta1"), beta2 = attributes.number("beta2");
  const double epsilon = attributes.number("epsilon"), decay = attributes.number("weight_decay");
  const bool decoupled = attributes.boolean("decoupled");
  HostTensor parameter = call.operand(0).clone();
  HostTensor first_moment = call.operand(1).clone(), second_moment = call.operand(2).clone();
  const double lr = call.operand(4).as<double>()[0], step = call.operand(5).as<double>()[0];
  const double correction1 = 1 - std::pow(beta1, step), correction2 = 1 - std::pow(beta2, step);
  Pieces(call, 6).each([&](std::int64_t first, std::int64_t from, std::int64_t count, std::int64_t) {
    double* p = parameter.as_mutable<double>() + first;
    double* m = first_moment.as_mutable<double>() + first;
    double* v = second_moment.as_mutable<double>() + first;
    const double* grad = call.operand(3).as<double>() + from;
    for (std::int64_t i = 0; i < count; ++i) {
      if (decoupled) p[i] *= 1 - lr * decay;
      const double d = decoupled ? grad[i] : grad[i] + decay * p[i];
      m[i] = beta1 * m[i] + (1 - beta1) * d;
      v[i] = beta2 * v[i] + (1 - beta2) * d * d;
      p[i] -= lr * (m[i] / correction1) / (std::sqrt(v[i] / correction2) + epsilon);
    }
  });
  return {parameter, first_moment, second_moment};
}

std::vector<HostTensor> lars_update(const Call& call) {
  const Attributes& attributes = call.attributes();
  const double momentum = attributes.number("momentum");
  const double decay = attributes.number("weight_decay");
  HostTensor parameter = call.operand(0).clone(), velocity = call.operand(1).clone();
  double* parameters = parameter.as_mutable<double>();
  const Pieces pieces(call, 4);
  double p_norm = 0, g_norm = 0;
  pieces.each([&](std::int64_t first, std::int64_t from, std::int64_t count, std::int64_t) {
    p_norm += square_sum(parameters + first, count);
    g_norm += square_sum(call.operand(2).as<double>() + from, count);
  });
  p_norm = std::sqrt(p_norm);
  g_norm = std::sqrt(g_norm);
  double local = 1;
  if (p_norm > 0 && g_norm > 0) {
    local = attributes.number("trust_coefficient") * p_norm /
            (g_norm + decay * p_norm + attributes.number("epsilon"));
  }
  const double lr = call.operand(3).as<double>()[0];
  pieces.each([&](std::int64_t first, std::int64_t from, std::int64_t count, std::int64_t) {
    double* p = parameters + first;
    double* v = velocity.as_mutable<double>() + first;
    const double* grad = call.operand(2).as<double>() + from;
    for (std::int64_t i = 0; i < count; ++i) {
      v[i] = momentum * v[i] + local * (grad[i] + decay * p[i]);
      p[i] -= lr * v[i];
    }
  });
  return {parameter, velocity};
}

std::vector<HostTensor> ema_update(const Call& call) {
  const double decay = call.attributes().number("decay");
  HostTensor average = call.operand(0).clone();
  const double* p = call.operand(1).as<double>();
  double* a = average.as_mutable<double>();
  for (std::int64_t i = 0; i < average.element_count(); ++i) a[i] = decay * a[i] + (1 - decay) * p[i];
  return {average};
}

}  // namespace

void add_update_ops(EvaluatorTable& table) {
  table["sgd_update"] = sgd_update;
  table["adam_update"] = adam_update;
  table["lars_update"] = lars_update;
  table["ema_update"] = ema_update;
}

}  // namespace facet::reference
