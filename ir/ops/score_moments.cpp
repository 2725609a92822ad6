#include "ir/ops/families.h"
#include "ir/ops/gradients.h"
#include "ir/ops/sdpa_plain.h"

// score_moments: what a batch norm of attention scores needs of them in training, without the
// scores; and its gradient. The formulas are in ir/sdpa.h.

namespace facet::ops {
namespace {

Type moment_type(const Sdpa& s) { return f32({s.terms(), s.heads}); }

std::vector<Type> infer_moments(const InferContext& context) {
  require_floats(context);
  const Type moment = moment_type(parse_score_moments(context.attributes, context.operands));
  return {moment, moment};
}

std::vector<Type> infer_moments_bwd(const InferContext& context) {
  require_floats(context);
  const SdpaBwd b = parse_score_moments_bwd(context.attributes, context.operands);
  const Sdpa& s = b.sdpa;
  const auto as = [&](int operand) {
    return context.operand(static_cast<std::size_t>(operand) + 3);
  };
  std::vector<Type> results;
  for (int i = 0; i <= b.key; ++i) results.push_back(Type{as(i).dtype, as(i).shape, {}});
  for (const int table : {s.relative_query, s.relative_key, s.relative_height, s.relative_width}) {
    if (table >= 0) results.push_back(f32(as(table).shape));
  }
  return results;
}

/// Products of the matrices that the plain form makes: see score_moments_plain.cpp.
double products(const Sdpa& s, Value query) {
  const auto square = static_cast<double>(s.query.size * s.query.size);
  const auto tokens = static_cast<double>(query.shape()[0].factor * s.heads) *
                      static_cast<double>(s.queries + s.keys);
  return 2 * square * tokens * s.terms();
}
double moments_flops(const Node& node) { return products(score_moments_of(node), node.operand(0)); }
double moments_bwd_flops(const Node& node) {
  return 3 * products(score_moments_bwd_of(node).sdpa, node.operand(3));
}

std::vector<AttributeSpec> attribute_specs(std::vector<AttributeSpec> more = {}) {
  std::vector<AttributeSpec> list{
      {"heads", std::int64_t{1}, true},  {"query", Ints{}, true}, {"key", Ints{}, true},
      {"channel_axis", std::int64_t{1}}, {"map", Ints{}},         {"extras", Strings{}}};
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

std::vector<Sample> moments_samples() {
  std::vector<Sample> samples;
  const auto add = [&](std::vector<Type> operands, Ints query, Ints key, std::int64_t axis,
                       Strings extras, Ints map = {}) {
    samples.push_back({std::move(operands),
                       {{"heads", std::int64_t{2}},
                        {"query", std::move(query)},
                        {"key", std::move(key)},
                        {"channel_axis", axis},
                        {"extras", std::move(extras)},
                        {"map", std::move(map)}}});
  };
  const Type image = f32({2, 32, 3, 4}), rows = f32({2, 12, 32});
  const Type table = f32({23, 4}), high = f32({5, 4}), wide = f32({7, 4});
  add({f32({2, 8, 5}), f32({2, 8, 5})}, {0, 4, 4}, {0, 4, 4}, 1, {});
  add({image, image, table, table}, {0, 16, 4}, {4, 16, 4}, 1, {"relative_query", "relative_key"});
  add({rows, rows, table, table}, {0, 16, 4}, {4, 16, 4}, -1, {"relative_query", "relative_key"});
  add({f32({1, 8, 5}), f32({1, 8, 3}), f32({7, 4})}, {0, 4, 4}, {0, 4, 4}, 1, {"relative_key"});
  add({f32({3, 5, 8}), f32({3, 9, 12}), f32({13, 3})}, {1, 4, 3}, {0, 6, 3}, -1,
      {"relative_query"});
  add({f32({2, 3, 8}), f32({2, 6, 8})}, {0, 4, 4}, {0, 4, 4}, -1, {});
  add({image, image, high, wide}, {0, 16, 4}, {4, 16, 4}, 1, {"relative_height", "relative_width"},
      {3, 4});
  add({rows, rows, table, high, wide}, {0, 16, 4}, {4, 16, 4}, -1,
      {"relative_key", "relative_height", "relative_width"}, {3, 4});
  // Enough tokens and channels for more than one block of any kernel.
  const Type many = f32({3, 80, 6, 7});
  add({many, many, f32({83, 20}), f32({83, 20})}, {0, 40, 20}, {20, 40, 20}, 1,
      {"relative_query", "relative_key"});
  return samples;
}

std::vector<Sample> moments_bwd_samples() {
  std::vector<Sample> samples;
  for (const Sample& forward : moments_samples()) {
    Attributes complete = forward.attributes;
    for (const AttributeSpec& spec : attribute_specs()) {
      if (!complete.has(spec.name)) complete.set(std::string(spec.name), spec.default_value);
    }
    const Sdpa s = parse_score_moments(complete, forward.operands);
    Sample sample = forward;
    sample.operands.insert(sample.operands.begin(), 3, moment_type(s));
    samples.push_back(sample);
    if (!(forward.operands[0] == forward.operands[1]) || !are_scores_disjoint(s)) continue;
    sample.attributes.set("packed", true);
    samples.push_back(std::move(sample));
  }
  return samples;
}

Values moments_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Sdpa s = score_moments_of(node);
  std::vector<Value> operands(cotangents.begin(), cotangents.end());
  for (Value& cotangent : operands) {
    if (cotangent) continue;
    const std::vector<float> zeros(static_cast<std::size_t>(s.terms() * s.heads), 0);
    cotangent =
        build("constant", {}, {{"value", HostTensor::from_floats({s.terms(), s.heads}, zeros)}});
  }
  operands.push_back(node.result(0));
  operands.insert(operands.end(), node.operands().begin(), node.operands().end());
  Attributes attributes = node.attributes();
  attributes.set("packed", node.operand(0) == node.operand(1) && are_scores_disjoint(s));
  Node* const all = build.node("score_moments_bwd", std::move(operands), std::move(attributes));
  const SdpaBwd b = score_moments_bwd_of(*all);
  Values result(static_cast<std::size_t>(node.operand_count()));
  const auto give = [&](int operand, int from) {
    if (operand < 0) return;
    result[static_cast<std::size_t>(operand)] =
        cast_like(build, all->result(from), node.operand(operand));
  };
  give(0, b.query);
  if (!b.packed) give(1, b.key);
  give(s.relative_query, b.relative_query);
  give(s.relative_key, b.relative_key);
  give(s.relative_height, b.relative_height);
  give(s.relative_width, b.relative_width);
  return result;
}

}  // namespace

OpDef score_moments_op() {
  return OpDef{
      .name = "score_moments",
      .doc =
          "Mean and biased variance, f32 [terms, heads], of the parts of an sdpa's scores "
          "(content, "
          "places of the query, places of the key) over images and pairs of tokens, ahead of all "
          "scales. Heads lie in q and k as in an sdpa; extras name the tables behind k.",
      .signature = Signature({"q", "k", "extras..."}, {"mean", "variance"}),
      .attributes = attribute_specs(),
      .infer = infer_moments,
      .gradient = Gradient::rule(moments_gradient),
      .layout = LayoutRole::compute,
      .aliasing = Aliasing::fresh,
      .precision = PrecisionPolicy::follow,
      .decomposition = Decomposition::rule(decompose_score_moments),
      .cost = Cost::compute(moments_flops),
      .onnx = OnnxMapping::decomposed(),
      .samples = Samples::cases(moments_samples)};
}

OpDef score_moments_bwd_op() {
  return OpDef{
      .name = "score_moments_bwd",
      .doc =
          "The gradient of score_moments: operands are the cotangents of means and variances, the "
          "means, and those of score_moments; results the gradients of q and k (one where they are "
          "packed), then of the tables, in f32. The formula is in ir/sdpa.h.",
      .signature =
          Signature({"dmean", "dvariance", "mean", "q", "k", "extras..."}, {"gradients..."}),
      .attributes = attribute_specs({{"packed", false}}),
      .infer = infer_moments_bwd,
      .gradient = Gradient::none("second derivatives are not supported"),
      .layout = LayoutRole::compute,
      .aliasing = Aliasing::fresh,
      .precision = PrecisionPolicy::follow,
      .decomposition = Decomposition::rule(decompose_score_moments_bwd),
      .cost = Cost::compute(moments_bwd_flops),
      .onnx = OnnxMapping::decomposed(),
      .samples = Samples::cases(moments_bwd_samples)};
}

}  // namespace facet::ops
