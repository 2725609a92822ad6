#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "ir/op.h"
#include "passes/pass.h"
#include "passes/term_sum.h"

// split-term-sums: a sum over the parts of a concat is a sum of the parts. Networks that normalise
// several terms in one batch norm spell it so; apart, each term has a scale and a shift of its own,
// the concat is never made, and attention is matched in one spelling.
//
//   before   %1 = concat(%a, %b) {axis = 1}           a, b [N, G, K, K]
//            %2 = batch_norm(%1, %scale, %bias, %mean, %var)
//            %3 = reshape(%2) {shape = [0, 2, G, K, K]}
//            %4 = reduce_sum(%3) {axes = [1], keepdims = false}
//   after    %1 = batch_norm(%a, slice(%scale), ...)  %2 = batch_norm(%b, ...)   %4 = add(%1, %2)
//
// The batch norm may be absent, and there may be reshapes between all of them: what counts is that
// a part is one index of the summed axis. Refused: parts of different size, something else reads
// what stands between, statistics that are computed while the network runs.

namespace facet {
namespace {

std::int64_t inner_size(const Shape& shape, std::size_t axis) {
  std::int64_t size = 1;
  for (std::size_t i = axis + 1; i < shape.size(); ++i) {
    if (!shape[i].is_static()) return 0;
    size *= shape[i].factor;
  }
  return size;
}

/// The producer of operand 0 if this node alone reads it, else null.
Node* only_producer(const Graph& graph, const Node& node) {
  const Value value = node.operand(0);
  return graph.use_count(value) == 1 ? value.node : nullptr;
}

}  // namespace

std::optional<TermSum> match_term_sum(const Graph& graph, Node* sum, std::string_view norm) {
  if (!sum->is("reduce_sum") || sum->attributes().ints("axes").size() != 1) return std::nullopt;
  TermSum found;
  found.sum = sum;
  found.chain.push_back(sum);
  for (Node* node = only_producer(graph, *sum); node != nullptr;
       node = only_producer(graph, *node)) {
    found.chain.push_back(node);
    if (node->is("concat")) {
      found.concat = node;
      break;
    }
    if (node->is(norm) && found.norm == nullptr) {
      found.norm = node;
    } else if (!node->is("reshape")) {
      return std::nullopt;
    }
  }
  return found.concat != nullptr ? std::optional(found) : std::nullopt;
}

std::string term_sum_refusal(TermSum& found) {
  const auto rank = [](Value value) { return value.type().rank(); };
  const Value summed = found.sum->operand(0);
  std::int64_t axis = found.sum->attributes().ints("axes")[0];
  if (axis < 0) axis += rank(summed);
  const Value joined = found.concat->result();
  std::int64_t concat_axis = found.concat->attributes().integer("axis");
  if (concat_axis < 0) concat_axis += rank(joined);
  const auto operands = found.concat->operands();
  for (const Value& operand : operands) {
    if (!(operand.type() == operands[0].type())) return "the parts have different shapes";
  }
  const auto along = static_cast<std::size_t>(concat_axis);
  const Dim& extent = operands[0].shape()[along];
  found.part = inner_size(joined.shape(), along) * extent.factor;
  const Dim& terms = summed.shape()[static_cast<std::size_t>(axis)];
  if (axis == 0 || concat_axis == 0 || found.part == 0 ||
      !(terms == Dim(static_cast<std::int64_t>(operands.size()))) ||
      inner_size(summed.shape(), static_cast<std::size_t>(axis)) != found.part) {
    return "the summed axis does not count the parts";
  }
  const Shape& wanted = found.sum->result_types()[0].shape;
  if (std::count_if(wanted.begin(), wanted.end(), [](const Dim& d) { return !d.is_static(); }) >
      1) {
    return "the sum has several symbolic axes";
  }
  if (found.norm == nullptr) return {};
  for (int i = 1; i < 5 && found.norm->is("batch_norm"); ++i) {
    if (!is_prepared(found.norm->operand(i))) return "the statistics are computed at run time";
  }
  const Shape& normed = found.norm->operand(0).shape();
  const std::int64_t channel = inner_size(normed, 1);
  if (channel == 0 || found.part % channel != 0 || !(normed[0] == joined.shape()[0])) {
    return "a channel of the batch norm has several parts";
  }
  found.channels = found.part / channel;
  found.blocks = normed[1].factor / (static_cast<std::int64_t>(operands.size()) * found.channels);
  return {};
}

namespace {

/// The parts' share of a batch norm. Channels are [blocks, terms, channels a part].
Value part_norm(Builder& build, const TermSum& found, Value part, std::int64_t index) {
  const Node& norm = *found.norm;
  const Shape& shape = norm.operand(0).shape();
  const auto terms = static_cast<std::int64_t>(found.concat->operand_count());
  const std::int64_t together = found.channels, blocks = found.blocks;
  std::vector<Value> operands{part};
  const bool has_channels = part.shape().size() > 1 && part.shape()[1] == Dim(blocks * together);
  if (!has_channels) {
    const Ints flat{0, blocks * together, inner_size(shape, 1)};
    operands[0] = build("reshape", {part}, {{"shape", flat}});
  }
  for (int i = 1; i < 5; ++i) {
    Value x = norm.operand(i);
    const std::int64_t axis = blocks > 1 ? 1 : 0, step = blocks > 1 ? 1 : together;
    if (blocks > 1) x = build("reshape", {x}, {{"shape", Ints{blocks, terms, together}}});
    x = build("slice", {x}, {{"axis", axis}, {"start", index * step}, {"end", (index + 1) * step}});
    operands.push_back(blocks > 1 ? build("reshape", {x}, {{"shape", Ints{-1}}}) : x);
  }
  return build("batch_norm", operands, norm.attributes());
}

std::vector<std::string> origins_of(const TermSum& found) {
  std::set<std::string> scopes;
  for (const Node* node : found.chain) scopes.insert(node->provenance().scope);
  scopes.erase("");
  return {scopes.begin(), scopes.end()};
}

void split(Graph& graph, const TermSum& found) {
  Builder build(graph, found.sum,
                found.norm != nullptr ? found.norm->provenance() : found.sum->provenance());
  Value sum;
  for (int i = 0; i < found.concat->operand_count(); ++i) {
    Value part = found.concat->operand(i);
    if (found.norm != nullptr) part = part_norm(build, found, part, i);
    sum = i == 0 ? part : build("add", {sum, part});
  }
  const Type& wanted = found.sum->result_types()[0];
  if (!(sum.shape() == wanted.shape)) {
    Ints shape;
    for (const Dim& dim : wanted.shape) shape.push_back(dim.is_static() ? dim.factor : -1);
    if (wanted.shape[0] == sum.shape()[0]) shape[0] = 0;
    sum = build("reshape", {sum}, {{"shape", std::move(shape)}});
  }
  graph.replace_uses(found.sum->result(), sum);
  for (Node* node : found.chain) graph.erase(node);
}

}  // namespace

bool split_term_sums(Graph& graph, PassContext& context) {
  bool changed = false;
  for (Node* node : graph.node_list()) {
    std::optional<TermSum> found = match_term_sum(graph, node, "batch_norm");
    if (!found) continue;
    const Node& place = found->norm != nullptr ? *found->norm : *found->sum;
    const std::string pattern = found->norm != nullptr ? "sum(batch_norm(concat))" : "sum(concat)";
    if (const std::string reason = term_sum_refusal(*found); !reason.empty()) {
      context.missed(place, pattern, reason);
      continue;
    }
    context.applied(place, pattern, origins_of(*found));
    split(graph, *found);
    changed = true;
  }
  return changed;
}

}  // namespace facet
