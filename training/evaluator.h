#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/compile.h"
#include "training/data/dataset.h"
#include "training/loader.h"
#include "training/step_setup.h"

namespace facet {

/// How well a network tells the classes of a data set apart.
struct Evaluation {
  double loss = 0;  ///< mean cross entropy of the softmax, without label smoothing and margin
  double top1 = 0;  ///< the part of the pictures whose class has the largest logit, 0 to 1
  double top5 = 0;  ///< whose class is among the five largest; all of them for up to five classes
  std::int64_t pictures = 0;
  std::int64_t left_out = 0;              ///< pictures that cannot be read
  std::vector<std::string> problems = {}; ///< why: the first of them
  double seconds = 0;
  bool complete = true;                   ///< false: it was stopped
};

/// Called behind every batch with its number of pictures; false stops.
using EvaluationStep = std::function<bool(std::int64_t pictures)>;

/// `logits` is what `logits_network` made, `scale` of `logits_scale`. Batches are padded, so that one
/// program serves all. Throws as `compile` and `Loader`, Error(failure) if no picture can be read.
Evaluation evaluate_network(const Graph& logits, double scale, const TensorMap& weights,
                            const CompileOptions& options, const Dataset& dataset,
                            const Preprocess& settings, LoaderOptions loading,
                            const EvaluationStep& on_batch = {});

/// The tensor with rows of zeros behind its own, or without those behind the first `rows`.
HostTensor with_rows(const HostTensor& tensor, std::int64_t rows);

/// The sum over rows of log(sum(exp(scale * z))) - scale * z[label]; logits [N, C], labels i64 [N] in
/// [0, C).
double cross_entropy_sum(const HostTensor& logits, const HostTensor& labels, double scale);

}  // namespace facet
