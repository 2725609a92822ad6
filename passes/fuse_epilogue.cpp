#include <fmt/format.h>

#include <algorithm>

#include "ir/epilogue.h"
#include "ir/op.h"
#include "passes/pass.h"

// fuse-epilogue: what reads the result of a conv or linear and nothing else moves into its epilogue,
// where it costs no pass over memory.
//
//   before   %2 = conv(%x, %w, %b) {epilogue = ["bias"]}   %3 = add(%2, %r)   %4 = relu(%3)
//   after    %2 = conv(%x, %w, %b, %r) {epilogue = ["bias", "add", "relu"]}
//
// Entries: bias (a prepared [C] added to an empty epilogue), add (a full-size residual), mul (a
// gate), relu, sigmoid, prelu. Refused: the result has other readers or is a graph output; the slopes
// of a prelu run along another axis than the channels; the target does not take the entry there.

namespace facet {
namespace {

struct Candidate {
  std::string entry;    // empty: the reader is no epilogue entry
  Value extra;          // null for entries without an operand
  Type type;            // of the operand as the epilogue reads it
  std::string refusal;  // why it cannot be one after all
};

std::size_t channel_axis(const Node& compute) {
  return compute.is("conv") ? 1 : compute.result_types()[0].shape.size() - 1;
}

/// Whether a prepared value adds one number per channel.
bool is_channel_bias(const Node& compute, Value other) {
  const Shape& result = compute.result_types()[0].shape;
  const std::size_t from_end = result.size() - channel_axis(compute);
  const Dim& channels = result[channel_axis(compute)];
  return is_prepared(other) && other.shape().size() >= from_end &&
         element_count(other.shape()) == channels &&
         other.shape()[other.shape().size() - from_end] == channels;
}

/// The bias as a [C] value; nothing is built before the fusion is certain.
Value flattened(Graph& graph, Node* reader, Value bias) {
  while (bias.node->is("reshape")) bias = bias.node->operand(0);
  if (bias.type().rank() == 1) return bias;
  Builder build(graph, reader, reader->provenance());
  return build("reshape", {bias}, {{"shape", Ints{-1}}});
}

/// The slope runs along axis 1 of the prelu, but along the channel axis in an epilogue.
Candidate prelu_candidate(const Node& compute, Value slope) {
  Candidate candidate{"prelu", slope, slope.type(), {}};
  if (channel_axis(compute) != 1 && slope.shape() != Shape{1}) {
    candidate.refusal = "the slopes do not run along the last axis";
  }
  return candidate;
}

Candidate candidate_for(Node* compute, Node* reader) {
  if (reader->is("relu") || reader->is("sigmoid")) return {std::string(reader->kind()), {}, {}, {}};
  const Value result = compute->result();
  if (reader->is("prelu") && reader->operand(0) == result) {
    return prelu_candidate(*compute, reader->operand(1));
  }
  if (!reader->is("add") && !reader->is("mul")) return {};
  const Value other = reader->operand(reader->operand(0) == result ? 1 : 0);
  if (other == result || !(reader->result_types()[0] == result.type())) return {};
  if (reader->is("mul")) {
    return is_prepared(other) ? Candidate{} : Candidate{"mul", other, other.type(), {}};
  }
  if (compute->attributes().strings("epilogue").empty() && is_channel_bias(*compute, other)) {
    const Dim channels = result.shape()[channel_axis(*compute)];
    return {"bias", other, Type{other.dtype(), {channels}, {}}, {}};
  }
  return other.type() == result.type() ? Candidate{"add", other, other.type(), {}} : Candidate{};
}

/// Why the candidate is not taken; empty if it is.
std::string refusal(const Graph& graph, Node* compute, const Candidate& candidate,
                    const Target* target) {
  const int readers = graph.use_count(compute->result());
  if (readers != 1) return fmt::format("its result has {} readers", readers);
  if (!candidate.refusal.empty()) return candidate.refusal;
  const Type* extra = candidate.extra ? &candidate.type : nullptr;
  if (target != nullptr && !target->accepts_epilogue(*compute, candidate.entry, extra)) {
    return fmt::format("the {} target does not take it there", target->name());
  }
  return {};
}

/// Moves one reader into the epilogue. Returns the new compute node, or null.
Node* fuse_one(Graph& graph, Node* compute, PassContext& context) {
  const std::vector<Use> uses = compute->uses(0);
  if (uses.empty()) return nullptr;
  Node* reader = uses[0].node;
  const Candidate candidate = candidate_for(compute, reader);
  if (candidate.entry.empty()) return nullptr;
  const std::string why = refusal(graph, compute, candidate, context.target);
  if (!why.empty()) {
    context.missed(*compute, fmt::format("{}+{}", compute->kind(), candidate.entry), why);
    return nullptr;
  }
  std::vector<Value> operands(compute->operands().begin(), compute->operands().end());
  if (candidate.entry == "bias") {
    operands.push_back(flattened(graph, reader, candidate.extra));
  } else if (candidate.extra) {
    operands.push_back(candidate.extra);
  }
  Attributes attributes = compute->attributes();
  Strings entries = attributes.strings("epilogue");
  entries.push_back(candidate.entry);
  attributes.set("epilogue", std::move(entries));
  Provenance provenance = compute->provenance();
  if (provenance.origins.empty()) provenance.origins.push_back(provenance.scope);
  const std::string& scope = reader->provenance().scope;
  if (std::ranges::find(provenance.origins, scope) == provenance.origins.end()) {
    provenance.origins.push_back(scope);
  }
  // At the reader's place every operand stands before the new node.
  Node* fused = graph.create(compute->op(), std::move(operands), std::move(attributes),
                             std::move(provenance), reader);
  graph.replace_uses(reader->result(), fused->result());
  graph.erase(reader);
  graph.erase(compute);
  return fused;
}

}  // namespace

bool fuse_epilogue(Graph& graph, PassContext& context) {
  bool changed = false;
  std::vector<Node*> nodes = graph.node_list();  // the readers among them are erased on the way
  std::erase_if(nodes, [](Node* node) { return !node->is("conv") && !node->is("linear"); });
  for (Node* node : nodes) {
    Node* last = nullptr;  // by address it may equal `node`, which is erased by then
    for (Node* at = fuse_one(graph, node, context); at != nullptr; at = fuse_one(graph, at, context)) {
      last = at;
    }
    if (last == nullptr) continue;
    changed = true;
    std::string pattern(last->kind());
    for (const std::string& entry : last->attributes().strings("epilogue")) pattern += "+" + entry;
    context.applied(*last, pattern);
  }
  return changed;
}

}  // namespace facet
