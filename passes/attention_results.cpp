#include <fmt/format.h>

#include <algorithm>

#include "ir/op.h"
#include "passes/attention.h"
#include "passes/pass.h"
#include "passes/strided_view.h"

namespace facet::attention {
namespace {

/// One product of the softmax's weights and how far it goes alone.
struct Branch {
  Value product;
  bool channels_last = false;  ///< [.., queries, size] rather than [.., size, queries]
  std::vector<ChannelStep> steps;
  Value end;
  Node* sum = nullptr;  ///< the addition of, or concat with, something else that reads `end`
};

class ResultReader {
 public:
  ResultReader(const Graph& graph, const Scores& scores, bool channels_last)
      : graph_(graph), s_(scores), last_(channels_last) {}

  /// Follows views from the product to the last value that lies as the result of an sdpa, and then
  /// the scales and shifts behind it. False if no value lies so.
  bool follow(Branch& branch, std::int64_t size, bool singles) const {
    branch.end = {};
    Value at = branch.product;
    if (is_aligned(at, branch, size)) branch.end = at;
    for (Node* reader = only_reader(graph_, at);
         reader != nullptr && (reader->is("reshape") || reader->is("transpose"));
         reader = only_reader(graph_, at)) {
      at = reader->result();
      if (is_aligned(at, branch, size)) branch.end = at;
    }
    if (!branch.end) return false;
    absorb(branch, s_.heads * size, singles);
    return true;
  }

  /// Moves the branch's end behind the reshapes, scales and shifts per channel that read it.
  /// Without `singles`, single numbers at the end stay outside: there they cost as little.
  void absorb(Branch& branch, std::int64_t channels, bool singles) const {
    Value at = branch.end;
    std::size_t kept = 0;
    for (Node* reader = only_reader(graph_, at); reader != nullptr;
         reader = only_reader(graph_, at)) {
      const std::optional<ChannelStep> step = step_of(*reader, at, channels);
      if (!step && !reader->is("reshape")) {
        if (reader->is("add") || reader->is("concat")) branch.sum = reader;
        break;
      }
      at = reader->result();
      if (step) branch.steps.push_back(*step);
      const bool is_single = step && step->value && element_count(step->value.shape()) == Dim(1);
      if (!singles && (is_single || (!step && kept < branch.steps.size()))) continue;
      kept = branch.steps.size();
      branch.end = at;
    }
    branch.steps.resize(kept);
  }

 private:
  static bool is_prepared_behind(const Node& node, int first) {
    for (int i = first; i < node.operand_count(); ++i) {
      if (!is_prepared(node.operand(i))) return false;
    }
    return true;
  }

  std::optional<ChannelStep> step_of(const Node& reader, Value at, std::int64_t channels) const {
    using Kind = ChannelStep::Kind;
    if (s_.training) return std::nullopt;
    if (reader.is("batch_norm") && reader.operand(0) == at) {
      const bool fits = !last_ && counts_channels(at.shape(), channels);
      if (!fits || !is_prepared_behind(reader, 1)) return std::nullopt;
      return ChannelStep{Kind::batch_norm, &reader, {}};
    }
    if (!reader.is("add") && !reader.is("mul")) return std::nullopt;
    const Value other = reader.operand(reader.operand(0) == at ? 1 : 0);
    if (!is_prepared(other) || !is_per_channel(other, at.shape(), channels) ||
        !(reader.result_types()[0] == at.type())) {
      return std::nullopt;
    }
    return ChannelStep{reader.is("add") ? Kind::shift : Kind::scale, &reader, other};
  }

  /// Whether the axis of channels, in the order of an sdpa's result, is one axis of the shape.
  bool counts_channels(const Shape& shape, std::int64_t channels) const {
    const Dim& extent = last_ ? shape.back() : shape[1];
    return shape.size() > 1 && extent == Dim(channels);
  }
  bool is_per_channel(Value value, const Shape& whole, std::int64_t channels) const {
    if (element_count(value.shape()) == Dim(1)) return true;
    return counts_channels(whole, channels) &&
           varies_along(value, whole, last_ ? whole.size() - 1 : 1);
  }

  /// Whether the value is the branch's product in the order [N, heads, size, queries], or with the
  /// channels last [N, queries, heads, size].
  bool is_aligned(Value value, const Branch& branch, std::int64_t size) const {
    const auto view = strided_view(value);
    if (!view || view->base != branch.product || view->offset != 0) return false;
    const Shape wanted = last_ ? Shape{s_.batch, s_.queries, s_.heads, size}
                               : Shape{s_.batch, s_.heads, size, s_.queries};
    const auto framed = reshaped(*view, wanted);
    if (!framed) return false;
    const std::int64_t head = size * s_.queries;
    const std::int64_t token = branch.channels_last ? size : 1;
    const std::int64_t channel = branch.channels_last ? 1 : s_.queries;
    Ints strides = last_ ? Ints{s_.heads * head, token, head, channel}
                         : Ints{s_.heads * head, head, channel, token};
    for (std::size_t i = 0; i < strides.size(); ++i) {
      if (wanted[i] == Dim(1)) strides[i] = 0;
    }
    return framed->strides == strides;
  }

  const Graph& graph_;
  const Scores& s_;
  bool last_;
};

/// The product of the weights and the values.
std::string read_values(const Scores& scores, const Use& use, Mixed& mixed) {
  Node& product = *use.node;
  const bool transpose_a = product.attributes().boolean("transpose_a");
  const bool transpose_b = product.attributes().boolean("transpose_b");
  const bool weights_first = use.operand == 0;
  if (weights_first ? transpose_a : !transpose_b) return "the values are mixed along the queries";
  const auto value = weights_first ? tokens_of(product.operand(1), !transpose_b)
                                   : tokens_of(product.operand(0), transpose_a);
  if (!value) return "the values are no [N, heads, tokens, channels] of fixed extents";
  if (!(value->batch == scores.batch) || value->heads != scores.heads ||
      value->tokens != scores.keys) {
    return "the values differ from the keys in batch, heads or tokens";
  }
  mixed.value = *value;
  mixed.product = product.result();
  mixed.product_channels_last = weights_first;
  return {};
}

/// The table that the weights, spread over distances, are multiplied with.
std::string read_value_table(const Graph& graph, Node& unskew, Mixed& mixed, Branch& branch) {
  Node* product = only_reader(graph, unskew.result());
  if (product == nullptr || !product->is("matmul")) return "relative values come from no product";
  const bool spread_first = product->operand(0) == unskew.result();
  const Attributes& a = product->attributes();
  if (spread_first ? a.boolean("transpose_a") : !a.boolean("transpose_b")) {
    return "relative values are mixed along the queries";
  }
  Table table{product->operand(spread_first ? 1 : 0), false, false};
  // [distances, size] behind the weights, [size, distances] ahead of them.
  table.transposed = spread_first ? a.boolean("transpose_b") : !a.boolean("transpose_a");
  table.reversed = unskew.attributes().text("distance") == "j-i";
  if (std::string why = table_refusal(table); !why.empty()) return why;
  const Shape& shape = table.value.shape();
  if (!((table.transposed ? shape.end()[-2] : shape.back()) == Dim(mixed.value.size))) {
    return "the values and their table differ in width";
  }
  mixed.relative_value = table;
  branch.product = product->result();
  branch.channels_last = spread_first;
  return {};
}

Node* reader_of_kind(Value value, std::string_view kind) {
  for (const Use& use : value.node->uses(value.index)) {
    if (use.node->is(kind)) return use.node;
  }
  return nullptr;
}

/// Whether a concat of content and places has the channels of both in turn.
bool takes_turns(const Scores& scores, const Branch& content, const Branch& places, bool last,
                 std::int64_t channels) {
  const Node& concat = *content.sum;
  if (!concat.is("concat") || concat.operand_count() != 2 || concat.operand(0) != content.end ||
      concat.operand(1) != places.end) {
    return false;
  }
  const Shape& shape = content.end.shape();
  const std::int64_t given = concat.attributes().integer("axis");
  const std::size_t axis =
      static_cast<std::size_t>(given < 0 ? given + content.end.type().rank() : given);
  std::int64_t ahead = 1;
  for (std::size_t i = 1; i < axis; ++i) ahead *= shape[i].factor;
  return axis > 0 && shape[0] == scores.batch && shape[axis] == Dim(1) &&
         ahead == (last ? scores.queries : 1) * channels;
}

}  // namespace

Node* only_reader(const Graph& graph, Value value) {
  const std::vector<Use> uses = value.node->uses(value.index);
  return uses.size() == 1 && graph.use_count(value) == 1 ? uses[0].node : nullptr;
}

bool varies_along(Value value, const Shape& whole, std::size_t axis) {
  const Shape& shape = value.shape();
  if (shape.size() > whole.size()) return false;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::size_t at = whole.size() - shape.size() + i;
    if (!(shape[i] == Dim(1)) && at != axis) return false;
  }
  return true;
}

std::string table_refusal(const Table& table) {
  const Shape& shape = table.value.shape();
  if (!is_prepared(table.value)) return "the table of relative positions is computed at run time";
  const bool shared = shape.size() >= 2 && std::all_of(shape.begin(), shape.end() - 2,
                                                       [](const Dim& d) { return d == Dim(1); });
  return shared ? "" : "each head has relative positions of its own";
}

std::optional<Tokens> tokens_of(Value operand, bool channels_last, double* factor) {
  const auto view = strided_view(operand, factor);
  if (!view || view->shape.size() < 3 || view->shape.size() > 4) return std::nullopt;
  const std::size_t rank = view->shape.size();
  for (std::size_t axis = 1; axis < rank; ++axis) {
    if (!view->shape[axis].is_static()) return std::nullopt;
  }
  const std::size_t token = rank - (channels_last ? 2 : 1),
                    channel = rank - (channels_last ? 1 : 2);
  const bool has_heads = rank == 4;
  return Tokens{view->base,
                view->shape[0],
                has_heads ? view->shape[1].factor : 1,
                view->shape[token].factor,
                view->shape[channel].factor,
                {view->strides[0], has_heads ? view->strides[1] : 0, view->strides[token],
                 view->strides[channel]},
                view->offset};
}

std::string read_products(const Graph& graph, const Scores& scores, Mixed& mixed) {
  const Value weights = scores.softmax->result();
  if (graph.is_output(weights)) return "the weights are an output";
  const std::vector<Use> uses = weights.node->uses(0);
  Node* unskew = reader_of_kind(weights, "unskew");
  const std::size_t wanted = unskew != nullptr ? 2 : 1;
  if (uses.size() != wanted) return fmt::format("the weights have {} readers", uses.size());
  for (const Use& use : uses) {
    if (use.node == unskew) continue;
    if (!use.node->is("matmul")) return fmt::format("{} reads the weights", use.node->kind());
    if (std::string why = read_values(scores, use, mixed); !why.empty()) return why;
  }
  return {};
}

std::string read_results(const Graph& graph, const Scores& scores, bool channels_last,
                         Mixed& mixed) {
  const ResultReader reader(graph, scores, channels_last);
  const std::int64_t channels = scores.heads * mixed.value.size;
  Node* unskew = reader_of_kind(scores.softmax->result(), "unskew");
  const bool summed = unskew != nullptr;
  Branch content{mixed.product, mixed.product_channels_last, {}, {}, nullptr};
  mixed.aligned = reader.follow(content, mixed.value.size, summed);
  mixed.end = mixed.aligned ? content.end : mixed.product;
  mixed.content = std::move(content.steps);
  if (!summed) return {};
  Branch places;
  if (std::string why = read_value_table(graph, *unskew, mixed, places); !why.empty()) return why;
  if (!mixed.aligned || !reader.follow(places, mixed.value.size, summed)) {
    return "values and relative values are not in the order of the queries' channels";
  }
  if (content.sum == nullptr || content.sum != places.sum ||
      !(content.end.type() == places.end.type())) {
    return "values and relative values are not added";
  }
  if (!content.sum->is("add")) {
    // Behind scales and shifts the parts are no longer what an interleaved result holds.
    if (!scores.training || !takes_turns(scores, content, places, channels_last, channels)) {
      return "values and relative values are not added";
    }
    mixed.interleaved = true;
    mixed.end = content.sum->result();
    return {};
  }
  mixed.places = std::move(places.steps);
  Branch both{{}, false, {}, content.sum->result(), nullptr};
  reader.absorb(both, channels, false);
  mixed.joint = std::move(both.steps);
  mixed.end = both.end;
  return {};
}

}  // namespace facet::attention
