#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "ir/op.h"
#include "passes/gate_match.h"
#include "passes/pass.h"

// fuse-gate: a map times gates that are computed from it becomes one `gate` (ir/gate.h): one read
// of the map for each reduction and one for the result, where plain ops read and write it several
// times.
//
//   before   %1 = reduce_mean(%x) {axes = [2, 3]}   %2 = linear(reshape(%1), %w1)   %3 = relu(%2)
//            %4 = sigmoid(linear(%3, %w2))          %5 = mul(%x, reshape(%4))
//            %6 = add(%5, %r)                       %7 = relu(%6)
//   after    %7 = gate(%x, %w1, transpose(%w2), %r)
//                   {stages = ["channels"], extras = ["channel_w1", "channel_w2", "residual"],
//                   relu}
//
// Gates of one number a channel (from the mean, or mean and maximum, over the pixels) or one number
// a pixel (from its channels, or from a window over the mean and maximum of the channels). A second
// gate on the product, a residual of its shape and a relu join. Refused: a value inside has other
// readers or is an output; the weights are no parameters; a hidden layer of the pixels so wide that
// it is a convolution of its own weight; extents that are not fixed.

namespace facet {
namespace {

/// Hidden channels of a pixel from which its product costs more than the reads that fusion saves.
constexpr std::int64_t kMostHidden = 64;

/// A gate under construction.
struct Fusion {
  std::vector<GateMatch> stages;
  std::vector<Node*> inside;  ///< without the last node, whose result the fused node takes over
  Node* last = nullptr;
  Value residual;
  bool relu = false;
};

/// Why the values between x and the last node cannot vanish; empty if they can.
std::string other_readers(const Graph& graph, const std::vector<Node*>& inside, const Node* last) {
  const std::set<const Node*> nodes(inside.begin(), inside.end());
  for (Node* node : inside) {
    if (node == last) continue;
    for (const Use& use : node->uses(0)) {
      if (nodes.contains(use.node)) continue;
      return fmt::format("the result of {} '{}' is read by {} too", node->kind(),
                         node->provenance().scope, use.node->kind());
    }
    if (graph.is_output(node->result())) {
      return fmt::format("the result of {} '{}' is an output", node->kind(),
                         node->provenance().scope);
    }
  }
  return {};
}

/// The product as a first or only stage; the refusal is in the match.
GateMatch first_stage(const Graph& graph, Node* mul) {
  GateMatch match = match_gate(mul);
  if (!match.looks_like_gate || !match.refusal.empty()) return match;
  match.refusal = other_readers(graph, match.inside, mul);
  if (match.hidden > kMostHidden) {
    match.refusal = fmt::format(
        "the pixels' hidden layer has {} channels, a convolution of its own", match.hidden);
  }
  return match;
}

/// The one node that reads the value and keeps its type, or null.
Node* only_reader(const Graph& graph, Value value) {
  if (graph.use_count(value) != 1 || graph.is_output(value)) return nullptr;
  Node* const reader = value.node->uses(value.index)[0].node;
  return reader->result_types()[0] == value.type() ? reader : nullptr;
}

/// Takes a gate on the fusion's result, if everything that reads the result belongs to it.
void take_second_stage(const Graph& graph, Fusion& fusion) {
  const Value seen = fusion.last->result();
  for (const Use& use : seen.node->uses(0)) {
    GateMatch match = first_stage(graph, use.node);
    if (!match.looks_like_gate || !match.refusal.empty() || match.x != seen) continue;
    if (match.stage == fusion.stages[0].stage) continue;
    std::vector<Node*> both = fusion.inside;
    both.push_back(fusion.last);
    both.insert(both.end(), match.inside.begin(), match.inside.end());
    if (!other_readers(graph, both, use.node).empty()) continue;
    both.pop_back();
    fusion.inside = std::move(both);
    fusion.last = use.node;
    fusion.stages.push_back(std::move(match));
    return;
  }
}

void take_epilogue(const Graph& graph, Fusion& fusion) {
  const auto advance = [&](Node* reader) {
    fusion.inside.push_back(fusion.last);
    fusion.last = reader;
  };
  Node* reader = only_reader(graph, fusion.last->result());
  if (reader != nullptr && reader->is("add")) {
    const int own = reader->operand(0) == fusion.last->result() ? 0 : 1;
    const Value other = reader->operand(1 - own);
    if (other.type() == fusion.last->result().type()) {
      fusion.residual = other;
      advance(reader);
      reader = only_reader(graph, fusion.last->result());
    }
  }
  if (reader != nullptr && reader->is("relu")) {
    fusion.relu = true;
    advance(reader);
  }
}

/// Weights of a layer as [out, in] or, transposed, [in, out].
Value matrix(Builder& build, Value weight, bool transposed) {
  if (weight.type().rank() != 2) {
    weight = build("reshape", {weight},
                   {{"shape", Ints{weight.shape()[0].factor, weight.shape()[1].factor}}});
  }
  return transposed ? build("transpose", {weight}, {{"permutation", Ints{1, 0}}}) : weight;
}

Value flat(Builder& build, Value value) {
  return value.type().rank() == 1 ? value : build("reshape", {value}, {{"shape", Ints{-1}}});
}

/// A bias of one number for each of `count` outputs.
Value bias(Builder& build, Value value, std::int64_t count) {
  if (!value || element_count(value.shape()) == Dim(count))
    return value ? flat(build, value) : value;
  const Value zeros = build("constant", {}, {{"value", HostTensor(DType::f32, {count})}});
  return build("add", {zeros, flat(build, value)});
}

/// Operands of the fused node behind x, and their names.
class Extras {
 public:
  Extras(Builder& build, const Fusion& fusion) : build_(build) {
    for (const GateStage stage : {GateStage::pixels, GateStage::channels, GateStage::window}) {
      for (const GateMatch& match : fusion.stages) {
        if (match.stage == stage) add_stage(match);
      }
    }
    add("residual", fusion.residual);
  }

  const Strings& names() const { return names_; }
  const std::vector<Value>& values() const { return values_; }

 private:
  void add(std::string name, Value value) {
    if (!value) return;
    names_.push_back(std::move(name));
    values_.push_back(value);
  }

  void add_stage(const GateMatch& match) {
    const GateOperands& o = match.operands;
    if (match.stage == GateStage::pixels) {
      add("pixel_w1", matrix(build_, o.pixel_w1, true));
      add("pixel_b1", bias(build_, o.pixel_b1, o.pixel_w1.shape()[0].factor));
      add("pixel_w2", flat(build_, o.pixel_w2));
      add("pixel_b2", bias(build_, o.pixel_b2, 1));
    } else if (match.stage == GateStage::channels) {
      add("channel_w1", matrix(build_, o.channel_w1, false));
      add("channel_b1", bias(build_, o.channel_b1, o.channel_w1.shape()[0].factor));
      add("channel_w2", matrix(build_, o.channel_w2, true));
      add("channel_b2", bias(build_, o.channel_b2, o.channel_w2.shape()[0].factor));
      if (o.gamma) add("gamma", flat(build_, o.gamma));
    } else {
      const std::int64_t k = o.window_w.shape()[2].factor;
      add("window_w", build_("reshape", {o.window_w}, {{"shape", Ints{2, k, k}}}));
      add("window_b", bias(build_, o.window_b, 1));
    }
  }

  Builder& build_;
  Strings names_;
  std::vector<Value> values_;
};

/// The scope that the gates' layers share; the origins are the scopes of all nodes inside.
Provenance provenance_of(const Fusion& fusion) {
  Provenance result = fusion.stages.back().inside.back()->provenance();
  std::set<std::string> origins(result.origins.begin(), result.origins.end());
  bool any = false;
  const auto look = [&](const Node& node) {
    const Provenance& from = node.provenance();
    origins.insert(from.scope);
    origins.insert(from.origins.begin(), from.origins.end());
    if (!node.is("conv") && !node.is("linear")) return;
    const std::string& scope = from.scope;
    const auto parts =
        std::mismatch(scope.begin(), scope.end(), result.scope.begin(), result.scope.end());
    auto end = static_cast<std::size_t>(parts.first - scope.begin());
    if (!any) result.scope = scope;
    const auto is_border = [](const std::string& name, std::size_t at) {
      return at == name.size() || name[at] == '.';
    };
    if (any && (!is_border(scope, end) || !is_border(result.scope, end))) {
      const std::size_t dot = end == 0 ? std::string::npos : scope.rfind('.', end - 1);
      end = dot == std::string::npos ? 0 : dot;
    }
    if (any) result.scope.resize(end);
    any = true;
  };
  for (const Node* node : fusion.inside) look(*node);
  look(*fusion.last);
  origins.erase("");
  result.origins.assign(origins.begin(), origins.end());
  return result;
}

void replace(Graph& graph, const Fusion& fusion, PassContext& context) {
  Builder build(graph, fusion.last, fusion.last->provenance());
  const Extras extras(build, fusion);
  Strings stages;
  bool max_too = false;
  for (const GateMatch& match : fusion.stages) {
    stages.emplace_back(to_string(match.stage));
    max_too |= match.max_too;
  }
  std::string pattern = fmt::format("gate {}", fmt::join(stages, "+"));
  if (fusion.residual) pattern += "+add";
  if (fusion.relu) pattern += "+relu";
  std::vector<Value> operands{fusion.stages[0].x};
  operands.insert(operands.end(), extras.values().begin(), extras.values().end());
  Node* const fused = graph.create("gate", std::move(operands),
                                   {{"stages", std::move(stages)},
                                    {"extras", extras.names()},
                                    {"pooling", std::string(max_too ? "mean_max" : "mean")},
                                    {"relu", fusion.relu}},
                                   provenance_of(fusion), fusion.last);
  graph.replace_uses(fusion.last->result(), fused->result());
  context.applied(*fused, pattern);
}

/// Readers before producers.
void erase_all(Graph& graph, const std::set<const Node*>& dead) {
  std::vector<Node*> nodes = graph.node_list();
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    if (dead.contains(*it)) graph.erase(*it);
  }
}

}  // namespace

bool fuse_gate(Graph& graph, PassContext& context) {
  std::set<const Node*> dead;
  for (Node* node : graph.node_list()) {
    if (dead.contains(node)) continue;
    GateMatch match = first_stage(graph, node);
    if (!match.looks_like_gate) continue;
    if (!match.refusal.empty()) {
      context.missed(*node, "gate", match.refusal);
      continue;
    }
    Fusion fusion;
    fusion.inside = match.inside;
    fusion.inside.pop_back();
    fusion.last = node;
    fusion.stages.push_back(std::move(match));
    take_second_stage(graph, fusion);
    take_epilogue(graph, fusion);
    replace(graph, fusion, context);
    dead.insert(fusion.inside.begin(), fusion.inside.end());
    dead.insert(fusion.last);
  }
  erase_all(graph, dead);
  return !dead.empty();
}

}  // namespace facet
