#include <vector>

#include "ir/ops/families.h"
#include "ir/ops/gradients.h"
#include "ir/ops/sdpa_plain.h"

// score_moments and score_moments_bwd in plain ops, without a value as large as the scores. Moments
// are sums over pairs of tokens, and come apart:
//
//   content   sum_ij q_i.k_j     = (sum_i q_i) . (sum_j k_j)
//             sum_ij (q_i.k_j)^2 = <sum_i q_i q_i^T, sum_j k_j k_j^T>      d x d per image and head
//   places    sum_ij t_i.R_p     = sum_i t_i . w_i        w_i = sum of the rows p that token i sees
//             sum_ij (t_i.R_p)^2 = sum_i t_i^T W_i t_i    W_i = sum of R_p R_p^T over them
//
// For N images and G heads of d channels that is 4 N G K d^2 flops for the content and 2 N G K d^2
// for the places, beside 2 K (2 K - 1) d^2 once a table, where scores take 2 N G K^2 d a part. The
// gradients are products of the same matrices: with S = a s + b (ir/sdpa.h)
//
//   content   dq_i = a (sum_j k_j k_j^T) q_i + b sum_j k_j
//   places    dt_i = a W_i t_i + b w_i
//             dR_p = (sum of A_i over the tokens i that see p) R_p + (sum of b t_i over them)
//             A_i  = sum over images and heads of a t_i t_i^T
//
// Every sum is an f32 one whatever the precision: products of full precision, then f32 sums.

namespace facet::ops {
namespace {

/// Tokens times a table of places: [tokens, heads, images, d], and which rows each token sees.
struct Places {
  Value by_token;      ///< [tokens, heads * images, d]
  Value table;         ///< [rows, d]
  Value visible;       ///< 0 or 1, [tokens, rows]
  Value seen;          ///< w [tokens, d, 1]
  Value seen_squares;  ///< W [tokens, d, d]
  Value half;          ///< W t [tokens, heads * images, d]
  std::int64_t tokens = 0, rows = 0;
};

class PlainMoments : protected SdpaPlain {
 public:
  PlainMoments(Builder& build, Node& node, Sdpa sdpa, int first)
      : SdpaPlain(build, node, std::move(sdpa), first), images_(extra(0).shape()[0].factor) {}

  /// {means, variances}.
  std::vector<Value> run() {
    const std::int64_t pairs = images_ * s_.queries * s_.keys;
    content(pairs);
    if (s_.has_query_places()) places(query_places(), pairs);
    if (s_.relative_key >= 0) places(key_places(), pairs);
    return {stacked(means_), stacked(variances_)};
  }

 protected:
  /// Of a low dtype: in f32, as all that follows.
  Value wide(Value x) {
    const bool is_low = x.dtype() == DType::bf16 || x.dtype() == DType::f16;
    return is_low ? build_("cast", {x}, {{"dtype", std::string("f32")}}) : x;
  }
  Value exact(Value a, bool transpose_a, Value b, bool transpose_b) {
    return build_(
        "matmul", {a, b},
        {{"transpose_a", transpose_a}, {"transpose_b", transpose_b}, {"full_precision", true}});
  }
  Value mul(Value a, Value b) { return build_("mul", {a, b}); }
  Value add(Value a, Value b) { return build_("add", {a, b}); }
  Value sum(Value x, Ints axes, bool keeps = false) {
    return build_("reduce_sum", {x}, {{"axes", std::move(axes)}, {"keepdims", keeps}});
  }
  /// By a count, which an f32 constant holds exactly where it does not hold its inverse.
  Value over(Value x, std::int64_t count) {
    return build_("div", {x, build_.scalar(static_cast<double>(count))});
  }
  Value constant(std::vector<std::int64_t> shape, const std::vector<float>& values) {
    return build_("constant", {}, {{"value", HostTensor::from_floats(std::move(shape), values)}});
  }
  Value ones(std::int64_t rows, std::int64_t columns) {
    return constant({rows, columns},
                    std::vector<float>(static_cast<std::size_t>(rows * columns), 1));
  }

  /// Tokens are rows with channels last, else columns.
  bool last() const { return s_.channels_last; }
  /// sum over tokens, [N, heads, 1, d] or [N, heads, d, 1].
  Value token_sum(Value x, std::int64_t tokens) {
    return last() ? exact(ones(1, tokens), false, x, false)
                  : exact(x, false, ones(tokens, 1), false);
  }
  /// sum over tokens of x x^T, [N, heads, d, d].
  Value gram(Value x) { return exact(x, last(), x, !last()); }

  Places query_places() {
    if (s_.relative_height >= 0) return on_map();
    // Query i sees row i - j + keys - 1 for every key j.
    return seen_by(wide(query()), s_.queries, extra(s_.relative_query), s_.distances(),
                   [&](std::int64_t i, std::int64_t row) { return row >= i && row < i + s_.keys; });
  }
  Places key_places() {
    return seen_by(wide(key()), s_.keys, extra(s_.relative_key), s_.distances(),
                   [&](std::int64_t j, std::int64_t row) {
                     const std::int64_t i = row + j - (s_.keys - 1);
                     return i >= 0 && i < s_.queries;
                   });
  }

 private:
  /// Every row of heights with every row of widths is one row of a table of places.
  Places on_map() {
    const std::int64_t down = 2 * s_.height - 1, right = 2 * s_.width - 1, d = s_.query.size;
    const Value table = reshape(
        add(reshape(wide(extra(s_.relative_height)), {down, 1, d}), wide(extra(s_.relative_width))),
        {down * right, d});
    return seen_by(
        wide(query()), s_.queries, table, down * right, [&](std::int64_t i, std::int64_t row) {
          const std::int64_t y = row / right - i / s_.width, x = row % right - i % s_.width;
          return y >= 0 && y < s_.height && x >= 0 && x < s_.width;
        });
  }

  template <class Sees>
  Places seen_by(Value x, std::int64_t tokens, Value table, std::int64_t rows, const Sees& sees) {
    std::vector<float> values;
    values.reserve(static_cast<std::size_t>(tokens * rows));
    for (std::int64_t token = 0; token < tokens; ++token) {
      for (std::int64_t row = 0; row < rows; ++row) values.push_back(sees(token, row) ? 1 : 0);
    }
    const std::int64_t d = s_.query.size;
    Places p;
    p.tokens = tokens;
    p.rows = rows;
    table = p.table = wide(table);
    p.visible = constant({tokens, rows}, values);
    p.by_token = reshape(transpose(x, last() ? Ints{2, 1, 0, 3} : Ints{3, 1, 0, 2}),
                         {tokens, s_.heads * images_, d});
    p.seen = reshape(exact(p.visible, false, table, false), {tokens, d, 1});
    const Value squares = mul(reshape(table, {rows, d, 1}), reshape(table, {rows, 1, d}));
    p.seen_squares =
        reshape(exact(p.visible, false, reshape(squares, {rows, d * d}), false), {tokens, d, d});
    p.half = exact(p.by_token, false, p.seen_squares, false);
    return p;
  }

  void content(std::int64_t pairs) {
    const Value q = wide(query()), k = wide(key());
    const Value sums = sum(mul(token_sum(q, s_.queries), token_sum(k, s_.keys)), {0, 2, 3});
    moments(sums, sum(mul(gram(q), gram(k)), {0, 2, 3}), pairs);
  }

  void places(const Places& p, std::int64_t pairs) {
    const Value sums =
        reshape(exact(p.by_token, false, p.seen, false), {p.tokens, s_.heads, images_});
    // One product for each token and head: the f32 sum of what may be bf16 on the left.
    const Ints lines{p.tokens, s_.heads, 1, images_ * s_.query.size};
    const Value squares = exact(reshape(p.by_token, lines), false, reshape(p.half, lines), true);
    moments(sum(sums, {0, 2}), sum(squares, {0, 2, 3}), pairs);
  }

  /// From sums over `pairs` elements a head.
  void moments(Value sum, Value sum_of_squares, std::int64_t pairs) {
    const Value mean = over(sum, pairs);
    means_.push_back(mean);
    variances_.push_back(build_("sub", {over(sum_of_squares, pairs), mul(mean, mean)}));
  }

  Value stacked(std::vector<Value> rows) {
    for (Value& row : rows) row = reshape(row, {1, s_.heads});
    return rows.size() == 1 ? rows[0] : build_("concat", rows, {{"axis", std::int64_t{0}}});
  }

 protected:
  std::int64_t images_;

 private:
  std::vector<Value> means_, variances_;
};

class PlainMomentsBackward : PlainMoments {
 public:
  PlainMomentsBackward(Builder& build, Node& node)
      : PlainMoments(build, node, score_moments_bwd_of(node).sdpa, 3),
        b_(score_moments_bwd_of(node)) {}

  std::vector<Value> run() {
    results_.resize(static_cast<std::size_t>(node_.result_count()));
    const std::int64_t pairs = images_ * s_.queries * s_.keys;
    const Value twice = add(node_.operand(1), node_.operand(1));
    factors_ = over(twice, pairs);
    shares_ = over(build_("sub", {node_.operand(0), mul(twice, node_.operand(2))}), pairs);
    const Value q = wide(query()), k = wide(key());
    dq_ = content(q, k, s_.keys);
    dk_ = content(k, q, s_.queries);
    std::int64_t part = 1;
    if (s_.has_query_places()) places(query_places(), part++, dq_, b_.relative_query);
    if (s_.relative_key >= 0) places(key_places(), part, dk_, b_.relative_key);
    const Shape& shape = extra(0).shape();
    const bool is_side_by_side = b_.packed && s_.query.step == s_.key.step &&
                                 start_of(s_.query, shape) == start_of(s_.key, shape);
    if (is_side_by_side) {  // one value of the operand's shape, not a sum of two
      const Value both = add(to_steps(dq_, s_.query, shape), to_steps(dk_, s_.key, shape));
      set(b_.query, steps_to_operand(both, s_.query, s_.queries, shape));
    } else {
      place(b_.query, dq_, s_.query, s_.queries, 0);
      place(b_.key, dk_, s_.key, s_.keys, 1);
    }
    return results_;
  }

 private:
  /// Row `part` of factors or shares, by head.
  Value row(Value of, std::int64_t part, Ints shape) {
    return reshape(slice(of, 0, part, 1), std::move(shape));
  }

  /// a (sum of y y^T) x + b sum of y, by token as x.
  Value content(Value x, Value y, std::int64_t tokens) {
    const Value a = row(factors_, 0, {1, s_.heads, 1, 1}), b = row(shares_, 0, {1, s_.heads, 1, 1});
    const Value matrix = mul(gram(y), a);
    const Value product = last() ? exact(x, false, matrix, false) : exact(matrix, false, x, false);
    return add(product, mul(token_sum(y, tokens), b));
  }

  void places(const Places& p, std::int64_t part, Value& of_tokens, int result) {
    const std::int64_t d = s_.query.size;
    const Value a = row(factors_, part, {1, s_.heads, 1, 1});
    const Value b = row(shares_, part, {1, s_.heads, 1, 1});
    const Ints by_head{p.tokens, s_.heads, images_, d}, flat{p.tokens, s_.heads * images_, d};
    const Value own =
        add(mul(reshape(p.half, by_head), a), mul(reshape(p.seen, {p.tokens, 1, 1, d}), b));
    of_tokens = add(of_tokens, transpose(own, last() ? Ints{2, 1, 0, 3} : Ints{2, 1, 3, 0}));
    const Value scaled = reshape(mul(reshape(p.by_token, by_head), a), flat);
    const Value squares = reshape(exact(scaled, true, p.by_token, false), {p.tokens, d * d});
    const Value matrices = reshape(exact(p.visible, true, squares, false), {p.rows, d, d});
    const Value weights = reshape(
        expand_to(build_, reshape(b, {1, s_.heads, 1}), {Dim(1), Dim(s_.heads), Dim(images_)}),
        {1, 1, s_.heads * images_});
    const Value sums = reshape(exact(weights, false, p.by_token, false), {p.tokens, d});
    const Value of_table =
        add(reshape(exact(matrices, false, reshape(p.table, {p.rows, d, 1}), false), {p.rows, d}),
            exact(p.visible, true, sums, false));
    if (s_.relative_height < 0 || part != 1) return set(result, of_table);
    const Value on_map = reshape(of_table, {2 * s_.height - 1, 2 * s_.width - 1, d});
    set(b_.relative_height, sum(on_map, {1}));
    set(b_.relative_width, sum(on_map, {0}));
  }

  void set(int result, Value value) {
    Value& at = results_[static_cast<std::size_t>(result)];
    if (at) value = add(at, value);
    at = cast_like(build_, value, node_.result(result));
  }

  /// The way of SdpaPlain::by_head, back to the shape of the operand.
  void place(int result, Value x, const HeadChannels& heads, std::int64_t tokens, int operand) {
    set(result, to_operand(x, heads, tokens, extra(operand).shape()));
  }

  SdpaBwd b_;
  std::vector<Value> results_;
  Value factors_, shares_, dq_, dk_;
};

}  // namespace

std::vector<Value> decompose_score_moments(Builder& build, Node& node) {
  return PlainMoments(build, node, score_moments_of(node), 0).run();
}

std::vector<Value> decompose_score_moments_bwd(Builder& build, Node& node) {
  return PlainMomentsBackward(build, node).run();
}

}  // namespace facet::ops
