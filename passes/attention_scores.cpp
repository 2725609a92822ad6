#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "ir/op.h"
#include "passes/attention.h"
#include "passes/pass.h"
#include "passes/strided_view.h"
#include "passes/term_sum.h"

namespace facet::attention {
namespace {

/// Extents other than 1.
Shape squeezed(const Shape& shape) {
  Shape result;
  std::copy_if(shape.begin(), shape.end(), std::back_inserter(result),
               [](const Dim& dim) { return !(dim == Dim(1)); });
  return result;
}

bool swaps_last_axes(const Node& node) {
  if (!node.is("transpose")) return false;
  Ints wanted(node.attributes().ints("permutation").size());
  for (std::size_t i = 0; i < wanted.size(); ++i) wanted[i] = static_cast<std::int64_t>(i);
  if (wanted.size() < 2) return false;
  std::swap(wanted.end()[-1], wanted.end()[-2]);
  return node.attributes().ints("permutation") == wanted;
}

bool has_product(Value value, std::map<const Node*, bool>& known) {
  const Node& node = *value.node;
  const auto it = known.find(&node);
  if (it != known.end()) return it->second;
  bool found = false;
  if (node.is("matmul")) {
    found = !is_prepared(value);
  } else if (!node.op().cost.is_compute() && !node.is("softmax")) {
    for (const Value& operand : node.operands()) found = found || has_product(operand, known);
  }
  return known[&node] = found;
}

/// Walks from the softmax up through sums, scales and a clamp to the products, and collects them.
class ScoreReader {
 public:
  ScoreReader(const Graph& graph, Scores& scores) : graph_(graph), s_(scores) {}

  std::string run(Node* softmax) {
    s_.softmax = softmax;
    if (read_extents(softmax->operand(0).shape()) && read(softmax->operand(0), {}) && finish()) {
      return {};
    }
    return reason_;
  }

 private:
  bool fail(std::string why) {
    if (reason_.empty()) reason_ = std::move(why);
    return false;
  }

  bool read_extents(const Shape& shape) {
    if (shape.size() < 3) return fail("the scores are no [N, heads, queries, keys]");
    for (std::size_t axis = 1; axis < shape.size(); ++axis) {
      if (!shape[axis].is_static()) return fail("the number of tokens or heads is symbolic");
      if (axis + 2 < shape.size()) s_.heads *= shape[axis].factor;
    }
    s_.batch = shape[0];
    s_.queries = shape.end()[-2].factor;
    s_.keys = shape.end()[-1].factor;
    const std::int64_t axis = s_.softmax->attributes().integer("axis");
    if (axis != -1 && axis != static_cast<std::int64_t>(shape.size()) - 1) {
      return fail("the softmax runs over another axis than the last");
    }
    return true;
  }

  /// `value` times `factor` is a part of the scores.
  bool read(Value value, Factor factor) {
    Node& node = *value.node;
    if (!read_once(value)) return false;
    if (node.is("matmul") || node.is("skew") || swaps_last_axes(node)) {
      return read_product(value, std::move(factor));
    }
    if (node.is("reshape")) {
      const Value x = node.operand(0);
      if (squeezed(x.shape()) == squeezed(value.shape())) return read(x, std::move(factor));
      return read_map(x, std::move(factor));
    }
    if (node.is("add") || node.is("sub")) return read_sum(node, factor);
    if (node.is("mul") || node.is("div")) return read_scaled(node, std::move(factor));
    if (node.is("batch_norm")) return read_norm(node, std::move(factor));
    if (node.is("batch_norm_train")) return read_trained_norm(node, std::move(factor));
    if (node.is("reduce_sum")) return read_term_sum(node, factor);
    if (node.is("clamp")) return read_clamp(node, factor);
    return fail(fmt::format("{} stands among the scores", node.kind()));
  }

  bool read_once(Value value) {
    const int readers = graph_.use_count(value);
    return readers == 1 || fail(fmt::format("the scores have {} readers", readers));
  }

  bool read_sum(const Node& node, const Factor& factor) {
    if (factor.trained != nullptr) return fail("the batch norm runs over a sum of parts");
    const Shape& shape = node.result_types()[0].shape;
    for (int i = 0; i < 2; ++i) {
      Factor own = factor;
      if (i == 1 && node.is("sub")) own.number = -own.number;
      const Value operand = node.operand(i);
      if (!attention::has_product(operand)) {
        if (!read_bias(operand, shape, std::move(own))) return false;
        continue;
      }
      if (!(operand.shape() == shape))
        return fail("the bias varies along an axis that the scores lack");
      if (!read(operand, std::move(own))) return false;
    }
    return true;
  }

  bool read_bias(Value bias, const Shape& shape, Factor factor) {
    if (in_clamp_) return fail("a bias stands ahead of the clamp");
    const bool ends_well = shape.end()[-1] == Dim(s_.keys) && shape.end()[-2] == Dim(s_.queries);
    const bool by_head = shape.size() == 4 && is_by_head(shape);
    const bool without_heads = shape.size() == 3 && bias.type().rank() == 3;
    if (!ends_well || !(by_head || without_heads || bias.type().rank() <= 2)) {
      return fail(fmt::format("the bias {} does not lie along heads, queries and keys",
                              to_string(bias.type())));
    }
    s_.biases.push_back({bias, without_heads, std::move(factor)});
    return true;
  }

  bool read_scaled(const Node& node, Factor factor) {
    const bool second = attention::has_product(node.operand(1));
    if (second && (node.is("div") || attention::has_product(node.operand(0)))) {
      return fail(fmt::format("{} combines two products", node.kind()));
    }
    const Value scores = node.operand(second ? 1 : 0);
    const Value scale = node.operand(second ? 0 : 1);
    const Shape& shape = node.result_types()[0].shape;
    if (!(scores.shape() == shape)) return fail("a scale makes the scores larger");
    if (const std::optional<double> number = scalar_constant(scale)) {
      if (node.is("div") && *number == 0) return fail("the scores are divided by zero");
      factor.number *= node.is("div") ? 1 / *number : *number;
    } else {
      if (!is_prepared(scale)) return fail("the scale is computed at run time");
      if (node.is("div")) return fail("the scores are divided by a parameter");
      if (!varies_along(scale, shape, 1) ||
          !(element_count(scale.shape()) == Dim(1) || is_by_head(shape))) {
        return fail("the scale varies along the tokens");
      }
      factor.per_head.push_back(scale);
    }
    return read(scores, std::move(factor));
  }

  /// Whether axis 1 of a shape of scores counts the heads.
  bool is_by_head(const Shape& shape) const {
    if (!(shape[1] == Dim(s_.heads))) return false;
    std::int64_t rest = 1;
    for (std::size_t axis = 2; axis < shape.size(); ++axis) rest *= shape[axis].factor;
    return rest == s_.queries * s_.keys;
  }

  /// The shift of a batch norm is one number for all keys: a softmax does not see it.
  bool read_norm(const Node& node, Factor factor) {
    if (in_clamp_) return fail("the shift of a batch norm counts ahead of the clamp");
    for (int i = 1; i < node.operand_count(); ++i) {
      if (!is_prepared(node.operand(i))) {
        return fail("the statistics of the batch norm are computed at run time");
      }
    }
    if (!is_by_head(node.result_types()[0].shape)) {
      return fail("the batch norm does not run over the heads");
    }
    factor.norms.push_back(&node);
    return read(node.operand(0), std::move(factor));
  }

  /// The statistics of the batch are those of the product alone.
  bool read_trained_norm(Node& node, Factor factor) {
    if (!is_by_head(node.result_types()[0].shape)) {
      return fail("the batch norm does not run over the heads");
    }
    return read_normalised(node, 0, node.operand(0), std::move(factor));
  }

  bool read_normalised(Node& norm, std::int64_t channel, Value part, Factor factor) {
    if (!s_.training) return fail("the batch norm has statistics of the batch");
    if (in_clamp_) return fail("the shift of a batch norm counts ahead of the clamp");
    if (factor.trained != nullptr) return fail("a batch norm stands behind another");
    if (!norm.attributes().strings("tail").empty()) return fail("the batch norm has a tail");
    if (!s_.batch.is_static()) return fail("the batch is symbolic");
    if (graph_.use_count(norm.result(1)) + graph_.use_count(norm.result(2)) > 0) {
      return fail("the statistics of the batch norm have readers");
    }
    factor.trained = &norm;
    factor.first_channel = channel;
    behind_norm_ = factor;
    return read(part, std::move(factor));
  }

  /// Parts that one batch norm over all of them normalises side by side.
  bool read_term_sum(Node& node, const Factor& factor) {
    std::optional<TermSum> found = match_term_sum(graph_, &node, "batch_norm_train");
    if (!s_.training || !found || found->norm == nullptr) {
      return fail("reduce_sum stands among the scores");
    }
    if (std::string why = term_sum_refusal(*found); !why.empty()) return fail(std::move(why));
    if (found->blocks != 1 || found->channels != s_.heads) {
      return fail("the batch norm does not run over the heads");
    }
    for (int i = 0; i < found->concat->operand_count(); ++i) {
      if (!read_normalised(*found->norm, i * s_.heads, found->concat->operand(i), factor)) {
        return false;
      }
    }
    return true;
  }

  /// What stands between a product and the batch norm behind it would change its statistics.
  bool is_normalised_itself(const Factor& factor) {
    const bool fits = factor.trained == nullptr ||
                      (factor.number == behind_norm_.number && factor.norms.empty() &&
                       factor.per_head.size() == behind_norm_.per_head.size());
    return fits || fail("a scale stands ahead of the batch norm");
  }

  bool read_clamp(const Node& node, const Factor& factor) {
    if (s_.query || in_clamp_) return fail("a part of the scores is not clamped, or twice");
    if (factor.number <= 0 || !factor.norms.empty() || !factor.per_head.empty() ||
        factor.trained != nullptr) {
      return fail("the clamped scores are scaled");
    }
    s_.clamp = {node.attributes().number("min") * factor.number,
                node.attributes().number("max") * factor.number};
    in_clamp_ = true;
    const bool good = read(node.operand(0), factor);
    in_clamp_ = false;
    return good;
  }

  bool read_product(Value value, Factor factor) {
    if (s_.clamp && !in_clamp_) return fail("a part of the scores is not clamped");
    bool swapped = false;  // rows are keys
    while (swaps_last_axes(*value.node)) {
      swapped = !swapped;
      value = value.node->operand(0);
      if (!read_once(value)) return false;
    }
    if (value.node->is("skew")) return read_places(*value.node, swapped, std::move(factor));
    if (!value.node->is("matmul")) {
      return fail(fmt::format("{} stands among the scores", value.node->kind()));
    }
    return read_content(*value.node, swapped, std::move(factor));
  }

  bool read_content(const Node& product, bool swapped, Factor factor) {
    if (s_.query) return fail("the scores hold two products of tokens");
    double of_rows = 1, of_columns = 1;
    const auto rows =
        tokens_of(product.operand(0), !product.attributes().boolean("transpose_a"), &of_rows);
    const auto columns =
        tokens_of(product.operand(1), product.attributes().boolean("transpose_b"), &of_columns);
    if (!rows || !columns) {
      return fail("queries and keys are no [N, heads, tokens, channels] of fixed extents");
    }
    if (is_prepared(rows->base) || is_prepared(columns->base)) {
      return fail("a product with a parameter is no part of an sdpa without a skew");
    }
    Tokens queries = *rows, keys = *columns;
    if (swapped) std::swap(queries, keys);
    if (!fits(queries, s_.queries) || !fits(keys, s_.keys)) {
      return fail("queries and keys differ in batch or heads");
    }
    factor.number *= of_rows * of_columns;
    if (!is_normalised_itself(factor)) return false;
    s_.query = std::move(queries);
    s_.key = std::move(keys);
    s_.content = std::move(factor);
    return true;
  }

  bool fits(const Tokens& tokens, std::int64_t count) const {
    return tokens.batch == s_.batch && tokens.heads == s_.heads && tokens.tokens == count;
  }

  /// Tokens times a table of distances. Rows are tokens; `reversed` is left to the caller.
  bool read_table(const Node& product, Tokens& tokens, Table& table, Factor& factor) {
    double number = 1;
    const auto rows =
        tokens_of(product.operand(0), !product.attributes().boolean("transpose_a"), &number);
    if (!rows) return fail("relative positions read no [N, heads, tokens, channels]");
    table.value = product.operand(1);
    table.transposed = !product.attributes().boolean("transpose_b");
    if (std::string why = table_refusal(table); !why.empty()) return fail(std::move(why));
    tokens = *rows;
    factor.number *= number;
    return is_normalised_itself(factor);
  }

  bool read_places(const Node& skew, bool swapped, Factor factor) {
    const Value product = skew.operand(0);
    if (!product.node->is("matmul")) return fail("relative positions come from no product");
    Tokens tokens;
    Table table;
    if (!read_once(product) || !read_table(*product.node, tokens, table, factor)) return false;
    table.reversed = (skew.attributes().text("distance") == "i-j") == swapped;
    std::optional<Table>& place = swapped ? s_.relative_key : s_.relative_query;
    if (place || (!swapped && s_.relative_height))
      return fail("relative positions are added twice");
    place = table;
    (swapped ? key_seen_ : query_seen_) = tokens;
    (swapped ? s_.key_places : s_.query_places) = std::move(factor);
    return true;
  }

  /// `sum` is the part of rows and the part of columns of a map, [N, heads, K, height, width] with
  /// one of the last extents 1 each.
  bool read_map(Value sum, Factor factor) {
    const Shape& shape = sum.shape();
    const std::int64_t height = shape.end()[-2].factor, width = shape.end()[-1].factor;
    if (!sum.node->is("add") || s_.queries != s_.keys || height * width != s_.keys) {
      return fail("reshape stands among the scores");
    }
    if (s_.relative_query || s_.relative_height) return fail("relative positions are added twice");
    if (!read_once(sum)) return false;
    s_.height = height;
    s_.width = width;
    for (int i = 0; i < 2; ++i) {
      Factor own = factor;
      Tokens tokens;
      Table table;
      const Value part = sum.node->operand(i);
      const bool rows = part.shape().back() == Dim(1);
      if (!read_map_part(part, rows, tokens, table, own)) return false;
      (rows ? s_.relative_height : s_.relative_width) = table;
      if (i == 1 && (!(tokens == *query_seen_) || own.number != s_.query_places.number)) {
        return fail("rows and columns of the map are relative to different queries");
      }
      query_seen_ = tokens;
      s_.query_places = std::move(own);
    }
    return s_.relative_height && s_.relative_width ? true : fail("the map has no rows or columns");
  }

  /// One axis of the map: tokens times its table, with the queries' place on that axis next to the
  /// distances, skewed. Every step is followed by strides.
  bool read_map_part(Value part, bool rows, Tokens& tokens, Table& table, Factor& factor) {
    const std::string odd = "relative positions on the map are not in the order of its places";
    const std::int64_t extent = rows ? s_.height : s_.width, wide = 2 * extent - 1;
    const Shape places{s_.batch, s_.heads, s_.height, s_.width};
    const Shape frame{s_.batch, s_.heads, s_.height, s_.width, rows ? extent : 1, rows ? 1 : extent};
    Value unmerged = part;  // the places may be one axis here, which strides cannot say
    while (unmerged.node->is("reshape")) unmerged = unmerged.node->operand(0);
    const auto seen = strided_view(unmerged);
    const auto framed = seen ? reshaped(*seen, frame) : std::nullopt;
    if (!framed || !framed->base.node->is("skew") || framed->offset != 0) return fail(odd);
    Node& skew = *framed->base.node;
    const auto pairs = strided_view(skew.result());
    const auto ahead = strided_view(skew.operand(0));
    if (!pairs || !ahead || !ahead->base.node->is("matmul") || ahead->offset != 0) return fail(odd);
    const Ints wanted{s_.heads * s_.keys * wide, s_.keys * wide, s_.width * wide, wide};
    const std::size_t row = pairs->shape.size() - 2;
    for (std::size_t axis = 0; axis < places.size(); ++axis) {
      if (places[axis] == Dim(1)) continue;
      std::size_t at = 0;  // the same axis in the skew
      while (at <= row &&
             !(pairs->shape[at] == places[axis] && pairs->strides[at] == framed->strides[axis])) {
        ++at;
      }
      const bool is_row = axis == (rows ? 2U : 3U);
      if (at > row || is_row != (at == row) || ahead->strides[at] != wanted[axis]) return fail(odd);
    }
    const bool in_steps_of_one = framed->strides[rows ? 4 : 5] == (extent > 1 ? 1 : 0) &&
                                 ahead->strides.back() == (wide > 1 ? 1 : 0);
    if (!in_steps_of_one || !(skew.operand(0).shape().back() == Dim(wide)) ||
        !(element_count(ahead->base.shape()) == element_count(skew.operand(0).shape()))) {
      return fail(odd);
    }
    for (Value at = part; at != ahead->base; at = at.node->operand(0)) {
      if (!read_once(at)) return false;
    }
    if (!read_once(ahead->base)) return false;
    table.reversed = skew.attributes().text("distance") == "j-i";
    const bool reversed = table.reversed;
    const bool good = read_table(*ahead->base.node, tokens, table, factor);
    table.reversed = reversed;
    return good;
  }

  bool finish() {
    if (!s_.query) return fail("no product of queries and keys is among the scores");
    if (query_seen_ && !(*query_seen_ == *s_.query)) {
      return fail("relative positions are of other queries than the scores");
    }
    if (key_seen_ && !(*key_seen_ == *s_.key)) {
      return fail("relative positions are of other keys than the scores");
    }
    return true;
  }

  const Graph& graph_;
  Scores& s_;
  std::string reason_;
  bool in_clamp_ = false;
  Factor behind_norm_;                           // of the part that is read
  std::optional<Tokens> query_seen_, key_seen_;  // what the tables are multiplied with
};

}  // namespace

bool has_product(Value value) {
  std::map<const Node*, bool> known;
  return has_product(value, known);
}

std::string read_scores(const Graph& graph, Node* softmax, Scores& scores) {
  return ScoreReader(graph, scores).run(softmax);
}

}  // namespace facet::attention
