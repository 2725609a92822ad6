// batch_norm in its inference form, with the running statistics as operands; in its training form,
// and the gradient of that.

#include <algorithm>
#include <cmath>

#include "backends/reference/evaluators.h"

namespace facet::reference {
namespace {

std::vector<HostTensor> batch_norm(const Call& call) {
  const HostTensor& x = call.operand(0);
  const double* scale = call.operand(1).as<double>();
  const double* bias = call.operand(2).as<double>();
  const double* mean = call.operand(3).as<double>();
  const double* variance = call.operand(4).as<double>();
  const double epsilon = call.attributes().number("epsilon");
  const std::int64_t channels = x.shape()[1];
  const std::int64_t plane = product(x.shape(), 2, x.shape().size());
  HostTensor result = call.result();
  const double* from = x.as<double>();
  double* to = result.as_mutable<double>();
  for (std::int64_t row = 0; row < x.shape()[0] * channels; ++row) {
    const std::int64_t c = row % channels;
    const double deviation = std::sqrt(variance[c] + epsilon);
    for (std::int64_t i = row * plane; i < (row + 1) * plane; ++i) {
      to[i] = scale[c] * (from[i] - mean[c]) / deviation + bias[c];
    }
  }
  return {result};
}

/// Calls visit(c, i) for every element i of x [N, C, ...], c its channel.
template <class Visit>
void for_each_element(const HostTensor& x, Visit visit) {
  const std::int64_t plane = product(x.shape(), 2, x.shape().size());
  for (std::int64_t row = 0; row < x.shape()[0] * x.shape()[1]; ++row) {
    const std::int64_t c = row % x.shape()[1];
    for (std::int64_t i = row * plane; i < (row + 1) * plane; ++i) visit(c, i);
  }
}

HostTensor channels(const HostTensor& x) { return HostTensor(DType::f64, {x.shape()[1]}); }

double slope_of(const HostTensor& slope, std::int64_t c) {
  return slope.at(slope.element_count() == 1 ? 0 : c);
}

/// Elements of each channel.
double population(const HostTensor& x) {
  return static_cast<double>(x.element_count()) / static_cast<double>(x.shape()[1]);
}

/// What the tail makes of the normalised value `z`; its operand stands at `extra`.
double behind(const Call& call, int extra, std::int64_t c, std::int64_t i, double z) {
  for (const std::string& entry : call.attributes().strings("tail")) {
    if (entry == "add") z += call.operand(extra).at(i);
    if (entry == "relu") z = std::max(z, 0.0);
    if (entry == "prelu" && z < 0) z *= slope_of(call.operand(extra), c);
  }
  return z;
}

std::vector<HostTensor> batch_norm_train(const Call& call) {
  const HostTensor& input = call.operand(0);
  const double* x = input.as<double>();
  const double* scale = call.operand(1).as<double>();
  const double* bias = call.operand(2).as<double>();
  const double n = population(input);
  const double momentum = call.attributes().number("momentum");
  HostTensor y = call.result(), mean = channels(input), inv_std = channels(input);
  HostTensor new_mean = channels(input), new_var = channels(input), variance = channels(input);
  double* m = mean.as_mutable<double>();
  double* v = variance.as_mutable<double>();
  double* r = inv_std.as_mutable<double>();
  for_each_element(input, [&](std::int64_t c, std::int64_t i) { m[c] += x[i] / n; });
  for_each_element(
      input, [&](std::int64_t c, std::int64_t i) { v[c] += (x[i] - m[c]) * (x[i] - m[c]) / n; });
  for (std::int64_t c = 0; c < mean.element_count(); ++c) {
    r[c] = 1 / std::sqrt(v[c] + call.attributes().number("epsilon"));
    new_mean.as_mutable<double>()[c] = (1 - momentum) * call.operand(3).at(c) + momentum * m[c];
    new_var.as_mutable<double>()[c] =
        (1 - momentum) * call.operand(4).at(c) + momentum * v[c] * n / (n - 1);
  }
  double* to = y.as_mutable<double>();
  for_each_element(input, [&](std::int64_t c, std::int64_t i) {
    to[i] = behind(call, 5, c, i, (x[i] - m[c]) * r[c] * scale[c] + bias[c]);
  });
  return {y, mean, inv_std, new_mean, new_var};
}

std::vector<HostTensor> batch_norm_apply(const Call& call) {
  const HostTensor& input = call.operand(0);
  const double* x = input.as<double>();
  const double* scale = call.operand(1).as<double>();
  const double* bias = call.operand(2).as<double>();
  const double* m = call.operand(3).as<double>();
  const double* r = call.operand(4).as<double>();
  HostTensor y = call.result();
  double* to = y.as_mutable<double>();
  for_each_element(input, [&](std::int64_t c, std::int64_t i) {
    to[i] = behind(call, 5, c, i, (x[i] - m[c]) * r[c] * scale[c] + bias[c]);
  });
  return {y};
}

std::vector<HostTensor> batch_norm_bwd(const Call& call) {
  const Strings& tail = call.attributes().strings("tail");
  const bool is_sum = tail == Strings{"add", "relu"};
  const bool has_slope = tail == Strings{"prelu"};
  HostTensor passed = call.operand(0).clone();  // the cotangent of what the tail gets
  double* dy = passed.as_mutable<double>();
  const double* x = call.operand(1).as<double>();
  const double* scale = call.operand(2).as<double>();
  const double* mean = call.operand(3).as<double>();
  const double* inv_std = call.operand(4).as<double>();
  const HostTensor& input = call.operand(1);
  const double n = population(input);
  HostTensor dinput = call.result(), dscale = channels(input), dbias = channels(input);
  double* dx = dinput.as_mutable<double>();
  double* ds = dscale.as_mutable<double>();
  double* db = dbias.as_mutable<double>();
  const auto normal = [&](std::int64_t c, std::int64_t i) { return (x[i] - mean[c]) * inv_std[c]; };
  HostTensor dslope = has_slope ? HostTensor(DType::f64, call.operand(6).shape()) : HostTensor();
  for_each_element(input, [&](std::int64_t c, std::int64_t i) {
    if (is_sum && call.node.operand_count() > 6) dy[i] += call.operand(6).at(i);
    if (tail.empty()) return;
    const double z = is_sum ? call.operand(5).at(i)
                            : normal(c, i) * scale[c] + call.operand(5).at(c);
    if (z > 0) return;
    if (has_slope) dslope.as_mutable<double>()[dslope.element_count() == 1 ? 0 : c] += dy[i] * z;
    dy[i] *= has_slope ? slope_of(call.operand(6), c) : 0;
  });
  for_each_element(input, [&](std::int64_t c, std::int64_t i) {
    db[c] += dy[i];
    ds[c] += dy[i] * normal(c, i);
  });
  for_each_element(input, [&](std::int64_t c, std::int64_t i) {
    dx[i] = scale[c] * inv_std[c] * (dy[i] - db[c] / n - normal(c, i) * ds[c] / n);
  });
  std::vector<HostTensor> results{dinput, dscale, dbias};
  if (has_slope) results.push_back(dslope);
  if (is_sum) results.push_back(passed);
  return results;
}

}  // namespace

void add_normalization_ops(EvaluatorTable& table) {
  table["batch_norm"] = batch_norm;
  table["batch_norm_train"] = batch_norm_train;
  table["batch_norm_apply"] = batch_norm_apply;
  table["batch_norm_bwd"] = batch_norm_bwd;
}

}  // namespace facet::reference
