#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "ir/op.h"
#include "passes/branch_cost.h"
#include "passes/pass.h"

// merge-branches: convolutions of one value with equal windows become one wide convolution. The
// input is read once, vectors are filled better, and the results are still values of their own, so
// each lands where its reader wants it.
//
//   before   %1 = conv(%x, %w1, %b1) {epilogue = ["bias", "relu"]}     w1 [192, C, 1, 1]
//            %2 = conv(%x, %w2, %b2) {epilogue = ["bias", "relu"]}     w2 [48, C, 1, 1]
//   after    %1:2 = conv_branches(%x, concat(%w1, %w2), concat(%b1, %b2))
//                   {channels = [192, 48], epilogue = ["bias", "relu"]}
//
// The concatenations are of prepared values: they are made once, when weights are bound. Refused,
// and said so: another window, stride, padding or epilogue; groups; an epilogue that reads a value
// of the result's size; weights that are computed while the network runs; a target without
// the wide form; a merge that does not pay by branch_cost.h.

namespace facet {

double branch_cost(const BranchShape& shape) {
  constexpr std::int64_t kLanes = 16;
  constexpr std::int64_t kBlock = 64;            // channels that one pass over the input makes
  constexpr double kCachedWeights = 640 * 1024;  // bytes that stay in the second-level cache
  constexpr double kElementsPerCycle = 4;        // read from that cache or from behind it
  constexpr double kStart = 4000;                // waking the threads, resolving the step
  const std::int64_t vectors = (shape.out_channels + kLanes - 1) / kLanes;
  const auto depth = static_cast<double>(shape.taps * shape.in_channels);
  const double arithmetic = static_cast<double>(vectors * shape.out_pixels) * depth;
  const double weights = static_cast<double>(vectors * kLanes) * depth;
  const bool is_cached = weights * sizeof(float) <= kCachedWeights;
  const std::int64_t passes = is_cached ? 1 : (shape.out_channels + kBlock - 1) / kBlock;
  const auto input = static_cast<double>(passes * shape.in_channels * shape.in_pixels);
  return arithmetic + (input + weights) / kElementsPerCycle + kStart;
}

namespace {

/// What has to be equal in two branches: input, window of the weights, attributes.
struct Window {
  Value x;
  Shape kernel;
  Attributes attributes;
};

Window window_of(const Node& conv) {
  const Shape& weight = conv.operand(1).shape();
  return {conv.operand(0), Shape(weight.begin() + 1, weight.end()), conv.attributes()};
}

bool is_alike(const Window& a, const Window& b) {
  return a.x == b.x && a.kernel == b.kernel && a.attributes == b.attributes;
}

/// Why a conv is no branch of any merge; empty if it may be one.
std::string unfit(const Node& conv) {
  if (conv.attributes().integer("groups") != 1) return "it has groups";
  for (const std::string& entry : conv.attributes().strings("epilogue")) {
    if (entry == "add" || entry == "mul") {
      return fmt::format("its epilogue reads a value of its result's size ({})", entry);
    }
  }
  for (int i = 1; i < conv.operand_count(); ++i) {
    if (!is_prepared(conv.operand(i))) return "its weights are computed while the network runs";
    // One slope for all channels would have to become one for each.
    if (i > 1 && conv.operand(i).shape() != Shape{conv.operand(1).shape()[0]}) {
      return "it has one slope for all channels";
    }
  }
  return {};
}

std::string difference(const Window& a, const Window& b) {
  if (a.kernel != b.kernel) return "their windows differ";
  return a.attributes.strings("epilogue") != b.attributes.strings("epilogue")
             ? "their epilogues differ"
             : "their strides, padding or dilations differ";
}

BranchShape shape_of(const Node& conv) {
  const auto pixels = [](const Shape& shape) { return shape[2].factor * shape[3].factor; };
  const Shape& weight = conv.operand(1).shape();
  return {weight[1].factor, pixels(conv.operand(0).shape()), weight[0].factor,
          pixels(conv.result_types()[0].shape), weight[2].factor * weight[3].factor};
}

/// The nominal gain of one wide convolution over separate ones.
bool pays(const std::vector<Node*>& branches) {
  double apart = 0;
  BranchShape wide = shape_of(*branches[0]);
  wide.out_channels = 0;
  for (const Node* branch : branches) {
    const BranchShape shape = shape_of(*branch);
    apart += branch_cost(shape);
    wide.out_channels += shape.out_channels;
  }
  return branch_cost(wide) < apart;
}

/// Operand `index` of all branches, one behind the other.
Value joined(Builder& build, const std::vector<Node*>& branches, int index) {
  std::vector<Value> parts;
  for (const Node* branch : branches) parts.push_back(branch->operand(index));
  return build("concat", std::move(parts), {{"axis", std::int64_t{0}}});
}

Provenance provenance_of(const std::vector<Node*>& branches) {
  Provenance result = branches[0]->provenance();
  result.origins.clear();
  for (const Node* branch : branches) {
    const Provenance& from = branch->provenance();
    if (from.origins.empty()) result.origins.push_back(from.scope);
    result.origins.insert(result.origins.end(), from.origins.begin(), from.origins.end());
  }
  return result;
}

/// Builds the wide convolution. The caller puts the graph in order again: weights of later branches
/// stand behind the first one.
Node* merge(Graph& graph, const std::vector<Node*>& branches) {
  Builder build(graph, branches[0], provenance_of(branches));
  std::vector<Value> operands{branches[0]->operand(0)};
  for (int i = 1; i < branches[0]->operand_count(); ++i) {
    operands.push_back(joined(build, branches, i));
  }
  Ints channels;
  for (const Node* branch : branches) channels.push_back(branch->operand(1).shape()[0].factor);
  Attributes attributes = branches[0]->attributes();
  attributes.set("channels", std::move(channels));
  Node* wide = graph.create("conv_branches", std::move(operands), std::move(attributes),
                            provenance_of(branches), branches[0]);
  for (std::size_t i = 0; i < branches.size(); ++i) {
    graph.replace_uses(branches[i]->result(), wide->result(static_cast<int>(i)));
    graph.erase(branches[i]);
  }
  return wide;
}

/// Whether the target has the wide form: asked of a graph that holds nothing else.
bool is_supported(const std::vector<Node*>& branches, const Target& target) {
  Graph graph("branches");
  const auto input = [&](const Type& type) {
    return graph.create("input", {}, {{"name", std::string("x")}, {"type", to_string(type)}})
        ->result();
  };
  std::vector<Value> operands{input(branches[0]->operand(0).type())};
  Ints channels;
  for (const Node* branch : branches) channels.push_back(branch->operand(1).shape()[0].factor);
  for (int i = 1; i < branches[0]->operand_count(); ++i) {
    Type type = branches[0]->operand(i).type();
    type.shape[0] = 0;
    for (const std::int64_t extent : channels) type.shape[0].factor += extent;
    operands.push_back(input(type));
  }
  Attributes attributes = branches[0]->attributes();
  attributes.set("channels", std::move(channels));
  return target.supports(
      *graph.create("conv_branches", std::move(operands), std::move(attributes)));
}

/// The convolutions of one value, in groups of equal windows, in the graph's order.
std::vector<std::vector<Node*>> siblings_of(const std::vector<Node*>& convs, PassContext& context) {
  std::vector<std::vector<Node*>> groups;
  for (Node* conv : convs) {
    if (const std::string reason = unfit(*conv); !reason.empty()) {
      if (convs.size() > 1) context.missed(*conv, "conv beside conv", reason);
      continue;
    }
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& other) {
      return is_alike(window_of(*other[0]), window_of(*conv));
    });
    if (group != groups.end()) {
      group->push_back(conv);
    } else {
      groups.push_back({conv});
    }
  }
  for (std::size_t i = 1; i < groups.size(); ++i) {
    if (groups[i].size() > 1 && groups[0].size() > 1) continue;
    const bool is_lone = groups[i].size() == 1;
    const Node& lone = is_lone ? *groups[i][0] : *groups[0][0];
    const Node& other = is_lone ? *groups[0][0] : *groups[i][0];
    context.missed(lone, fmt::format("conv beside '{}'", other.provenance().scope),
                   difference(window_of(lone), window_of(other)));
  }
  return groups;
}

}  // namespace

bool merge_branches(Graph& graph, PassContext& context) {
  bool changed = false;
  std::map<Value, std::vector<Node*>> readers;  // by the value they read
  std::vector<Value> order;
  for (Node* node : graph.node_list()) {
    if (!node->is("conv")) continue;
    std::vector<Node*>& convs = readers[node->operand(0)];
    if (convs.empty()) order.push_back(node->operand(0));
    convs.push_back(node);
  }
  for (const Value x : order) {
    for (const std::vector<Node*>& branches : siblings_of(readers[x], context)) {
      if (branches.size() < 2) continue;
      const std::string pattern = fmt::format("{} convs side by side", branches.size());
      if (context.target != nullptr && !is_supported(branches, *context.target)) {
        context.missed(
            *branches[0], pattern,
            fmt::format("the {} target has no wide form of them", context.target->name()));
        continue;
      }
      if (!pays(branches)) {
        context.missed(*branches[0], pattern, "one wide convolution would take longer");
        continue;
      }
      context.applied(*merge(graph, branches), pattern);
      changed = true;
    }
  }
  if (changed) graph.sort_topologically();
  return changed;
}

}  // namespace facet
