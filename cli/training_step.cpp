#include "cli/training_step.h"

#include <algorithm>
#include <set>
#include <string>

#include "training/step.h"

namespace facet::cli {

Graph training_step(const Model& model, std::int64_t batch, Precision precision,
                    PassContext& context) {
  StepOptions options;
  options.scale_loss = precision == Precision::f16;
  const auto& outputs = model.graph.outputs();
  const bool has_logits = std::ranges::any_of(
      outputs, [](const Output& output) { return output.name.ends_with("logits"); });
  if (!has_logits) {
    options.loss.kind = LossOptions::Kind::margin;
    options.loss.classes = 1000;
  }
  options.optimizer.weight_decay = 5e-4;
  options.batch = batch;
  Graph step = make_training_step(model.graph.clone(), options, context);
  std::set<std::string> read;
  for (const auto& node : step.nodes()) {
    if (node->is("parameter")) read.insert(node->attributes().text("key"));
  }
  std::erase_if(step.parameters(),
                [&](const Parameter& parameter) { return !read.contains(parameter.key); });
  return step;
}

}  // namespace facet::cli
