#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ir/host_tensor.h"
#include "runtime/state.h"
#include "training/center_sampler.h"
#include "training/missed_steps.h"

namespace facet {

/// What stays outside the graph of a step with sampled centres (LossOptions::sampled): which ones
/// take part, and what they are owed. The table `head.weight` [C, D] and its moments are the step's
/// state; the graph reads the sampled rows from it and writes them back in its updates, so all else
/// that a step needs grows with the sample. A step that was not applied changes nothing.
///
/// v1: rows that are not sampled, and their moments, stay as they are; with any optimizer.
/// v2: they are moved as one dense parameter is (MissedSteps); with SGD.
/// Not synchronised.
class PartialFc {
 public:
  struct Options {
    std::int64_t classes = 0;
    std::int64_t sample = 0;  ///< centres of a step
    std::uint64_t seed = 1;
    std::optional<MissedSteps::Rule> dense = {};  ///< v2: the optimizer of the centres
  };
  /// Throws as CenterSampler.
  explicit PartialFc(const Options& options);

  /// Chooses the centres of the next step, whose batches have these labels. Throws as
  /// CenterSampler::draw.
  void begin(const std::vector<HostTensor>& labels);
  /// Adds the inputs `sampled` and `owed` of that step; `labels` become places among its centres.
  void complete(TensorMap& inputs) const;
  /// That step was applied with this learning rate, to this state.
  void applied(double learning_rate, State& state);

  /// The whole table as it is now; for v1 the state's own tensor, else a copy.
  HostTensor centers(const State& state) const;
  /// What a checkpoint has to keep beside the state, shared, by keys of `training.partial_fc.`.
  TensorMap tensors() const;
  void assign(const TensorMap& tensors);
  /// "partial fc 100000 of 1000000 centres a step, v2".
  std::string describe() const;
  static bool owns(const std::string& key);

 private:
  CenterSampler sampler_;
  HostTensor steps_;  ///< i64 [1]
  std::unique_ptr<MissedSteps> missed_;
  HostTensor rows_;  ///< of the step that was begun
  HostTensor owed_;
};

}  // namespace facet
