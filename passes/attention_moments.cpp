#include "ir/op.h"
#include "passes/attention.h"

// Mean and variance of parts of attention scores, without the scores.
//
// A batch norm of the scores in training needs both over N images and I x J pairs of tokens. They
// are sums over pairs, and come apart:
//
//   content   sum_ij q_i.k_j     = (sum_i q_i) . (sum_j k_j)
//             sum_ij (q_i.k_j)^2 = <sum_i q_i q_i^T, sum_j k_j k_j^T>          d x d per image and
//             head
//   places    sum_ij t_i.R_p     = sum_i t_i . w_i        w_i = sum of the rows p that token i sees
//             sum_ij (t_i.R_p)^2 = sum_i t_i^T W_i t_i    W_i = sum of R_p R_p^T over them
//
// For N images and G heads of d channels that is 4 N G K d^2 flops for the content and 2 N G K d^2
// for the places, beside 2 K (2 K - 1) d^2 once a table, where scores take 2 N G K^2 d a part: as
// many at K = 196, d = 64, N = 16, fewer with larger batches or smaller heads. What goes to memory
// is N G K d (as large as the queries) where the scores are N G K^2 each; and plain ops have their
// gradients already, while an op that made the scores again block by block would need a kernel of
// its own for them on every target.
//
// Every sum is an f32 one whatever the precision: products of full precision, then f32 sums.

namespace facet::attention {
namespace {

class MomentWriter {
 public:
  explicit MomentWriter(Builder& build) : build_(build) {}

  Value reshape(Value x, Ints shape) {
    return build_("reshape", {x}, {{"shape", std::move(shape)}});
  }
  Value transpose(Value x, Ints permutation) {
    return build_("transpose", {x}, {{"permutation", std::move(permutation)}});
  }
  Value matmul(Value a, bool transpose_a, Value b, bool transpose_b) {
    return build_(
        "matmul", {a, b},
        {{"transpose_a", transpose_a}, {"transpose_b", transpose_b}, {"full_precision", true}});
  }
  Value sum(Value x, Ints axes) {
    return build_("reduce_sum", {x}, {{"axes", std::move(axes)}, {"keepdims", false}});
  }
  /// By a count, which an f32 constant holds exactly where it does not hold its inverse.
  Value over(Value x, std::int64_t count) {
    return build_("div", {x, build_.scalar(static_cast<double>(count))});
  }
  Value constant(std::vector<std::int64_t> shape, const std::vector<float>& values) {
    return build_("constant", {}, {{"value", HostTensor::from_floats(std::move(shape), values)}});
  }

  /// [N, heads, ...] of an operand that may have no axis of heads.
  Value with_heads(Value x) {
    if (x.type().rank() == 4) return x;
    return reshape(x, {x.shape()[0].factor, 1, x.shape()[1].factor, x.shape()[2].factor});
  }

  /// From sums over `count` elements a head.
  Moments moments(Value sum, Value sum_of_squares, std::int64_t count) {
    const Value mean = over(sum, count);
    return {mean, build_("sub", {over(sum_of_squares, count), build_("mul", {mean, mean})})};
  }

  /// 0 or 1 for every token and row of a table.
  template <class Sees>
  Value visible(std::int64_t tokens, std::int64_t rows, const Sees& sees) {
    std::vector<float> values;
    values.reserve(static_cast<std::size_t>(tokens * rows));
    for (std::int64_t token = 0; token < tokens; ++token) {
      for (std::int64_t row = 0; row < rows; ++row) values.push_back(sees(token, row) ? 1 : 0);
    }
    return constant({tokens, rows}, values);
  }

 private:
  Builder& build_;
};

}  // namespace

Moments content_moments(Builder& build, const ProductOperand& query, const ProductOperand& key) {
  MomentWriter write(build);
  std::int64_t count = 1;
  std::vector<Value> sums, squares;
  for (const ProductOperand& operand : {query, key}) {
    const Value x = write.with_heads(operand.value);
    const std::int64_t tokens = x.shape()[operand.channels_last ? 2 : 3].factor;
    count *= tokens;
    const Value ones =
        write.constant({tokens, 1}, std::vector<float>(static_cast<std::size_t>(tokens), 1));
    sums.push_back(write.matmul(x, operand.channels_last, ones, false));
    squares.push_back(write.matmul(x, operand.channels_last, x, !operand.channels_last));
  }
  count *= query.value.shape()[0].factor;
  const auto over = [&](const std::vector<Value>& pair) {
    return write.sum(build("mul", {pair[0], pair[1]}), {0, 2, 3});
  };
  const Value sum = over(sums);
  return write.moments(sum, over(squares), count);
}

Moments place_moments(Builder& build, const ProductOperand& tokens, const TableRows& rows,
                      std::int64_t others) {
  MomentWriter write(build);
  const Value x = write.with_heads(tokens.value);
  const std::int64_t images = x.shape()[0].factor, heads = x.shape()[1].factor;
  const std::int64_t channels = x.shape()[tokens.channels_last ? 3 : 2].factor;
  const std::int64_t count = x.shape()[tokens.channels_last ? 2 : 3].factor;
  const std::int64_t table_rows = rows.table.shape()[0].factor;
  // Token by token: [tokens, heads * images, channels].
  const Value by_token =
      write.reshape(write.transpose(x, tokens.channels_last ? Ints{2, 1, 0, 3} : Ints{3, 1, 0, 2}),
                    {count, heads * images, channels});
  const Value seen =
      write.reshape(write.matmul(rows.visible, false, rows.table, false), {count, channels, 1});
  const Value sums =
      write.reshape(write.matmul(by_token, false, seen, false), {count, heads, images});
  const Value squares = build("mul", {write.reshape(rows.table, {table_rows, channels, 1}),
                                      write.reshape(rows.table, {table_rows, 1, channels})});
  const Value seen_squares =
      write.reshape(write.matmul(rows.visible, false,
                                 write.reshape(squares, {table_rows, channels * channels}), false),
                    {count, channels, channels});
  const Value half = write.matmul(by_token, false, seen_squares, false);
  // One product for each token and head: the f32 sum of what may be bf16 on the left.
  const Ints lines{count, heads, 1, images * channels};
  const Value left = write.reshape(by_token, lines);
  const Value of_squares = write.matmul(left, false, write.reshape(half, lines), true);
  const Value sum = write.sum(sums, {0, 2});
  return write.moments(sum, write.sum(of_squares, {0, 2, 3}), images * count * others);
}

/// Query i sees row i - j + keys - 1 for every key j.
TableRows rows_of_query(Builder& build, Value table, const Scores& s) {
  const auto sees = [&](std::int64_t i, std::int64_t row) { return row >= i && row < i + s.keys; };
  return {table, MomentWriter(build).visible(s.queries, table.shape()[0].factor, sees)};
}

TableRows rows_of_key(Builder& build, Value table, const Scores& s) {
  const auto sees = [&](std::int64_t j, std::int64_t row) {
    const std::int64_t i = row + j - (s.keys - 1);
    return i >= 0 && i < s.queries;
  };
  return {table, MomentWriter(build).visible(s.keys, table.shape()[0].factor, sees)};
}

/// Every row of heights with every row of widths is one row of a table of places.
TableRows rows_of_map(Builder& build, Value heights, Value widths, const Scores& s) {
  MomentWriter write(build);
  const std::int64_t down = heights.shape()[0].factor, right = widths.shape()[0].factor;
  const std::int64_t channels = widths.shape()[1].factor;
  const Value table =
      write.reshape(build("add", {write.reshape(heights, {down, 1, channels}), widths}),
                    {down * right, channels});
  const auto sees = [&](std::int64_t i, std::int64_t row) {
    const std::int64_t y = row / right - i / s.width, x = row % right - i % s.width;
    return y >= 0 && y < s.height && x >= 0 && x < s.width;
  };
  return {table, write.visible(s.queries, down * right, sees)};
}

}  // namespace facet::attention
