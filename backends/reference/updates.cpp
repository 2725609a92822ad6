// Optimizer steps. Each result is the new value of the state operand at its place.

#include <cmath>

#include "backends/reference/evaluators.h"

namespace facet::reference {
namespace {

double norm(const HostTensor& x) {
  double sum = 0;
  for (std::int64_t i = 0; i < x.element_count(); ++i) sum += x.as<double>()[i] * x.as<double>()[i];
  return std::sqrt(sum);
}

std::vector<HostTensor> sgd_update(const Call& call) {
  const double momentum = call.attributes().number("momentum");
  const double decay = call.attributes().number("weight_decay");
  const bool nesterov = call.attributes().boolean("nesterov");
  HostTensor parameter = call.operand(0).clone(), velocity = call.operand(1).clone();
  const double* grad = call.operand(2).as<double>();
  const double lr = call.operand(3).as<double>()[0];
  double* p = parameter.as_mutable<double>();
  double* v = velocity.as_mutable<double>();
  for (std::int64_t i = 0; i < parameter.element_count(); ++i) {
    const double d = grad[i] + decay * p[i];
    v[i] = momentum * v[i] + d;
    p[i] -= lr * (nesterov ? d + momentum * v[i] : v[i]);
  }
  return {parameter, velocity};
}

std::vector<HostTensor> adam_update(const Call& call) {
  const Attributes& attributes = call.attributes();
  const double beta1 = attributes.number("beta1"), beta2 = attributes.number("beta2");
  const double epsilon = attributes.number("epsilon"), decay = attributes.number("weight_decay");
  const bool decoupled = attributes.boolean("decoupled");
  HostTensor parameter = call.operand(0).clone();
  HostTensor first = call.operand(1).clone(), second = call.operand(2).clone();
  const double* grad = call.operand(3).as<double>();
  const double lr = call.operand(4).as<double>()[0], step = call.operand(5).as<double>()[0];
  const double correction1 = 1 - std::pow(beta1, step), correction2 = 1 - std::pow(beta2, step);
  double* p = parameter.as_mutable<double>();
  double* m = first.as_mutable<double>();
  double* v = second.as_mutable<double>();
  for (std::int64_t i = 0; i < parameter.element_count(); ++i) {
    if (decoupled) p[i] *= 1 - lr * decay;
    const double d = decoupled ? grad[i] : grad[i] + decay * p[i];
    m[i] = beta1 * m[i] + (1 - beta1) * d;
    v[i] = beta2 * v[i] + (1 - beta2) * d * d;
    p[i] -= lr * (m[i] / correction1) / (std::sqrt(v[i] / correction2) + epsilon);
  }
  return {parameter, first, second};
}

std::vector<HostTensor> lars_update(const Call& call) {
  const Attributes& attributes = call.attributes();
  const double momentum = attributes.number("momentum");
  const double decay = attributes.number("weight_decay");
  const double p_norm = norm(call.operand(0)), g_norm = norm(call.operand(2));
  double local = 1;
  if (p_norm > 0 && g_norm > 0) {
    local = attributes.number("trust_coefficient") * p_norm /
            (g_norm + decay * p_norm + attributes.number("epsilon"));
  }
  HostTensor parameter = call.operand(0).clone(), velocity = call.operand(1).clone();
  const double* grad = call.operand(2).as<double>();
  const double lr = call.operand(3).as<double>()[0];
  double* p = parameter.as_mutable<double>();
  double* v = velocity.as_mutable<double>();
  for (std::int64_t i = 0; i < parameter.element_count(); ++i) {
    v[i] = momentum * v[i] + local * (grad[i] + decay * p[i]);
    p[i] -= lr * v[i];
  }
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
