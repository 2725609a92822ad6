#include <algorithm>

#include "ir/ops/sdpa_plain.h"

namespace facet::ops {

double sdpa_products(const Sdpa& s, Value query) {
  std::int64_t per_pair = (s.relative_key >= 0 ? 2 : 1) * s.query.size + s.value.size;
  if (s.relative_query >= 0) per_pair += s.query.size;
  if (s.relative_value >= 0) per_pair += s.value.size;
  const std::int64_t map_rows = s.height > 0 ? 2 * s.height + 2 * s.width - 2 : 0;
  const auto images = static_cast<double>(query.shape()[0].factor);
  return 2 * images * static_cast<double>(s.heads * s.queries) *
         static_cast<double>(s.keys * per_pair + map_rows * s.query.size);
}

Value SdpaPlain::reshape(Value x, Ints shape) {
  return build_("reshape", {x}, {{"shape", std::move(shape)}});
}

Value SdpaPlain::transpose(Value x, Ints permutation) {
  return build_("transpose", {x}, {{"permutation", std::move(permutation)}});
}

Value SdpaPlain::slice(Value x, std::int64_t axis, std::int64_t start, std::int64_t count) {
  return build_("slice", {x}, {{"axis", axis}, {"start", start}, {"end", start + count}});
}

Value SdpaPlain::matmul(Value a, bool transpose_a, Value b, bool transpose_b) {
  return build_("matmul", {a, b}, {{"transpose_a", transpose_a}, {"transpose_b", transpose_b}});
}

Value SdpaPlain::skew(Value x, std::string distance) {
  return build_("skew", {x}, {{"distance", std::move(distance)}});
}

Value SdpaPlain::unskew(Value x, std::string distance) {
  return build_("unskew", {x}, {{"distance", std::move(distance)}});
}

/// First the channels that hold all steps, then the heads'.
Value SdpaPlain::by_head(Value x, const HeadChannels& place, std::int64_t tokens) {
  const bool last = s_.channels_last;
  if (!last && x.type().rank() != 3) x = reshape(x, {0, 0, tokens});
  const std::int64_t channels = (last ? x.shape().back() : x.shape()[1]).factor;
  const std::int64_t start = std::min(place.first, channels - s_.heads * place.step);
  x = slice(x, last ? 2 : 1, start, s_.heads * place.step);
  if (!last) {
    x = reshape(x, {0, s_.heads, place.step, tokens});
    return slice(x, 2, place.first - start, place.size);
  }
  x = transpose(reshape(x, {0, tokens, s_.heads, place.step}), {0, 2, 1, 3});
  return slice(x, 3, place.first - start, place.size);
}

Value SdpaPlain::padded(Value x, std::int64_t axis, std::int64_t before, std::int64_t after) {
  if (before == 0 && after == 0) return x;
  return build_("pad", {x}, {{"axis", axis}, {"before", before}, {"after", after}});
}

std::int64_t SdpaPlain::start_of(const HeadChannels& place, const Shape& shape) const {
  const std::int64_t channels = (s_.channels_last ? shape.back() : shape[1]).factor;
  return std::min(place.first, channels - s_.heads * place.step);
}

Value SdpaPlain::to_steps(Value x, const HeadChannels& place, const Shape& shape) {
  const std::int64_t before = place.first - start_of(place, shape);
  return padded(x, s_.channels_last ? 3 : 2, before, place.step - place.size - before);
}

Value SdpaPlain::steps_to_operand(Value x, const HeadChannels& place, std::int64_t tokens,
                                  const Shape& shape) {
  const bool last = s_.channels_last;
  const std::int64_t channels = (last ? shape.back() : shape[1]).factor;
  const std::int64_t start = start_of(place, shape), together = s_.heads * place.step;
  x = last ? reshape(transpose(x, {0, 2, 1, 3}), {0, tokens, together})
           : reshape(x, {0, together, tokens});
  x = padded(x, last ? 2 : 1, start, channels - start - together);
  return x.shape() == shape ? x : reshape(x, static_extents(shape));
}

Value SdpaPlain::to_operand(Value x, const HeadChannels& place, std::int64_t tokens,
                            const Shape& shape) {
  return steps_to_operand(to_steps(x, place, shape), place, tokens, shape);
}

/// q . table for every query (or key) and row of the table, [N, heads, tokens, rows].
Value SdpaPlain::against_table(Value x, int table) {
  return matmul(x, !s_.channels_last, extra(table), true);
}

/// Places of the query on a map. One axis at a time is next to the distances.
Value SdpaPlain::map_places(Value q) {
  const std::int64_t h = s_.height, w = s_.width;
  Value x = reshape(against_table(q, s_.relative_width), {0, 0, h, w, 2 * w - 1});
  x = reshape(skew(x, "i-j"), {0, 0, h * w, 1, w});
  Value y = reshape(against_table(q, s_.relative_height), {0, 0, h, w, 2 * h - 1});
  y = skew(transpose(y, {0, 1, 3, 2, 4}), "i-j");
  y = reshape(transpose(y, {0, 1, 3, 2, 4}), {0, 0, h * w, h, 1});
  return reshape(build_("add", {x, y}), {0, 0, h * w, h * w});
}

std::vector<Value> SdpaPlain::parts(Value q, Value k) {
  const bool last = s_.channels_last;
  std::vector<Value> list{matmul(q, !last, k, last)};
  if (s_.relative_query >= 0) list.push_back(skew(against_table(q, s_.relative_query), "i-j"));
  if (s_.relative_height >= 0) list.push_back(map_places(q));
  if (s_.relative_key >= 0) {  // the rows are keys here, so i - j is column minus row
    const Value by_key = skew(against_table(k, s_.relative_key), "j-i");
    list.push_back(transpose(by_key, {0, 1, 3, 2}));
  }
  return list;
}

Value SdpaPlain::score_scale(std::size_t part) {
  const Value row = slice(extra(s_.score_scale), 0, static_cast<std::int64_t>(part), 1);
  return reshape(row, {1, s_.heads, 1, 1});
}

Value SdpaPlain::sum(const std::vector<Value>& parts) {
  Value sum;
  for (std::size_t t = 0; t < parts.size(); ++t) {
    Value term = parts[t];
    if (s_.score_scale >= 0) term = build_("mul", {term, score_scale(t)});
    sum = t == 0 ? term : build_("add", {sum, term});
  }
  return s_.scale != 1 ? build_("mul", {sum, build_.scalar(s_.scale)}) : sum;
}

Value SdpaPlain::scores(const std::vector<Value>& parts) {
  Value sum = this->sum(parts);
  if (s_.clamp) {
    sum = build_("clamp", {sum}, {{"min", s_.clamp->first}, {"max", s_.clamp->second}});
  }
  return s_.bias >= 0 ? build_("add", {sum, extra(s_.bias)}) : sum;
}

Value SdpaPlain::weights(Value scores) {
  return build_("softmax", {scores}, {{"axis", std::int64_t{-1}}});
}

}  // namespace facet::ops
