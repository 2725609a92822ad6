#include "passes/loss_scale.h"

#include <fmt/format.h>

#include "ir/error.h"
#include "ir/op.h"

namespace facet {
namespace {

Value add_state(Graph& graph, const std::string& key, double initial) {
  if (graph.find_parameter(key) != nullptr) {
    throw usage_error(fmt::format("graph '{}' has state '{}' already", graph.name(), key));
  }
  const Initializer init{Initializer::Kind::constant, initial, 0};
  graph.parameters().push_back({key, {DType::f32, {1}, {}}, ParameterRole::other, init, false, {}});
  return graph.read_parameter(key)->result();
}

}  // namespace

Value add_loss_scale(Graph& graph) { return add_state(graph, kLossScaleKey, 65536); }

void append_loss_scale(Graph& graph, Value nothing) {
  Builder build(graph, nullptr, {"loss_scale", {}, {}});
  // What is no number is not zero.
  const auto if_applied = [&](Value applied, Value otherwise) {
    return build("where", {nothing, otherwise, applied});
  };
  for (Output& update : graph.updates()) {
    if (update.value.node->op().aliasing == Aliasing::update) continue;
    if (update.name.starts_with("accumulated.")) continue;
    update.value = if_applied(update.value, graph.read_parameter(update.name)->result());
  }
  const Value scale = graph.read_parameter(kLossScaleKey)->result();
  const Value good = add_state(graph, kGoodStepsKey, 0);
  const Value counted = build("add", {good, build.scalar(1)});
  const Value is_due = build("greater", {counted, build.scalar(kGoodSteps - 0.5)});
  const Value twice =
      build("minimum", {build("mul", {scale, build.scalar(2)}), build.scalar(kMostLossScale)});
  const Value half = build("mul", {scale, build.scalar(0.5)});
  const Value zero = build("mul", {good, build.scalar(0)});
  graph.add_update(kLossScaleKey, if_applied(build("where", {is_due, twice, scale}), half));
  graph.add_update(kGoodStepsKey, if_applied(build("where", {is_due, zero, counted}), zero));
  const Value one = build("add", {zero, build.scalar(1)});
  graph.outputs().push_back({"applied", if_applied(one, zero)});
}

}  // namespace facet
