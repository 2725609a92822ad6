#include <algorithm>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"
#include "ir/ops/sdpa_plain.h"

// sdpa_bwd: the gradient of sdpa from its operands alone. Scores and weights are made again, so
// that nothing as large as they are is kept from the forward pass. The formula is in ir/sdpa.h.

namespace facet::ops {
namespace {

/// Gradients of parameters and scales are sums over the batch: f32 whatever the operands are.
Type wide(const Type& type) { return f32(type.shape); }

std::vector<Type> infer_sdpa_bwd(const InferContext& context) {
  require_floats(context);
  const SdpaBwd b = parse_sdpa_bwd(context.attributes, context.operands);
  const Sdpa& s = b.sdpa;
  std::vector<Type> results;
  for (std::size_t i = 1; i <= (b.packed ? 1U : 3U); ++i) {
    results.push_back(Type{context.operand(i).dtype, context.operand(i).shape, {}});
  }
  const auto add = [&](int result, int operand) {
    if (result >= 0)
      results.push_back(wide(context.operand(static_cast<std::size_t>(operand + 1))));
  };
  add(b.score_scale, s.score_scale);
  add(b.relative_query, s.relative_query);
  add(b.relative_key, s.relative_key);
  add(b.relative_height, s.relative_height);
  add(b.relative_width, s.relative_width);
  add(b.bias, s.bias);
  add(b.relative_value, s.relative_value);
  return results;
}

/// The gradients in plain ops.
class PlainBackward : SdpaPlain {
 public:
  PlainBackward(Builder& build, Node& node)
      : SdpaPlain(build, node, sdpa_bwd_of(node).sdpa, 1), b_(sdpa_bwd_of(node)) {}

  std::vector<Value> run() {
    results_.resize(static_cast<std::size_t>(node_.result_count()));
    q_ = query();
    k_ = key();
    const std::vector<Value> parts = this->parts(q_, k_);
    const Value weights =
        b_.weights >= 0 ? node_.operand(b_.weights) : this->weights(scores(parts));
    Value of_scores = build_("softmax_bwd", {values(weights), weights});
    if (b_.bias >= 0) set(b_.bias, sum_to(build_, of_scores, extra(s_.bias)));
    of_scores = unclamped(of_scores, parts);
    if (s_.scale != 1) of_scores = build_("mul", {of_scores, build_.scalar(s_.scale)});
    score_scales(of_scores, parts);
    std::size_t part = 0;
    content(scaled(of_scores, part++));
    if (s_.relative_query >= 0) {
      table_of_query(unskew(scaled(of_scores, part++), "i-j"), s_.relative_query,
                     b_.relative_query);
    }
    if (s_.relative_height >= 0) map(scaled(of_scores, part++));
    if (s_.relative_key >= 0) table_of_key(scaled(of_scores, part));
    place(b_.query, dq_, s_.query, s_.queries, 0);
    place(b_.key, dk_, s_.key, s_.keys, 1);
    place(b_.value, dv_, s_.value, s_.keys, 2);
    return results_;
  }

 private:
  void set(int result, Value value) {
    Value& at = results_[static_cast<std::size_t>(result)];
    if (at) value = build_("add", {at, value});
    const DType dtype = node_.result_types()[static_cast<std::size_t>(result)].dtype;
    if (value.dtype() != dtype) {
      value = build_("cast", {value}, {{"dtype", std::string(to_string(dtype))}});
    }
    at = value;
  }
  void add(Value& sum, Value term) { sum = sum ? build_("add", {sum, term}) : term; }
  Value scaled(Value of_scores, std::size_t part) {
    return s_.score_scale < 0 ? of_scores : build_("mul", {of_scores, score_scale(part)});
  }

  /// The cotangent by token: of what comes from v (0) or from relative_value (1).
  Value cotangent(std::int64_t part) {
    const bool last = s_.channels_last;
    Value dy = reshape(node_.operand(0), last ? Ints{0, s_.queries, s_.result_channels()}
                                              : Ints{0, s_.result_channels(), s_.queries});
    if (s_.interleaved) {
      dy = reshape(
          dy, last ? Ints{0, s_.queries, s_.channels(), 2} : Ints{0, s_.channels(), 2, s_.queries});
      dy = slice(dy, last ? 3 : 2, part, 1);
    }
    if (!last) return reshape(dy, {0, s_.heads, s_.value.size, s_.queries});
    return transpose(reshape(dy, {0, s_.queries, s_.heads, s_.value.size}), {0, 2, 1, 3});
  }

  /// The cotangent of the weights; that of the values and of their table on the way.
  Value values(Value weights) {
    const bool last = s_.channels_last;
    const Value dy = cotangent(0), v = value();
    dv_ = last ? matmul(weights, true, dy, false) : matmul(dy, false, weights, false);
    const Value from_values = matmul(dy, !last, v, last);
    if (s_.relative_value < 0) return from_values;
    const Value of_places = cotangent(1);
    set(b_.relative_value, summed(unskew(weights, "i-j"), of_places));
    const Value places = matmul(of_places, !last, extra(s_.relative_value), true);
    return build_("add", {from_values, skew(places, "i-j")});
  }

  /// sum over images, heads and tokens of spread[.., token, row] x[.., token, c], [rows, c].
  Value summed(Value spread, Value x) {
    const Value each = matmul(spread, true, x, !s_.channels_last);
    return build_("reduce_sum", {each}, {{"axes", Ints{0, 1}}, {"keepdims", false}});
  }

  /// Zero where the sum of the parts lies outside the clamp.
  Value unclamped(Value of_scores, const std::vector<Value>& parts) {
    if (!s_.clamp) return of_scores;
    const Value sum = this->sum(parts), zero = build_.scalar(0);
    const Value low = build_.scalar(s_.clamp->first), high = build_.scalar(s_.clamp->second);
    of_scores = build_("where", {build_("greater", {low, sum}), zero, of_scores});
    return build_("where", {build_("greater", {sum, high}), zero, of_scores});
  }

  void score_scales(Value of_scores, const std::vector<Value>& parts) {
    if (s_.score_scale < 0) return;
    std::vector<Value> rows;
    for (const Value& part : parts) {
      const Value row = build_("reduce_sum", {build_("mul", {of_scores, part})},
                               {{"axes", Ints{0, 2, 3}}, {"keepdims", false}});
      rows.push_back(cast_like(build_, reshape(row, {1, s_.heads}), node_.result(b_.score_scale)));
    }
    set(b_.score_scale,
        rows.size() == 1 ? rows[0] : build_("concat", rows, {{"axis", std::int64_t{0}}}));
  }

  void content(Value of_scores) {
    const bool last = s_.channels_last;
    dq_ = last ? matmul(of_scores, false, k_, false) : matmul(k_, false, of_scores, true);
    dk_ = last ? matmul(of_scores, true, q_, false) : matmul(q_, false, of_scores, false);
  }

  /// `spread` [N, heads, tokens, rows] times the table, by token.
  Value against_rows(Value spread, int table) {
    return s_.channels_last ? matmul(spread, false, extra(table), false)
                            : matmul(extra(table), true, spread, true);
  }
  void table_of_query(Value spread, int table, int result) {
    add(dq_, against_rows(spread, table));
    set(result, summed(spread, q_));
  }
  void table_of_key(Value of_scores) {
    const Value spread = unskew(transpose(of_scores, {0, 1, 3, 2}), "j-i");
    add(dk_, against_rows(spread, s_.relative_key));
    set(b_.relative_key, summed(spread, k_));
  }
  /// The way of the places on a map, back: see SdpaPlain::map_places.
  void map(Value of_scores) {
    const std::int64_t h = s_.height, w = s_.width;
    const Value pairs = reshape(of_scores, {0, 0, h * w, h, w});
    const auto along = [&](std::int64_t axis) {
      return build_("reduce_sum", {pairs}, {{"axes", Ints{axis}}, {"keepdims", false}});
    };
    const Value x = unskew(reshape(along(3), {0, 0, h, w, w}), "i-j");
    table_of_query(reshape(x, {0, 0, h * w, 2 * w - 1}), s_.relative_width, b_.relative_width);
    Value y = transpose(reshape(along(4), {0, 0, h, w, h}), {0, 1, 3, 2, 4});
    y = transpose(unskew(y, "i-j"), {0, 1, 3, 2, 4});
    table_of_query(reshape(y, {0, 0, h * w, 2 * h - 1}), s_.relative_height, b_.relative_height);
  }

  void place(int result, Value x, const HeadChannels& heads, std::int64_t tokens, int operand) {
    set(result, to_operand(x, heads, tokens, extra(operand).shape()));
  }

  SdpaBwd b_;
  std::vector<Value> results_;
  Value q_, k_, dq_, dk_, dv_;
};

std::vector<Value> decompose_sdpa_bwd(Builder& build, Node& node) {
  return PlainBackward(build, node).run();
}

/// The forward pass's products again, and two more for each of them.
double sdpa_bwd_flops(const Node& node) {
  return 3 * sdpa_products(sdpa_bwd_of(node).sdpa, node.operand(1));
}

/// Those of sdpa that it can differentiate, behind a cotangent.
std::vector<Sample> sdpa_bwd_samples() {
  std::vector<Sample> samples;
  for (Sample& forward : sdpa_samples()) {
    Strings extras = forward.attributes.strings("extras");
    while (!extras.empty() && extras.back().starts_with("output_")) {
      extras.pop_back();
      forward.operands.pop_back();
    }
    Attributes attributes = forward.attributes;
    const bool has_bias = std::ranges::find(extras, "bias") != extras.end();
    attributes.set("extras", std::move(extras));
    Attributes complete = attributes;
    for (const AttributeSpec& spec : sdpa_attribute_specs()) {
      if (!complete.has(spec.name)) complete.set(std::string(spec.name), spec.default_value);
    }
    const Sdpa s = parse_sdpa(complete, forward.operands);
    Type dy = forward.operands[0];
    (s.channels_last ? dy.shape.back() : dy.shape[1]) = s.result_channels();
    forward.operands.insert(forward.operands.begin(), dy);
    const auto is_same = [&](std::size_t i) { return forward.operands[1] == forward.operands[i]; };
    if (has_bias) attributes.set("bias_gradient", samples.size() % 2 == 0);
    samples.push_back({forward.operands, attributes});
    if (!is_same(2) || !is_same(3) || !are_disjoint(s)) continue;
    attributes.set("packed", true);
    if (has_bias) attributes.set("bias_gradient", true);
    samples.push_back({forward.operands, attributes});
    if (s.clamp) continue;
    attributes.set("weights", true);
    forward.operands.push_back(f32({dy.shape[0], s.heads, s.queries, s.keys}));
    samples.push_back({forward.operands, std::move(attributes)});
  }
  return samples;
}

}  // namespace

Values sdpa_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Sdpa s = sdpa_of(node);
  if (s.keeps_weights && cotangents[1]) {
    throw usage_error("the weights that an sdpa keeps are for its gradient and have none");
  }
  std::vector<Value> operands{cotangents[0]};
  operands.insert(operands.end(), node.operands().begin(), node.operands().end());
  Attributes attributes = node.attributes();
  const Value q = node.operand(0);
  attributes.set("packed", q == node.operand(1) && q == node.operand(2) && are_disjoint(s));
  attributes.set("bias_gradient", s.bias >= 0 && takes_cotangent(node.operand(s.bias)));
  if (s.keeps_weights && !s.clamp) {
    operands.push_back(node.result(1));
  } else {
    attributes.set("weights", false);
  }
  Node* all = build.node("sdpa_bwd", std::move(operands), std::move(attributes));
  const SdpaBwd b = sdpa_bwd_of(*all);
  Values result(static_cast<std::size_t>(node.operand_count()));
  const auto give = [&](int operand, int from) {
    if (from < 0) return;
    result[static_cast<std::size_t>(operand)] =
        cast_like(build, all->result(from), node.operand(operand));
  };
  give(0, b.query);
  if (!b.packed) {
    give(1, b.key);
    give(2, b.value);
  }
  give(s.score_scale, b.score_scale);
  give(s.relative_query, b.relative_query);
  give(s.relative_key, b.relative_key);
  give(s.relative_height, b.relative_height);
  give(s.relative_width, b.relative_width);
  give(s.bias, b.bias);
  give(s.relative_value, b.relative_value);
  return result;
}

OpDef sdpa_bwd_op() {
  return OpDef{
      .name = "sdpa_bwd",
      .doc =
          "The gradient of sdpa: operands are the cotangent and those of sdpa, results the "
          "gradients of q, k, v (one where they are packed), then of the extras: score_scale, "
          "tables and, when asked, the bias, in f32. The formula is in ir/sdpa.h.",
      .signature = Signature({"dy", "q", "k", "v", "extras..."}, {"gradients..."}),
      .attributes = sdpa_attribute_specs({{"packed", false}, {"bias_gradient", false}}),
      .infer = infer_sdpa_bwd,
      .gradient = Gradient::none("second derivatives are not supported"),
      .layout = LayoutRole::compute,
      .aliasing = Aliasing::fresh,
      .precision = PrecisionPolicy::low,
      .decomposition = Decomposition::rule(decompose_sdpa_bwd),
      .cost = Cost::compute(sdpa_bwd_flops),
      .onnx = OnnxMapping::none("training steps are not exported"),
      .samples = Samples::cases(sdpa_bwd_samples)};
}

}  // namespace facet::ops
