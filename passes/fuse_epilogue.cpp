#include <fmt/format.h>

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
// gate), relu, sigmoid, prelu. Refused: the result has other readers or is a graph output; the target
// does not take the entry there.

namespace facet {
namespace {

struct Candidate {
  std::string entry;
  Value extra;  // null for entries without an operand
};

/// A prepared value that adds one number per channel, as a [C] value; null otherwise.
Value as_channel_bias(Graph& graph, Node* compute, Node* reader, Value other) {
  const Type& result = compute->result_types()[0];
  const std::size_t channel_axis = compute->is("conv") ? 1 : result.shape.size() - 1;
  const Dim& channels = result.shape[channel_axis];
  if (!is_prepared(other) || !(element_count(other.shape()) == channels)) return {};
  const std::size_t from_end = result.shape.size() - channel_axis;
  if (other.shape().size() < from_end) return {};
  if (!(other.shape()[other.shape().size() - from_end] == channels)) return {};
  Builder build(graph, reader, reader->provenance());
  return build("reshape", {other}, {{"shape", Ints{-1}}});
}

Candidate candidate_for(Graph& graph, Node* compute, Node* reader) {
  if (reader->is("relu") || reader->is("sigmoid")) return {std::string(reader->kind()), {}};
  const Value result = compute->result();
  if (reader->is("prelu") && reader->operand(0) == result) return {"prelu", reader->operand(1)};
  if (!reader->is("add") && !reader->is("mul")) return {};
  const Value other = reader->operand(reader->operand(0) == result ? 1 : 0);
  if (other == result || !(reader->result_types()[0] == result.type())) return {};
  if (reader->is("mul")) return is_prepared(other) ? Candidate{} : Candidate{"mul", other};
  if (other.type() == result.type()) return {"add", other};
  if (!compute->attributes().strings("epilogue").empty()) return {};
  const Value bias = as_channel_bias(graph, compute, reader, other);
  return bias ? Candidate{"bias", bias} : Candidate{};
}

/// Moves one reader into the epilogue. Returns the new compute node, or null.
Node* fuse_one(Graph& graph, Node* compute, PassContext& context) {
  const std::vector<Use> uses = compute->uses(0);
  if (uses.empty()) return nullptr;
  Node* reader = uses[0].node;
  const Candidate candidate = candidate_for(graph, compute, reader);
  if (candidate.entry.empty()) return nullptr;
  const std::string pattern = fmt::format("{}+{}", compute->kind(), candidate.entry);
  if (graph.use_count(compute->result()) != 1) {
    context.missed(*compute, pattern, fmt::format("its result has {} readers",
                                                  graph.use_count(compute->result())));
    return nullptr;
  }
  const Type* extra = candidate.extra ? &candidate.extra.type() : nullptr;
  if (context.target != nullptr && !context.target->accepts_epilogue(*compute, candidate.entry, extra)) {
    context.missed(*compute, pattern, fmt::format("the {} target does not take it there",
                                                  context.target->name()));
    return nullptr;
  }
  std::vector<Value> operands(compute->operands().begin(), compute->operands().end());
  if (candidate.extra) operands.push_back(candidate.extra);
  Attributes attributes = compute->attributes();
  Strings entries = attributes.strings("epilogue");
  entries.push_back(candidate.entry);
  attributes.set("epilogue", std::move(entries));
  Provenance provenance = compute->provenance();
  if (provenance.origins.empty()) provenance.origins.push_back(provenance.scope);
  if (provenance.origins.back() != reader->provenance().scope) {
    provenance.origins.push_back(reader->provenance().scope);
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
  for (Node* node : graph.node_list()) {
    if (!node->is("conv") && !node->is("linear")) continue;
    Node* last = nullptr;
    for (Node* at = node; at != nullptr; at = fuse_one(graph, at, context)) last = at;
    if (last == node) continue;
    changed = true;
    std::string pattern(last->kind());
    for (const std::string& entry : last->attributes().strings("epilogue")) pattern += "+" + entry;
    context.applied(*last, pattern);
  }
  return changed;
}

}  // namespace facet
