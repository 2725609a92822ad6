#pragma once

#include <cstdint>

#include "ir/graph.h"

namespace facet {

struct TrainingModeOptions {
  std::uint64_t dropout_seed = 0;
  bool keep_dropout = true;       ///< false: dropout stays the identity
  bool update_statistics = true;  ///< false: batch norms keep to their running statistics
};

/// The state that counts runs where the graph has dropout: f32[1].
inline constexpr const char* kStepKey = "training.step";

/// From inference to training: a `batch_norm` whose running statistics are parameters becomes
/// `batch_norm_train`, and the statistics are updated, in the order of the nodes where several share
/// them; `dropout` becomes `dropout_train` over a step counter that every run advances.
void to_training_mode(Graph& graph, const TrainingModeOptions& options = {});

}  // namespace facet
