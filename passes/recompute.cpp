#include <fmt/format.h>

#include <algorithm>

#include "ir/error.h"
#include "ir/op.h"
#include "passes/pass.h"
#include "passes/recompute_choice.h"
#include "passes/recompute_model.h"
#include "passes/sink_updates.h"

// recompute: a value of the forward pass that the backward pass reads is made again directly before
// the first reader there, and its bytes are free in between. The pass runs when everything else has
// been decided (layouts, casts, fusion), so that the values are those that would lie in the arena,
// and no elimination of common subexpressions follows, which would undo it.
//
//   before   %1 = relu(%0)   %2 = exp(%1)   return loss = ...    %8 = mul(%7, %1)
//   after    %1 = relu(%0)   %2 = exp(%1)   return loss = ...    %8 = relu(%0)  %9 = mul(%7, %8)
//
// The forward pass ends with the step that makes the first output, the loss. batch_norm_train is
// repeated as batch_norm_apply on the statistics that it gave: they are kept, and no running
// statistic moves twice. What only the repetition's readers read is moved, not repeated.
//
// Refused: update ops, and what reads state that one has moved on already; outputs. Ops are pure
// (dropout_train counts instead of drawing), so all others give the same bits again.

namespace facet {
namespace {

class Repetition {
 public:
  Repetition(Graph& graph, const RecomputeModel& model, const RepeatedSteps& again)
      : graph_(graph), model_(model), again_(again), made_(again.size(), nullptr) {}

  /// The steps that were made again, in their order. The graph's nodes of the model change.
  std::vector<Node*> run() {
    for (std::size_t i = static_cast<std::size_t>(model_.boundary() + 1); i < again_.size(); ++i) {
      reader_ = model_.steps()[i].node;
      read_repetitions(reader_, model_.steps()[i]);
    }
    for (int i = model_.boundary(); i >= 0; --i) {
      Node* node = model_.steps()[static_cast<std::size_t>(i)].node;
      if (again_[static_cast<std::size_t>(i)] && !is_read(node)) graph_.erase(node);
    }
    return order_;
  }

 private:
  bool is_read(Node* node) const {
    for (int i = 0; i < node->result_count(); ++i) {
      if (graph_.use_count(node->result(i)) > 0) return true;
    }
    return false;
  }

  void read_repetitions(Node* node, const RecomputeStep& step) {
    for (std::size_t k = 0; k < step.operands.size(); ++k) {
      if (step.operands[k] < 0) continue;
      const Value value = node->operand(static_cast<int>(k));
      const Value repeated = repetition(value, model_.producer(step.operands[k]));
      if (!(repeated == value)) node->set_operand(static_cast<int>(k), repeated);
    }
  }

  /// The value made again before the reader at hand, or itself.
  Value repetition(Value value, int producer) {
    if (producer < 0 || !again_[static_cast<std::size_t>(producer)]) return value;
    if (keeps_statistics(*value.node) && value.index > 0) return value;
    Node*& made = made_[static_cast<std::size_t>(producer)];
    if (made == nullptr) made = repeat(model_.steps()[static_cast<std::size_t>(producer)]);
    return {made, value.index};
  }

  Node* repeat(const RecomputeStep& step) {
    Node* from = step.node;
    std::vector<Value> operands;
    for (std::size_t k = 0; k < step.operands.size(); ++k) {
      const Value value = from->operand(static_cast<int>(k));
      operands.push_back(
          step.operands[k] < 0 ? value : repetition(value, model_.producer(step.operands[k])));
    }
    Node* made = keeps_statistics(*from)
                     ? apply(from, std::move(operands))
                     : graph_.create(from->op(), std::move(operands), from->attributes(),
                                     from->provenance(), reader_);
    for (int i = 0; i < made->result_count(); ++i) {
      made->set_result_type(i, from->result_types()[static_cast<std::size_t>(i)]);
    }
    order_.push_back(made);
    return made;
  }

  /// The normalisation with statistics that are there.
  Node* apply(Node* from, std::vector<Value> operands) {
    operands[3] = from->result(1);
    operands[4] = from->result(2);
    return graph_.create("batch_norm_apply", std::move(operands),
                         {{"tail", from->attributes().strings("tail")}}, from->provenance(),
                         reader_);
  }

  Graph& graph_;
  const RecomputeModel& model_;
  const RepeatedSteps& again_;
  Node* reader_ = nullptr;
  std::vector<Node*> made_;  // per step
  std::vector<Node*> order_;
};

std::string megabytes(std::int64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) * 1e-6);
}

RepeatedSteps choose(RecomputeModel& model, const PassContext& context, std::int64_t plain_peak) {
  const RecomputePolicy& policy = context.recompute;
  if (policy.kind == RecomputePolicy::Kind::scope) return choose_by_scope(model, policy.scopes);
  const std::int64_t budget =
      policy.bytes > 0
          ? policy.bytes
          : static_cast<std::int64_t>(policy.fraction * static_cast<double>(plain_peak));
  const std::int64_t wanted = budget - context.recompute_reserve;
  RepeatedSteps again = choose_by_budget(model, wanted);
  const std::int64_t peak = model.estimate(again).peak;
  if (peak > wanted) {
    throw usage_error(
        fmt::format("a recompute budget of {} cannot be met: this step needs {} without "
                    "recomputation and about {} at "
                    "the least; ask for more, or make the batch smaller",
                    megabytes(budget), megabytes(plain_peak + context.recompute_reserve),
                    megabytes(peak + context.recompute_reserve)));
  }
  return again;
}

void report(PassContext& context, const std::vector<Node*>& made) {
  const RecomputeReport& done = context.recomputed;
  for (const Node* node : made) context.applied(*node, fmt::format("{} again", node->kind()));
  context.remarks.push_back(
      {Remark::Kind::applied,
       std::string(context.pass),
       "",
       fmt::format("{}: {} steps run again, {} kept less, {:+.1f} % flops",
                   to_string(context.recompute), done.values, megabytes(done.kept_less),
                   100 * done.flops / std::max(done.all_flops, 1.0)),
       {},
       {}});
}

}  // namespace

bool recompute(Graph& graph, PassContext& context) {
  if (context.recompute.kind == RecomputePolicy::Kind::none || context.target == nullptr)
    return false;
  if (graph.outputs().empty()) return false;
  const bool moved = sink_updates(graph, context);  // the order is that of the program
  RecomputeModel model(graph, *context.target, context.scratch_bytes);
  const RepeatedSteps none(model.steps().size(), 0);
  const std::int64_t plain_peak = model.estimate(none).peak;
  const RepeatedSteps again = choose(model, context, plain_peak);
  const RecomputeModel::Estimate& estimate = model.estimate(again);
  context.recomputed = {estimate.repeated, plain_peak - estimate.peak, estimate.flops, 0};
  for (const RecomputeStep& step : model.steps()) context.recomputed.all_flops += step.flops;
  const std::vector<Node*> made = Repetition(graph, model, again).run();
  report(context, made);
  return moved || !made.empty();
}

}  // namespace facet
