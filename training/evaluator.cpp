#include "training/evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <optional>

#include "ir/error.h"
#include "training/metrics.h"

namespace facet {
namespace {

constexpr std::size_t kProblemsKept = 5;

}  // namespace

HostTensor with_rows(const HostTensor& tensor, std::int64_t rows) {
  std::vector<std::int64_t> shape = tensor.shape();
  if (shape.at(0) == rows) return tensor;
  shape[0] = rows;
  HostTensor result(tensor.dtype(), shape);
  std::memcpy(result.mutable_data(), tensor.data(),
              static_cast<std::size_t>(std::min(tensor.byte_count(), result.byte_count())));
  return result;
}

double cross_entropy_sum(const HostTensor& logits, const HostTensor& labels, double scale) {
  const std::int64_t classes = logits.shape().at(1);
  const std::vector<double> values = logits.to_doubles();
  double total = 0;
  for (std::int64_t n = 0; n < logits.shape()[0]; ++n) {
    const double* row = values.data() + n * classes;
    const double largest = scale * *std::max_element(row, row + classes);
    double sum = 0;
    for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(scale * row[c] - largest);
    total += largest + std::log(sum) - scale * row[labels.as<std::int64_t>()[n]];
  }
  return total;
}

Evaluation evaluate_network(const Graph& logits, double scale, const TensorMap& weights,
                            const CompileOptions& options, const Dataset& dataset,
                            const Preprocess& settings, LoaderOptions loading,
                            const EvaluationStep& on_batch) {
  const std::int64_t classes = logits_width(logits);
  check_labels(dataset, classes);
  const std::int64_t rows = loading.batch = std::min(loading.batch, dataset.size());
  const auto executable = compile(logits, weights, options, rows);
  const auto context = executable->make_context();
  std::string pictures;
  for (const Node* input : logits.inputs()) {
    const std::string& name = input->attributes().text("name");
    if (name != "labels") pictures = name;
  }
  const auto start = std::chrono::steady_clock::now();
  Evaluation result;
  double correct = 0;
  double among = 0;
  Loader loader(dataset, settings, {}, loading);
  while (std::optional<Batch> batch = loader.next()) {
    result.left_out += static_cast<std::int64_t>(batch->problems.size());
    for (const BadImage& problem : batch->problems) {
      if (result.problems.size() < kProblemsKept) result.problems.push_back(problem.message);
    }
    const std::int64_t count = batch->labels.element_count();
    if (count > 0) {
      const TensorMap outputs = context->run({{pictures, with_rows(batch->pixels, rows)},
                                              {"labels", with_rows(batch->labels, rows)}});
      const HostTensor own = with_rows(outputs.at("logits"), count);
      result.loss += cross_entropy_sum(own, batch->labels, scale);
      correct += static_cast<double>(top_k_correct(own, batch->labels, 1));
      among += static_cast<double>(top_k_correct(own, batch->labels, std::min<std::int64_t>(5, classes)));
      result.pictures += count;
    }
    if (on_batch && !on_batch(count)) {
      result.complete = false;
      return result;
    }
  }
  if (result.pictures == 0) {
    throw failure(fmt::format("none of the {} pictures can be read; the first: {}", dataset.size(),
                              result.problems.at(0)));
  }
  const auto total = static_cast<double>(result.pictures);
  result.loss /= total;
  result.top1 = correct / total;
  result.top5 = among / total;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace facet
