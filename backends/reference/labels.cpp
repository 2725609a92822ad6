// Ops that read one label per row: cross_entropy, pick, place, gather_rows, owed_rows, their gradients.

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/reference/evaluators.h"

namespace facet::reference {
namespace {

constexpr std::int64_t kNoTarget = -1;

/// The label of row n, or kNoTarget where it is no class.
std::int64_t target(const HostTensor& labels, std::int64_t n, std::int64_t classes) {
  const double label = labels.as<double>()[n];
  return label >= 0 && label < static_cast<double>(classes) ? static_cast<std::int64_t>(label)
                                                            : kNoTarget;
}

std::vector<HostTensor> cross_entropy(const Call& call) {
  const HostTensor& logits = call.operand(0);
  const std::int64_t classes = logits.shape()[1];
  const double smoothing = call.attributes().number("label_smoothing");
  HostTensor loss(DType::f64, call.result_shapes[0]);
  HostTensor log_sum_exp(DType::f64, call.result_shapes[1]);
  for (std::int64_t n = 0; n < logits.shape()[0]; ++n) {
    const double* z = logits.as<double>() + n * classes;
    const double largest = *std::max_element(z, z + classes);
    double exponentials = 0, sum = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      exponentials += std::exp(z[c] - largest);
      sum += z[c];
    }
    const double total = largest + std::log(exponentials);
    log_sum_exp.as_mutable<double>()[n] = total;
    const std::int64_t label = target(call.operand(1), n, classes);
    if (label == kNoTarget) continue;
    loss.as_mutable<double>()[n] =
        total - ((1 - smoothing) * z[label] + smoothing / static_cast<double>(classes) * sum);
  }
  return {loss, log_sum_exp};
}

std::vector<HostTensor> cross_entropy_bwd(const Call& call) {
  const HostTensor& logits = call.operand(1);
  const std::int64_t classes = logits.shape()[1];
  const double smoothing = call.attributes().number("label_smoothing");
  HostTensor result = call.result();
  for (std::int64_t n = 0; n < logits.shape()[0]; ++n) {
    const std::int64_t label = target(call.operand(2), n, classes);
    if (label == kNoTarget) continue;
    const double dloss = call.operand(0).as<double>()[n];
    const double total = call.operand(3).as<double>()[n];
    const double* z = logits.as<double>() + n * classes;
    double* to = result.as_mutable<double>() + n * classes;
    for (std::int64_t c = 0; c < classes; ++c) {
      const double wanted =
          (c == label ? 1 - smoothing : 0) + smoothing / static_cast<double>(classes);
      to[c] = dloss * (std::exp(z[c] - total) - wanted);
    }
  }
  return {result};
}

std::vector<HostTensor> pick(const Call& call) {
  const HostTensor& x = call.operand(0);
  const std::int64_t classes = x.shape()[1];
  HostTensor result = call.result();
  for (std::int64_t n = 0; n < x.shape()[0]; ++n) {
    const std::int64_t label = target(call.operand(1), n, classes);
    if (label != kNoTarget) {
      result.as_mutable<double>()[n] = x.as<double>()[n * classes + label];
    }
  }
  return {result};
}

std::vector<HostTensor> pick_bwd(const Call& call) {
  HostTensor result = call.result();
  const std::int64_t classes = result.shape()[1];
  for (std::int64_t n = 0; n < result.shape()[0]; ++n) {
    const std::int64_t label = target(call.operand(1), n, classes);
    if (label != kNoTarget) {
      result.as_mutable<double>()[n * classes + label] = call.operand(0).as<double>()[n];
    }
  }
  return {result};
}

std::vector<HostTensor> place(const Call& call) {
  HostTensor result = call.operand(0).clone();
  const std::int64_t classes = result.shape()[1];
  for (std::int64_t n = 0; n < result.shape()[0]; ++n) {
    const std::int64_t label = target(call.operand(1), n, classes);
    if (label != kNoTarget) {
      result.as_mutable<double>()[n * classes + label] = call.operand(2).as<double>()[n];
    }
  }
  return {result};
}

std::vector<HostTensor> gather_rows(const Call& call) {
  const HostTensor& table = call.operand(0);
  HostTensor result = call.result();
  const std::int64_t width = table.shape()[1];
  for (std::int64_t n = 0; n < result.shape()[0]; ++n) {
    const std::int64_t label = target(call.operand(1), n, table.shape()[0]);
    if (label == kNoTarget) continue;
    std::copy_n(table.as<double>() + label * width, width,
                result.as_mutable<double>() + n * width);
  }
  return {result};
}

std::vector<HostTensor> owed_rows(const Call& call) {
  const HostTensor& table = call.operand(0);
  HostTensor result = call.result();
  const std::int64_t width = table.shape()[1];
  const double* owed = call.operand(3).as<double>();
  for (std::int64_t k = 0; k < result.shape()[0]; ++k, owed += 4) {
    const std::int64_t row = target(call.operand(2), k, table.shape()[0]);
    if (row == kNoTarget) continue;
    const double* p = table.as<double>() + row * width;
    const double* v = call.operand(1).as<double>() + row * width;
    double* to = result.as_mutable<double>() + k * width;
    for (std::int64_t i = 0; i < width; ++i) to[i] = owed[0] * p[i] + owed[1] * v[i];
  }
  return {result};
}

std::vector<HostTensor> scatter_add_rows(const Call& call) {
  const HostTensor& x = call.operand(0);
  HostTensor result = call.result();
  const std::int64_t width = x.shape()[1];
  for (std::int64_t n = 0; n < x.shape()[0]; ++n) {
    const std::int64_t label = target(call.operand(1), n, result.shape()[0]);
    if (label == kNoTarget) continue;
    double* to = result.as_mutable<double>() + label * width;
    for (std::int64_t i = 0; i < width; ++i) to[i] += x.as<double>()[n * width + i];
  }
  return {result};
}

}  // namespace

void add_label_ops(EvaluatorTable& table) {
  table["cross_entropy"] = cross_entropy;
  table["cross_entropy_bwd"] = cross_entropy_bwd;
  table["pick"] = pick;
  table["pick_bwd"] = pick_bwd;
  table["place"] = place;
  table["gather_rows"] = gather_rows;
  table["owed_rows"] = owed_rows;
  table["scatter_add_rows"] = scatter_add_rows;
}

}  // namespace facet::reference
