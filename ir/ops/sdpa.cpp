#include "ir/sdpa.h"

#include "ir/ops/families.h"

// sdpa: scaled dot-product attention with everything that stands around it in the networks, so that
// no score matrix goes to memory. The formula is at the top of ir/sdpa.h.

namespace facet::ops {
namespace {

std::vector<Type> infer_sdpa(const InferContext& context) {
  const Sdpa sdpa = parse_sdpa(context.attributes, context.operands);
  Type result = context.operand(0);
  result.dtype = result_dtype(context);
  (sdpa.channels_last ? result.shape.back() : result.shape[1]) = sdpa.channels();
  return {result};
}

/// The parts of an sdpa in plain ops. Values "by token" are [N, heads, tokens, channels] with
/// channels last and [N, heads, channels, tokens] otherwise.
class Plain {
 public:
  Plain(Builder& build, Node& node) : build_(build), node_(node), s_(sdpa_of(node)) {}

  Value run() {
    const Value weights = build_("softmax", {scores()}, {{"axis", std::int64_t{-1}}});
    Value y = by_channel(mix(weights, by_head(2, s_.value, s_.keys)));
    y = scaled_output(y, 0);
    if (s_.relative_value >= 0) {
      const Value spread = build_("unskew", {weights}, {{"distance", std::string("i-j")}});
      const Value table = extra(s_.relative_value);
      const Value places =
          s_.channels_last ? build_("matmul", {spread, table}) : matmul(table, true, spread, true);
      y = build_("add", {y, scaled_output(by_channel(places), 1)});
    }
    if (s_.output_shift >= 0) {
      y = build_("add", {y, per_channel(extra(s_.output_shift))});
    }
    return s_.channels_last ? y : reshape(y, output_shape());
  }

 private:
  Value extra(int operand) { return node_.operand(operand); }
  Value reshape(Value x, Ints shape) {
    return build_("reshape", {x}, {{"shape", std::move(shape)}});
  }
  Value transpose(Value x, Ints permutation) {
    return build_("transpose", {x}, {{"permutation", std::move(permutation)}});
  }
  Value slice(Value x, std::int64_t axis, std::int64_t start, std::int64_t count) {
    return build_("slice", {x}, {{"axis", axis}, {"start", start}, {"end", start + count}});
  }
  Value matmul(Value a, bool transpose_a, Value b, bool transpose_b) {
    return build_("matmul", {a, b}, {{"transpose_a", transpose_a}, {"transpose_b", transpose_b}});
  }

  /// The heads of operand `i`, by token: first the channels that hold all steps, then the heads'.
  Value by_head(int operand, const HeadChannels& place, std::int64_t tokens) {
    Value x = node_.operand(operand);
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

  /// q . table for every query (or key) and row of the table, [N, heads, tokens, rows].
  Value against_table(Value x, int table) {
    return matmul(x, !s_.channels_last, extra(table), true);
  }
  Value skew(Value x, std::string distance) {
    return build_("skew", {x}, {{"distance", std::move(distance)}});
  }

  /// Places of the query on a map. One axis at a time is next to the distances.
  Value map_places(Value q) {
    const std::int64_t h = s_.height, w = s_.width;
    Value x = reshape(against_table(q, s_.relative_width), {0, 0, h, w, 2 * w - 1});
    x = reshape(skew(x, "i-j"), {0, 0, h * w, 1, w});
    Value y = reshape(against_table(q, s_.relative_height), {0, 0, h, w, 2 * h - 1});
    y = skew(transpose(y, {0, 1, 3, 2, 4}), "i-j");
    y = reshape(transpose(y, {0, 1, 3, 2, 4}), {0, 0, h * w, h, 1});
    return reshape(build_("add", {x, y}), {0, 0, h * w, h * w});
  }

  Value scores() {
    const Value q = by_head(0, s_.query, s_.queries);
    const Value k = by_head(1, s_.key, s_.keys);
    const bool last = s_.channels_last;
    std::vector<Value> terms{matmul(q, !last, k, last)};
    if (s_.relative_query >= 0) terms.push_back(skew(against_table(q, s_.relative_query), "i-j"));
    if (s_.relative_height >= 0) terms.push_back(map_places(q));
    if (s_.relative_key >= 0) {  // the rows are keys here, so i - j is column minus row
      const Value by_key = skew(against_table(k, s_.relative_key), "j-i");
      terms.push_back(transpose(by_key, {0, 1, 3, 2}));
    }
    Value sum;
    for (std::size_t t = 0; t < terms.size(); ++t) {
      Value term = terms[t];
      if (s_.score_scale >= 0) {
        const Value row = slice(extra(s_.score_scale), 0, static_cast<std::int64_t>(t), 1);
        term = build_("mul", {term, reshape(row, {1, s_.heads, 1, 1})});
      }
      sum = t == 0 ? term : build_("add", {sum, term});
    }
    if (s_.scale != 1) sum = build_("mul", {sum, build_.scalar(s_.scale)});
    if (s_.clamp) {
      sum = build_("clamp", {sum}, {{"min", s_.clamp->first}, {"max", s_.clamp->second}});
    }
    return s_.bias >= 0 ? build_("add", {sum, extra(s_.bias)}) : sum;
  }

  /// sum_j weights[i, j] v[j], by token.
  Value mix(Value weights, Value v) {
    return s_.channels_last ? build_("matmul", {weights, v}) : matmul(v, false, weights, true);
  }

  /// By token -> [N, tokens, channels] or [N, channels, tokens].
  Value by_channel(Value y) {
    if (!s_.channels_last) return reshape(y, {0, s_.channels(), s_.queries});
    return reshape(transpose(y, {0, 2, 1, 3}), {0, s_.queries, s_.channels()});
  }
  Value per_channel(Value x) {
    return reshape(x, s_.channels_last ? Ints{s_.channels()} : Ints{s_.channels(), 1});
  }
  Value scaled_output(Value y, std::int64_t row) {
    if (s_.output_scale < 0) return y;
    return build_("mul", {y, per_channel(slice(extra(s_.output_scale), 0, row, 1))});
  }
  Ints output_shape() {
    Ints shape{0};
    for (const Dim& dim : node_.result_types()[0].shape) shape.push_back(dim.factor);
    shape.erase(shape.begin() + 1);
    return shape;
  }

  Builder& build_;
  Node& node_;
  Sdpa s_;
};

std::vector<Value> decompose_sdpa(Builder& build, Node& node) { return {Plain(build, node).run()}; }

/// Products of scores and outputs, one for every pair of tokens.
double sdpa_flops(const Node& node) {
  const Sdpa s = sdpa_of(node);
  std::int64_t per_pair = (s.relative_key >= 0 ? 2 : 1) * s.query.size + s.value.size;
  if (s.relative_query >= 0) per_pair += s.query.size;
  if (s.relative_value >= 0) per_pair += s.value.size;
  const std::int64_t map_rows = s.height > 0 ? 2 * s.height + 2 * s.width - 2 : 0;
  const auto images = static_cast<double>(node.result_types()[0].shape[0].factor);
  return 2 * images * static_cast<double>(s.heads * s.queries) *
         static_cast<double>(s.keys * per_pair + map_rows * s.query.size);
}

Attributes sdpa_attributes(std::int64_t heads, Ints query, Ints key, Ints value,
                           std::int64_t channel_axis, Strings extras = {}) {
  return {{"heads", heads},
          {"query", std::move(query)},
          {"key", std::move(key)},
          {"value", std::move(value)},
          {"channel_axis", channel_axis},
          {"extras", std::move(extras)}};
}

std::vector<Sample> sdpa_samples() {
  std::vector<Sample> samples;
  const auto add = [&](std::vector<Type> operands, Attributes attributes) {
    samples.push_back({std::move(operands), std::move(attributes)});
  };
  // One clamped head on a map.
  Attributes clamped = sdpa_attributes(1, {0, 4, 4}, {0, 4, 4}, {0, 6, 6}, 1);
  clamped.set("clamp", Doubles{-0.5, 0.5});
  add({f32({2, 4, 3, 3}), f32({2, 4, 3, 3}), f32({2, 6, 3, 3})}, clamped);
  // Textbook heads, packed as q, k, v; with a bias for each head; few queries on many keys.
  const Type tokens = f32({2, 5, 24});
  Attributes packed = sdpa_attributes(2, {0, 4, 4}, {8, 4, 4}, {16, 4, 4}, -1);
  packed.set("scale", 0.5);
  add({tokens, tokens, tokens}, packed);
  packed.set("extras", Strings{"bias"});
  add({tokens, tokens, tokens, f32({1, 2, 5, 5})}, packed);
  add({f32({2, 3, 8}), f32({2, 7, 8}), f32({2, 7, 12}), f32({2, 1, 1, 7})},
      sdpa_attributes(2, {0, 4, 4}, {0, 4, 4}, {0, 6, 6}, -1, {"bias"}));
  // Tables of token distances, packed head by head; every part with a scale of its own.
  const Type map = f32({2, 32, 3, 4});
  add({map, map, map, f32({3, 2}), f32({23, 4}), f32({23, 4}), f32({23, 8}), f32({2, 16}),
       f32({16})},
      sdpa_attributes(2, {0, 16, 4}, {4, 16, 4}, {8, 16, 8}, 1,
                      {"score_scale", "relative_query", "relative_key", "relative_value",
                       "output_scale", "output_shift"}));
  add({f32({1, 8, 5}), f32({1, 8, 3}), f32({1, 8, 3}), f32({7, 4}), f32({7, 4}), f32({7, 3})},
      sdpa_attributes(2, {0, 4, 4}, {0, 4, 4}, {1, 4, 3}, 1,
                      {"relative_query", "relative_key", "relative_value"}));
  add({f32({2, 5, 4}), f32({2, 5, 4}), f32({2, 5, 4}), f32({9, 4}), f32({9, 4}), f32({4})},
      sdpa_attributes(1, {0, 4, 4}, {0, 4, 4}, {0, 4, 4}, -1,
                      {"relative_key", "relative_value", "output_shift"}));
  // Tables of rows and columns.
  Attributes on_map = sdpa_attributes(
      2, {0, 16, 4}, {4, 16, 4}, {8, 16, 8}, 1,
      {"score_scale", "relative_height", "relative_width", "output_scale", "output_shift"});
  on_map.set("map", Ints{3, 4});
  add({map, map, map, f32({2, 2}), f32({5, 4}), f32({7, 4}), f32({1, 16}), f32({16})}, on_map);
  on_map.set("extras", Strings{"relative_height", "relative_width", "bias"});
  on_map.set("channel_axis", std::int64_t{-1});
  const Type rows = f32({2, 12, 32});
  add({rows, rows, rows, f32({5, 4}), f32({7, 4}), f32({12, 12})}, on_map);
  return samples;
}

}  // namespace

OpDef sdpa_op() {
  return OpDef{
      .name = "sdpa",
      .doc =
          "Attention of heads that lie in q, k, v [N, C, tokens...] or [N, tokens, C]: query, key "
          "and value are {first channel, step, size} of the heads, extras name the operands "
          "behind v: tables of distances, scales, a bias. The formula is in ir/sdpa.h.",
      .signature = Signature({"q", "k", "v", "extras..."}, {"y"}),
      .attributes = {{"heads", std::int64_t{1}, true},
                     {"query", Ints{}, true},
                     {"key", Ints{}, true},
                     {"value", Ints{}, true},
                     {"channel_axis", std::int64_t{1}},
                     {"scale", 1.0},
                     {"clamp", Doubles{}},
                     {"map", Ints{}},
                     {"extras", Strings{}}},
      .infer = infer_sdpa,
      .gradient = Gradient::decomposed(),
      .layout = LayoutRole::compute,
      .aliasing = Aliasing::fresh,
      .precision = PrecisionPolicy::low,
      .decomposition = Decomposition::rule(decompose_sdpa),
      .cost = Cost::compute(sdpa_flops),
      .onnx = OnnxMapping::decomposed(),
      .samples = Samples::cases(sdpa_samples)};
}

}  // namespace facet::ops
