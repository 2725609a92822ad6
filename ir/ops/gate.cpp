#include "ir/gate.h"

#include "ir/ops/families.h"

// gate: a map times one or two gates that are computed from it, and what is added behind them, so
// that the map is read as few times as the reductions need. The formula is at the top of ir/gate.h.

namespace facet::ops {
namespace {

std::vector<Type> infer_gate(const InferContext& context) {
  parse_gate(context.attributes, context.operands);
  return {Type{result_dtype(context), context.operand(0).shape, {}}};
}

/// The stages of a gate in plain ops.
class Plain {
 public:
  Plain(Builder& build, Node& node) : build_(build), node_(node), g_(gate_of(node)) {}

  Value run() {
    Value v = node_.operand(0);
    for (const GateStage stage : g_.stages) {
      const Value logits = stage == GateStage::pixels     ? pixels(v)
                           : stage == GateStage::channels ? channels(v)
                                                          : window(v);
      v = build_("mul", {v, build_("sigmoid", {logits})});
    }
    v = plus(v, g_.residual);
    if (g_.relu) v = build_("relu", {v});
    return as_result(build_, node_, v);
  }

 private:
  Value extra(int operand) { return node_.operand(operand); }
  Value reshape(Value x, Ints shape) {
    return build_("reshape", {x}, {{"shape", std::move(shape)}});
  }
  Value plus(Value x, int operand) { return operand < 0 ? x : build_("add", {x, extra(operand)}); }

  /// [N, C, H, W] -> [N, 1, H, W].
  Value pixels(Value v) {
    const std::int64_t c = g_.channels, r = g_.pixel_hidden;
    const Value w1 = build_("transpose", {extra(g_.pixel_w1)}, {{"permutation", Ints{1, 0}}});
    Value hidden = build_("conv", {v, reshape(w1, {r, c, 1, 1})});
    if (g_.pixel_b1 >= 0) {
      hidden = build_("add", {hidden, reshape(extra(g_.pixel_b1), {r, 1, 1})});
    }
    hidden = build_("relu", {hidden});
    const Value w2 = reshape(extra(g_.pixel_w2), {1, r, 1, 1});
    return plus(build_("conv", {hidden, w2}), g_.pixel_b2);
  }

  /// f without its last bias: [N, C, H, W] pooled to [N, C, 1, 1] -> [N, C].
  Value vote(std::string_view pooling, Value v) {
    const Value pooled = build_(pooling, {v}, {{"axes", Ints{2, 3}}, {"keepdims", false}});
    Value hidden = build_("linear", {pooled, extra(g_.channel_w1)});
    hidden = build_("relu", {plus(hidden, g_.channel_b1)});
    return plus(build_("matmul", {hidden, extra(g_.channel_w2)}), g_.channel_b2);
  }

  /// [N, C, H, W] -> [N, C, 1, 1].
  Value channels(Value v) {
    Value sum = vote("reduce_mean", v);
    if (g_.max_too) {
      Value peak = vote("reduce_max", v);
      if (g_.gamma >= 0) peak = build_("mul", {peak, extra(g_.gamma)});
      sum = build_("add", {sum, peak});
    }
    return reshape(sum, {0, g_.channels, 1, 1});
  }

  /// [N, C, H, W] -> [N, 1, H, W].
  Value window(Value v) {
    const Value mean = build_("reduce_mean", {v}, {{"axes", Ints{1}}});
    const Value peak = build_("reduce_max", {v}, {{"axes", Ints{1}}});
    const Value both = build_("concat", {mean, peak}, {{"axis", std::int64_t{1}}});
    const std::int64_t k = g_.kernel, pad = k / 2;
    const Value weight = reshape(extra(g_.window_w), {1, 2, k, k});
    return plus(build_("conv", {both, weight}, {{"pads", Ints{pad, pad, pad, pad}}}), g_.window_b);
  }

  Builder& build_;
  Node& node_;
  Gate g_;
};

std::vector<Value> decompose_gate(Builder& build, Node& node) { return {Plain(build, node).run()}; }

double gate_flops(const Node& node) {
  const Gate g = gate_of(node);
  const auto images = static_cast<double>(node.result_types()[0].shape[0].factor);
  const std::int64_t elements = g.channels * g.pixels();
  std::int64_t flops = (g.residual >= 0 ? elements : 0) + (g.relu ? elements : 0);
  for (const GateStage stage : g.stages) {
    flops += elements;  // the product
    if (stage == GateStage::pixels) flops += 2 * (elements + g.pixels()) * g.pixel_hidden;
    if (stage == GateStage::channels) {
      flops += (g.max_too ? 2 : 1) * (elements + 4 * g.channels * g.channel_hidden);
    }
    if (stage == GateStage::window) flops += 2 * elements + 4 * g.pixels() * g.kernel * g.kernel;
  }
  return images * static_cast<double>(flops);
}

/// Cases on one map: the operands follow from the extras.
class Cases {
 public:
  void on(Shape x, std::int64_t hidden, std::int64_t kernel) {
    x_ = std::move(x);
    hidden_ = hidden;
    kernel_ = kernel;
  }

  void add(Strings stages, Strings extras, bool relu = false, std::string pooling = "mean") {
    const std::int64_t c = x_[1].factor, r = hidden_;
    std::vector<Type> operands{f32(x_)};
    for (const std::string& name : extras) {
      Shape shape{1};
      if (name == "pixel_w1") shape = {c, r};
      if (name == "pixel_b1" || name == "pixel_w2" || name == "channel_b1") shape = {r};
      if (name == "channel_w1" || name == "channel_w2") shape = {r, c};
      if (name == "channel_b2") shape = {c};
      if (name == "window_w") shape = {2, kernel_, kernel_};
      if (name == "residual") shape = x_;
      operands.push_back(f32(std::move(shape)));
    }
    samples_.push_back({std::move(operands),
                        {{"stages", std::move(stages)},
                         {"extras", std::move(extras)},
                         {"relu", relu},
                         {"pooling", std::move(pooling)}}});
  }
  std::vector<Sample> take() { return std::move(samples_); }

 private:
  Shape x_;
  std::int64_t hidden_ = 1, kernel_ = 1;
  std::vector<Sample> samples_;
};

std::vector<Sample> gate_samples() {
  const Strings pixels{"pixel_w1", "pixel_b1", "pixel_w2", "pixel_b2"};
  const Strings channels{"channel_w1", "channel_w2"};
  const auto joined = [](Strings a, const Strings& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  Cases cases;
  cases.on({2, 16, 5, 3}, 4, 3);
  cases.add({"pixels"}, pixels);
  cases.add({"pixels"}, {"pixel_w1", "pixel_w2", "residual"}, true);
  cases.add({"channels"}, channels);
  cases.add({"channels"}, {"channel_w1", "channel_b1", "channel_w2", "channel_b2", "residual"});
  cases.add({"channels"}, channels, true, "mean_max");
  cases.add({"channels"}, {"channel_w1", "channel_b1", "channel_w2", "channel_b2", "gamma"}, false,
            "mean_max");
  cases.add({"window"}, {"window_w", "window_b", "residual"}, true);
  cases.on({2, 37, 6, 7}, 9, 7);
  cases.add({"pixels", "channels"}, joined(pixels, channels));
  cases.add({"channels", "window"}, {"channel_w1", "channel_w2", "gamma", "window_w", "residual"},
            true, "mean_max");
  cases.on({1, 40, 4, 5}, 18, 5);
  cases.add({"channels", "pixels"}, joined(pixels, channels));
  cases.add({"window", "channels"}, {"channel_w1", "channel_w2", "window_w"}, false, "mean_max");
  cases.add({"pixels", "window"}, joined(pixels, {"window_w", "residual"}));
  cases.add({"window", "pixels"}, joined(pixels, {"window_w"}), true);
  cases.on({3, 5, 1, 1}, 1, 3);
  cases.add({"pixels", "channels"}, joined(pixels, channels), false, "mean_max");
  cases.add({"channels", "window"}, {"channel_w1", "channel_w2", "window_w"});
  return cases.take();
}

}  // namespace

OpDef gate_op() {
  return OpDef{
      .name = "gate",
      .doc =
          "A map [N, C, H, W] times one or two gates that are computed from it, plus a residual, "
          "with a relu: stages are pixels, channels or window, extras name the operands behind x. "
          "The formula is in ir/gate.h.",
      .signature = Signature({"x", "extras..."}, {"y"}),
      .attributes = {{"stages", Strings{}, true},
                     {"pooling", std::string("mean")},
                     {"relu", false},
                     {"extras", Strings{}, true}},
      .infer = infer_gate,
      .gradient = Gradient::decomposed(),
      .layout = LayoutRole::compute,
      .aliasing = Aliasing::in_place,
      .precision = PrecisionPolicy::follow,
      .decomposition = Decomposition::rule(decompose_gate),
      .cost = Cost::memory(gate_flops),
      .onnx = OnnxMapping::decomposed(),
      .samples = Samples::cases(gate_samples)};
}

}  // namespace facet::ops
