#include "ir/sdpa.h"

#include "ir/ops/families.h"
#include "ir/ops/gradients.h"
#include "ir/ops/sdpa_plain.h"

// sdpa: scaled dot-product attention with everything that stands around it in the networks, so that
// no score matrix goes to memory. The formula is at the top of ir/sdpa.h.

namespace facet::ops {
namespace {

std::vector<Type> infer_sdpa(const InferContext& context) {
  const Sdpa sdpa = parse_sdpa(context.attributes, context.operands);
  Type result = context.operand(0);
  result.dtype = result_dtype(context);
  (sdpa.channels_last ? result.shape.back() : result.shape[1]) = sdpa.result_channels();
  if (!sdpa.keeps_weights) return {result};
  const Shape pairs{result.shape[0], sdpa.heads, sdpa.queries, sdpa.keys};
  return {result, Type{result.dtype, pairs, {}}};
}

/// The result in plain ops.
class Plain : SdpaPlain {
 public:
  Plain(Builder& build, Node& node) : SdpaPlain(build, node, sdpa_of(node), 0) {}

  std::vector<Value> run() {
    const Value weights = this->weights(scores(parts(query(), key())));
    std::vector<Value> results{result(weights)};
    if (s_.keeps_weights) results.push_back(cast_like(build_, weights, node_.result(1)));
    return results;
  }

 private:
  Value result(Value weights) {
    Value y = by_channel(mix(weights, value()));
    if (s_.interleaved) return image(interleaved(y, places(weights)));
    y = scaled_output(y, 0);
    if (s_.relative_value >= 0) y = build_("add", {y, scaled_output(places(weights), 1)});
    if (s_.output_shift >= 0) y = build_("add", {y, per_channel(extra(s_.output_shift))});
    return image(y);
  }
  Value places(Value weights) {
    const Value spread = unskew(weights, "i-j");
    const Value table = extra(s_.relative_value);
    return by_channel(s_.channels_last ? matmul(spread, false, table, false)
                                       : matmul(table, true, spread, true));
  }
  /// sum_j weights[i, j] v[j], by token.
  Value mix(Value weights, Value v) {
    return s_.channels_last ? matmul(weights, false, v, false) : matmul(v, false, weights, true);
  }
  /// By token -> [N, tokens, channels] or [N, channels, tokens].
  Value by_channel(Value y) {
    if (!s_.channels_last) return reshape(y, {0, s_.channels(), s_.queries});
    return reshape(transpose(y, {0, 2, 1, 3}), {0, s_.queries, s_.channels()});
  }
  /// Channels a and b in turn.
  Value interleaved(Value a, Value b) {
    const bool last = s_.channels_last;
    const Ints apart =
        last ? Ints{0, s_.queries, s_.channels(), 1} : Ints{0, s_.channels(), 1, s_.queries};
    a = as_result(build_, node_, reshape(a, apart));  // a concat takes one dtype
    b = as_result(build_, node_, reshape(b, apart));
    const Value both = build_("concat", {a, b}, {{"axis", std::int64_t{last ? 3 : 2}}});
    return reshape(both, last ? Ints{0, s_.queries, s_.result_channels()}
                              : Ints{0, s_.result_channels(), s_.queries});
  }
  Value per_channel(Value x) {
    return reshape(x, s_.channels_last ? Ints{s_.channels()} : Ints{s_.channels(), 1});
  }
  Value scaled_output(Value y, std::int64_t row) {
    if (s_.output_scale < 0) return y;
    return build_("mul", {y, per_channel(slice(extra(s_.output_scale), 0, row, 1))});
  }
  Value image(Value y) {
    if (s_.channels_last) return y;
    Ints shape{0};
    for (const Dim& dim : node_.result_types()[0].shape) shape.push_back(dim.factor);
    shape.erase(shape.begin() + 1);
    return reshape(y, shape);
  }
};

std::vector<Value> decompose_sdpa(Builder& build, Node& node) { return Plain(build, node).run(); }

/// Products of scores and outputs, one for every pair of tokens.
double sdpa_flops(const Node& node) { return sdpa_products(sdpa_of(node), node.operand(0)); }

Attributes sdpa_attributes(std::int64_t heads, Ints query, Ints key, Ints value,
                           std::int64_t channel_axis, Strings extras = {}) {
  return {{"heads", heads},
          {"query", std::move(query)},
          {"key", std::move(key)},
          {"value", std::move(value)},
          {"channel_axis", channel_axis},
          {"extras", std::move(extras)}};
}

std::vector<Sample> samples_of_sdpa() {
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
  // Content and places apart, in maps and in rows.
  const auto apart = [&](std::vector<Type> operands, std::int64_t axis, bool with_key) {
    Strings extras{"relative_value"};
    operands.push_back(f32({23, 8}));
    if (with_key) {
      extras = {"score_scale", "relative_query", "relative_key", "relative_value"};
      operands.insert(operands.end() - 1, {f32({3, 2}), f32({23, 4}), f32({23, 4})});
    }
    Attributes attributes =
        sdpa_attributes(2, {0, 16, 4}, {4, 16, 4}, {8, 16, 8}, axis, std::move(extras));
    attributes.set("interleaved", true);
    add(std::move(operands), attributes);
  };
  apart({map, map, map}, 1, true);
  apart({rows, rows, rows}, -1, false);
  return samples;
}

}  // namespace

std::vector<AttributeSpec> sdpa_attribute_specs(std::vector<AttributeSpec> more) {
  std::vector<AttributeSpec> list{{"heads", std::int64_t{1}, true},
                                  {"query", Ints{}, true},
                                  {"key", Ints{}, true},
                                  {"value", Ints{}, true},
                                  {"channel_axis", std::int64_t{1}},
                                  {"scale", 1.0},
                                  {"clamp", Doubles{}},
                                  {"map", Ints{}},
                                  {"interleaved", false},
                                  {"weights", false},
                                  {"extras", Strings{}}};
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

std::vector<Sample> sdpa_samples() { return samples_of_sdpa(); }

OpDef sdpa_op() {
  return OpDef{
      .name = "sdpa",
      .doc =
          "Attention of heads that lie in q, k, v [N, C, tokens...] or [N, tokens, C]: query, key "
          "and value are {first channel, step, size} of the heads, extras name the operands "
          "behind v: tables of distances, scales, a bias. An interleaved result keeps what comes "
          "from "
          "v and from relative_value in channels 2c and 2c + 1; one that keeps its weights gives "
          "them as a second result. The formula is in ir/sdpa.h.",
      .signature = Signature({"q", "k", "v", "extras..."}, {"y", "weights..."}),
      .attributes = sdpa_attribute_specs(),
      .infer = infer_sdpa,
      .gradient = Gradient::rule(sdpa_gradient),
      .layout = LayoutRole::compute,
      .aliasing = Aliasing::fresh,
      .precision = PrecisionPolicy::low,
      .decomposition = Decomposition::rule(decompose_sdpa),
      .cost = Cost::compute(sdpa_flops),
      .onnx = OnnxMapping::decomposed(),
      .samples = Samples::cases(sdpa_samples)};
}

}  // namespace facet::ops
