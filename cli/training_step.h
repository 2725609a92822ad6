#pragma once

#include <cstdint>

#include "cli/common.h"

namespace facet::cli {

/// The training step that `bench --train` times and `explain --train` explains: SGD with momentum,
/// and a loss on the network's logits or, where there are only embeddings, an ArcFace head of 1000
/// classes; in f16 the loss is scaled. Of the state_dict it has what it reads: other branches of
/// the module are no part of it. What was fused ahead of differentiation, and what was not, is in
/// `context.remarks`. Throws as `make_training_step`.
Graph training_step(const Model& model, std::int64_t batch, Precision precision,
                    PassContext& context);

}  // namespace facet::cli
