#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ir/op.h"

// What fuse-attention finds around a softmax, before it is written down as one sdpa. Nothing is
// built while it is read, so that a refusal leaves no trace.
namespace facet::attention {

/// An operand of a matrix product as tokens of heads: element [n, g, token, c] is element offset +
/// n * strides[0] + g * strides[1] + token * strides[2] + c * strides[3] of `base`.
struct Tokens {
  Value base;
  Dim batch = 1;
  std::int64_t heads = 1;
  std::int64_t tokens = 0;
  std::int64_t size = 0;  ///< channels of a head
  Ints strides;
  std::int64_t offset = 0;
  friend bool operator==(const Tokens&, const Tokens&) = default;
};

/// The operand [N, heads, tokens, size] or [N, tokens, size] (without `channels_last` its last two
/// axes are swapped) through reshapes, transposes and slices; with `factor` also through products
/// with constant numbers, whose product it becomes. None if extents are symbolic or the rank fits
/// not.
std::optional<Tokens> tokens_of(Value operand, bool channels_last, double* factor = nullptr);

/// A table of relative positions as the network has it.
struct Table {
  Value value;  ///< [1..., distances, d]; [1..., d, distances] if transposed
  bool transposed = false;
  bool reversed = false;  ///< it counts key minus query where sdpa counts query minus key
};

/// What multiplies a part of the scores.
struct Factor {
  double number = 1;
  std::vector<Value> per_head;     ///< prepared: one number, or one for each head
  std::vector<const Node*> norms;  ///< batch norms over heads: their scales
  /// In training: the batch_norm_train that normalises this part with statistics of its own, and
  /// the first of its channels, one a head. What multiplies the part stands behind it.
  Node* trained = nullptr;
  std::int64_t first_channel = 0;
};

/// A value added to the scores, with what multiplies it.
struct Bias {
  Value value;
  bool without_heads = false;  ///< [N, queries, keys] or what broadcasts to it with three axes
  Factor factor;
};

/// Everything ahead of the softmax.
struct Scores {
  /// Ahead of differentiation: batch norms have statistics of the batch (batch_norm_train), and
  /// what stands behind the products stays there.
  bool training = false;
  Node* softmax = nullptr;
  Dim batch = 1;
  std::int64_t heads = 1, queries = 0, keys = 0;
  std::int64_t height = 0, width = 0;  ///< of the map, with tables of rows and columns
  std::optional<std::pair<double, double>> clamp;
  std::optional<Tokens> query, key;
  std::optional<Table> relative_query, relative_key, relative_height, relative_width;
  Factor content, query_places, key_places;
  std::vector<Bias> biases;
};

/// Whether a product of matrices that is no weight leads to the value without a conv or linear in
/// between: then a softmax of it may be attention.
bool has_product(Value value);

/// Reads the scores of `softmax`, whose `training` is set. Returns why they are not those of an
/// sdpa; empty if they are.
std::string read_scores(const Graph& graph, Node* softmax, Scores& scores);

/// One scale or shift per channel behind the weighted values.
struct ChannelStep {
  enum class Kind { batch_norm, scale, shift } kind = Kind::scale;
  const Node* node = nullptr;
  Value value;  ///< of scale and shift: one number, or one for each channel
};

/// Everything behind the softmax.
struct Mixed {
  Tokens value;
  std::optional<Table> relative_value;
  Value product;  ///< of weights and values
  bool product_channels_last = false;
  std::vector<ChannelStep> content, places;  ///< steps before both are added
  std::vector<ChannelStep> joint;            ///< steps behind the sum
  Value end;                                 ///< what the sdpa replaces
  bool aligned = false;      ///< `end` has the order of an sdpa's result; otherwise it is `product`
  bool interleaved = false;  ///< `end` has the channels of content and places in turn
};

/// Reads the products of the weights, values and their tables. Returns why they do not fit, or "".
std::string read_products(const Graph& graph, const Scores& scores, Mixed& mixed);
/// Reads on behind the products, for an sdpa whose result has its channels last or not.
std::string read_results(const Graph& graph, const Scores& scores, bool channels_last,
                         Mixed& mixed);

/// Whether the heads of queries, keys and values lie in the channels of [N, tokens, channels], or
/// (false) of [N, channels, tokens...]. None if neither fits all of them.
std::optional<bool> channels_last_of(const Scores& scores, const Mixed& mixed);
/// Writes what was read as one sdpa ahead of `mixed.end`. Returns the value that replaces it, and
/// the sdpa itself.
Value write_sdpa(Graph& graph, const Scores& scores, const Mixed& mixed, bool channels_last,
                 Provenance provenance, Node*& sdpa);

/// The mean and the biased variance of a part of the scores over images and pairs of tokens,
/// [heads].
struct Moments {
  Value mean, variance;
};
/// The node that alone reads the value; null if there are several, or the value is an output.
Node* only_reader(const Graph& graph, Value value);
/// Whether `value`, broadcast to `whole`, varies along no axis but `axis`.
bool varies_along(Value value, const Shape& whole, std::size_t axis);
/// Whether `table` times tokens or spread weights is a product with a [rows, columns] parameter
/// that all heads share. Returns why not, or "".
std::string table_refusal(const Table& table);

}  // namespace facet::attention
