#include "passes/append_optimizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/error.h"
#include "ir/op.h"
#include "passes/sampled_rows.h"
#include "passes/sink_updates.h"

namespace facet {
namespace {

using Kind = OptimizerOptions::Kind;

void require(bool good, std::string_view what, double value, std::string_view range) {
  if (good) return;
  throw usage_error(fmt::format("the optimizer's {} is {}; it must be {}", what, value, range));
}

void check(const OptimizerOptions& options) {
  const auto below_one = [](std::string_view what, double value) {
    require(value >= 0 && value < 1, what, value, "at least 0 and below 1");
  };
  const auto not_negative = [](std::string_view what, double value) {
    require(value >= 0, what, value, "at least 0");
  };
  below_one("momentum", options.momentum);
  below_one("beta1", options.beta1);
  below_one("beta2", options.beta2);
  below_one("ema_decay", options.ema_decay);
  not_negative("epsilon", options.epsilon);
  not_negative("trust_coefficient", options.trust_coefficient);
  not_negative("weight_decay", options.weight_decay);
  not_negative("clip_norm", options.clip_norm);
  require(options.accumulate >= 1, "accumulate", options.accumulate, "at least 1");
}

bool is_norm_or_bias(ParameterRole role) {
  return role == ParameterRole::bn_weight || role == ParameterRole::bn_bias ||
         role == ParameterRole::bias || role == ParameterRole::prelu_slope;
}

/// Makes nodes at the earliest place behind given ones, and the state they keep.
class Appender {
 public:
  explicit Appender(Graph& graph) : graph_(graph), nodes_(graph.node_list()) {
    for (const Node* node : nodes_) rank_.emplace(node, static_cast<int>(rank_.size()));
  }

  Graph& graph() { return graph_; }

  /// Where nodes that were in the graph are: `rank` of the latest of `nodes`; -1: ahead of all.
  int latest(const std::vector<Node*>& nodes) const {
    int last = -1;
    for (const Node* node : nodes) {
      if (const auto found = rank_.find(node); found != rank_.end()) {
        last = std::max(last, found->second);
      }
    }
    return last;
  }

  /// Builds directly behind the node of that rank, and behind what was built there before.
  Builder behind(int rank, const std::string& scope) {
    const auto next = static_cast<std::size_t>(rank + 1);
    return Builder(graph_, next < nodes_.size() ? nodes_[next] : nullptr, {scope, {}, {}});
  }

  /// A node made by `behind(rank)` counts as standing at that rank.
  Value made_at(int rank, Value value) {
    rank_[value.node] = rank;
    return value;
  }

  /// New state that is zero at first, or starts as `like` does.
  Value state(const std::string& key, const Type& type, Initializer init = {}) {
    if (graph_.find_parameter(key) != nullptr) {
      throw usage_error(
          fmt::format("graph '{}' has state '{}' already: an optimizer was appended "
                      "before",
                      graph_.name(), key));
    }
    graph_.parameters().push_back({key, type, ParameterRole::other, init, false, {}});
    return graph_.read_parameter(key)->result();
  }

 private:
  Graph& graph_;
  std::vector<Node*> nodes_;  // that were there, in order
  std::map<const Node*, int> rank_;
};

/// A parameter that is stepped.
struct Stepped {
  std::string key;
  Type type;
  ParameterRole role;
  Initializer init;
  Value gradient;
  Node* rows = nullptr;  ///< that reads the rows which are stepped; null: all of the parameter is
};

std::vector<Stepped> stepped_parameters(Graph& graph,
                                        const std::map<std::string, Value>& gradients,
                                        const std::vector<std::string>& sampled) {
  std::vector<Stepped> list;
  for (const auto& [key, gradient] : gradients) {
    const Parameter* parameter = graph.find_parameter(key);
    if (parameter == nullptr) {
      throw usage_error(fmt::format("graph '{}' has no parameter '{}' to step", graph.name(), key));
    }
    if (!parameter->trainable || !gradient) continue;
    list.push_back({key, parameter->type, parameter->role, parameter->init, gradient});
    if (std::ranges::find(sampled, key) != sampled.end()) list.back().rows = sampled_rows(graph, key);
  }
  return list;
}

/// accumulated.<key> plus the gradient, directly behind it.
Value add_to_accumulated(Appender& append, const Stepped& one) {
  const Value sum = append.state("accumulated." + one.key, one.gradient.type());
  const int rank = append.latest({one.gradient.node});
  return append.made_at(rank, append.behind(rank, one.key)("add", {sum, one.gradient}));
}

/// The gradients of the loss itself, directly behind those of its multiple.
void divide_by(Value loss_scale, Appender& append, std::vector<Stepped>& list) {
  for (Stepped& one : list) {
    const int rank = append.latest({one.gradient.node});
    one.gradient =
        append.made_at(rank, append.behind(rank, one.key)("div", {one.gradient, loss_scale}));
  }
}

class OptimizerWriter {
 public:
  OptimizerWriter(Graph& graph, const OptimizerOptions& options)
      : append_(graph), options_(options) {}

  AppendedOptimizer run(std::vector<Stepped> list) {
    make_inputs();
    AppendedOptimizer result;
    if (options_.loss_scale) divide_by(options_.loss_scale, append_, list);
    if (options_.accumulate > 1) {
      for (Stepped& one : list) one.gradient = accumulated(one);
    }
    result.nothing = guard(list);
    if (options_.clip_norm > 0 || options_.measure_norm) result.gradient_norm = clip(list);
    for (const Stepped& one : list) step(one);
    return result;
  }

 private:
  /// lr and the number of the step, ahead of everything.
  void make_inputs() {
    Builder build = append_.behind(-1, "optimizer");
    lr_ = build("input", {}, {{"name", std::string("lr")}, {"type", std::string("f32[1]")}});
    if (options_.kind != Kind::adam && options_.kind != Kind::adamw) return;
    const Value steps = append_.state("optimizer.step", lr_.type());
    step_ = build("add", {steps, build.scalar(1)});
    append_.graph().add_update("optimizer.step", step_);
  }

  /// Makes the learning rate no number where the guard, or with a scaled loss a gradient, is none.
  Value guard(const std::vector<Stepped>& list) {
    std::vector<Node*> nodes;
    std::vector<Value> watched;
    if (options_.guard) {
      nodes.push_back(options_.guard.node);
      watched.push_back(options_.guard);
    }
    if (options_.loss_scale) {
      for (const Stepped& one : list) {
        nodes.push_back(one.gradient.node);
        watched.push_back(square_sum(one));
      }
    }
    if (watched.empty()) return {};
    const int rank = append_.latest(nodes);
    Builder build = append_.behind(rank, "optimizer");
    const Value sum = watched.size() == 1 ? watched[0] : total(build, watched);
    const Value nothing = append_.made_at(rank, build("mul", {sum, build.scalar(0)}));
    lr_ = append_.made_at(rank, build("add", {lr_, nothing}));
    return nothing;
  }

  /// f32 [1] of such.
  static Value total(Builder& build, const std::vector<Value>& parts) {
    const Value all =
        parts.size() == 1 ? parts[0] : build("concat", parts, {{"axis", std::int64_t{0}}});
    return build("reduce_sum", {all}, {{"axes", Ints{0}}});
  }

  /// The sum (or mean) of the gradients; the state goes back to zero.
  Value accumulated(const Stepped& one) {
    Value total = add_to_accumulated(append_, one);
    const int rank = append_.latest({total.node});
    Builder build = append_.behind(rank, one.key);
    if (options_.average_accumulated) {
      total = append_.made_at(rank, build("mul", {total, build.scalar(1.0 / options_.accumulate)}));
    }
    const Ints shape = static_extents(total.shape());
    const HostTensor zero(DType::f32, Ints(shape.size(), 1));
    append_.graph().add_update(
        "accumulated." + one.key,
        build("expand", {build("constant", {}, {{"value", zero}})}, {{"shape", shape}}));
    return total;
  }

  bool is_clipped(const Stepped& one) const {
    return std::none_of(options_.clip_exempt.begin(), options_.clip_exempt.end(),
                        [&](const std::string& head) { return one.key.starts_with(head); });
  }

  /// Measures the gradients together, and shortens them if that is asked for.
  Value clip(std::vector<Stepped>& list) {
    std::vector<Node*> gradients;
    std::vector<Value> squares;
    for (const Stepped& one : list) {
      if (!is_clipped(one)) continue;
      gradients.push_back(one.gradient.node);
      squares.push_back(square_sum(one));
    }
    if (squares.empty()) return {};
    const int rank = append_.latest(gradients);
    Builder build = append_.behind(rank, "optimizer.clip");
    const Value norm = build("sqrt", {total(build, squares)});
    if (options_.clip_norm == 0) return norm;
    const Value longer = build("add", {norm, build.scalar(1e-6)});
    const Value share = build("div", {build.scalar(options_.clip_norm), longer});
    const Value factor = build("minimum", {share, build.scalar(1)});
    for (Stepped& one : list) {
      if (is_clipped(one)) {
        one.gradient = append_.made_at(rank, build("mul", {one.gradient, factor}));
      }
    }
    return norm;
  }

  /// f32 [1], directly behind the gradient.
  Value square_sum(const Stepped& one) {
    Builder build = append_.behind(append_.latest({one.gradient.node}), "optimizer.clip");
    const Value squares = build("square", {one.gradient});
    Ints axes;
    for (std::int64_t axis = 0; axis < one.gradient.type().rank(); ++axis) axes.push_back(axis);
    return build("reshape", {build("reduce_sum", {squares}, {{"axes", axes}})},
                 {{"shape", Ints{1}}});
  }

  void step(const Stepped& one) {
    const Value parameter = append_.graph().read_parameter(one.key)->result();
    std::vector<Node*> before = readers_of_bytes(parameter);
    before.insert(before.end(), {one.gradient.node, lr_.node});
    Builder build = append_.behind(append_.latest(before), one.key);
    Node* update = make_update(build, one, parameter);
    if (options_.ema_decay == 0) return;
    if (one.rows != nullptr) {
      throw usage_error(fmt::format("there is no average of '{}', whose rows are sampled: a step would "
                                    "have to read all of it; set ema_decay to 0", one.key));
    }
    const std::string key = "ema." + one.key;
    const Value average = append_.state(key, one.type, one.init);
    append_.graph().add_update(
        key, build("ema_update", {average, update->result(0), lr_}, {{"decay", options_.ema_decay}}));
  }

  Node* make_update(Builder& build, const Stepped& one, Value parameter) {
    const bool exempt = !options_.decay_norm_and_bias && is_norm_or_bias(one.role);
    const double decay = exempt ? 0 : options_.weight_decay;
    const bool is_owed = one.rows != nullptr && one.rows->is("owed_rows");
    if (is_owed && options_.kind != Kind::sgd) {
      throw usage_error(fmt::format("only SGD can make up for the steps that rows of '{}' missed: with "
                                    "another optimizer rows that are not sampled stay as they are",
                                    one.key));
    }
    if (step_) return make_adam(build, one, parameter, decay);
    const std::string velocity = "optimizer." + one.key + ".velocity";
    const Value old = is_owed ? one.rows->operand(1) : append_.state(velocity, one.type);
    std::vector<Value> operands{parameter, old, one.gradient, lr_};
    if (one.rows != nullptr) operands.push_back(one.rows->operand(is_owed ? 2 : 1));
    if (is_owed) operands.push_back(one.rows->operand(3));
    Attributes attributes{{"momentum", options_.momentum}, {"weight_decay", decay}};
    const bool is_lars = options_.kind == Kind::lars && !exempt;
    if (is_lars) {
      attributes.set("trust_coefficient", options_.trust_coefficient);
      attributes.set("epsilon", options_.epsilon);
    } else {
      attributes.set("nesterov", options_.nesterov && options_.kind == Kind::sgd);
    }
    Node* node = build.node(is_lars ? "lars_update" : "sgd_update", operands, attributes);
    append_.graph().add_update(one.key, node->result(0));
    append_.graph().add_update(velocity, node->result(1));
    return node;
  }

  Node* make_adam(Builder& build, const Stepped& one, Value parameter, double decay) {
    const std::string key = "optimizer." + one.key;
    const Value m = append_.state(key + ".m", one.type);
    const Value v = append_.state(key + ".v", one.type);
    std::vector<Value> operands{parameter, m, v, one.gradient, lr_, step_};
    if (one.rows != nullptr) operands.push_back(one.rows->operand(1));
    Node* node = build.node("adam_update", operands,
                            {{"beta1", options_.beta1},
                             {"beta2", options_.beta2},
                             {"epsilon", options_.epsilon},
                             {"weight_decay", decay},
                             {"decoupled", options_.kind == Kind::adamw}});
    Graph& graph = append_.graph();
    graph.add_update(one.key, node->result(0));
    graph.add_update(key + ".m", node->result(1));
    graph.add_update(key + ".v", node->result(2));
    return node;
  }

  Appender append_;
  const OptimizerOptions& options_;
  Value lr_;
  Value step_;  // adam: the number of this step, from 1
};

}  // namespace

AppendedOptimizer append_optimizer(Graph& graph, const std::map<std::string, Value>& gradients,
                                   const OptimizerOptions& options) {
  check(options);
  return OptimizerWriter(graph, options)
      .run(stepped_parameters(graph, gradients, options.sampled));
}

void append_accumulation(Graph& graph, const std::map<std::string, Value>& gradients,
                         const std::vector<std::string>& sampled, Value loss_scale) {
  Appender append(graph);
  std::vector<Stepped> list = stepped_parameters(graph, gradients, sampled);
  if (loss_scale) divide_by(loss_scale, append, list);
  for (const Stepped& one : list) {
    const Value sum = add_to_accumulated(append, one);
    graph.add_update("accumulated." + one.key, sum);
  }
}

}  // namespace facet
