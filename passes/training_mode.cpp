#include "passes/training_mode.h"

#include <map>
#include <vector>

#include "ir/op.h"

//   before   %5 = batch_norm(%x, %scale, %bias, %mean, %var)
//   after    %5:5 = batch_norm_train(%x, %scale, %bias, %mean, %var)   readers take %5.0
//            update "running_mean" = %5.3    update "running_var" = %5.4
//
// A second batch norm over the same parameters reads %5.3 and %5.4, so the statistics move twice.
// Refused: statistics that are no parameters (they stay as given).

namespace facet {
namespace {

class TrainingMode {
 public:
  TrainingMode(Graph& graph, const TrainingModeOptions& options)
      : graph_(graph), options_(options) {}

  void run() {
    for (Node* node : graph_.node_list()) {
      if (node->is("batch_norm")) {
        if (options_.update_statistics) convert_batch_norm(node);
      } else if (node->is("dropout") && options_.keep_dropout) {
        convert_dropout(node);
      }
    }
    for (const Value& parameter : order_) {
      graph_.add_update(parameter.node->attributes().text("key"), latest_.at(parameter));
    }
  }

 private:
  void convert_batch_norm(Node* node) {
    const Value mean = node->operand(3);
    const Value variance = node->operand(4);
    if (!mean.node->is("parameter") || !variance.node->is("parameter")) return;
    Builder build(graph_, node, node->provenance());
    Node* made = build.node("batch_norm_train",
                            {node->operand(0), node->operand(1), node->operand(2), current(mean),
                             current(variance)},
                            {{"epsilon", node->attributes().number("epsilon")},
                             {"momentum", node->attributes().number("momentum")}});
    move(mean, made->result(3));
    move(variance, made->result(4));
    graph_.replace_uses(node->result(), made->result(0));
    graph_.erase(node);
  }

  void move(Value state, Value value) {
    if (!latest_.contains(state)) order_.push_back(state);
    latest_[state] = value;
  }

  Value current(Value statistic) const {
    const auto it = latest_.find(statistic);
    return it == latest_.end() ? statistic : it->second;
  }

  void convert_dropout(Node* node) {
    const double rate = node->attributes().number("rate");
    if (rate == 0) return;
    Builder build(graph_, node, node->provenance());
    const std::uint64_t seed = options_.dropout_seed * 0x9E3779B97F4A7C15ULL + dropouts_++;
    const Value made = build("dropout_train", {node->operand(0), step()},
                             {{"rate", rate}, {"seed", static_cast<std::int64_t>(seed >> 1)}});
    graph_.replace_uses(node->result(), made);
    graph_.erase(node);
  }

  Value step() {
    if (step_) return step_;
    if (graph_.find_parameter(kStepKey) == nullptr) {
      graph_.parameters().push_back({kStepKey, Type{DType::f32, {1}, {}}, ParameterRole::other,
                                     {Initializer::Kind::constant, 0, 0}, false, {}});
    }
    step_ = graph_.read_parameter(kStepKey)->result();
    Builder build(graph_, nullptr, {kStepKey, {}, {}});
    move(step_, build("add", {step_, build.scalar(1)}));
    return step_;
  }

  Graph& graph_;
  TrainingModeOptions options_;
  std::map<Value, Value> latest_;  // of each state, by the parameter's value
  std::vector<Value> order_;       // the states as they were met: the same in every run
  std::uint64_t dropouts_ = 0;
  Value step_;
};

}  // namespace

void to_training_mode(Graph& graph, const TrainingModeOptions& options) {
  TrainingMode(graph, options).run();
}

}  // namespace facet
