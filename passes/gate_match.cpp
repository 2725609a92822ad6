#include "passes/gate_match.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "passes/pass.h"

namespace facet {
namespace {

/// Thrown inside a match and caught in match_gate: the product is no gate, and why.
struct Refusal {
  std::string reason;
};

[[noreturn]] void refuse(std::string reason) { throw Refusal{std::move(reason)}; }

/// A convolution or linear with its bias, wherever that stands.
struct Layer {
  Node* node = nullptr;
  Value input, weight, bias;
};

class Matcher {
 public:
  Matcher(Node* mul, Value x, Value gate) : mul_(mul), x_(x), gate_(gate) {}

  GateMatch run() {
    match_.x = x_;
    const Shape& full = x_.shape();
    const Value logistic = strip(gate_);
    if (!logistic.node->is("sigmoid") || gate_.shape() == full || is_prepared(gate_)) return match_;
    match_.looks_like_gate = true;
    try {
      for (std::size_t axis = 1; axis < 4; ++axis) {
        if (!full[axis].is_static()) refuse(fmt::format("{} is not fixed", to_string(x_.type())));
      }
      take(logistic.node);
      match_stage(logistic.node->operand(0));
      match_.inside.push_back(mul_);
    } catch (const Refusal& refusal) {
      match_.refusal = refusal.reason;
    }
    return match_;
  }

 private:
  void take(Node* node) {
    auto& inside = match_.inside;
    if (std::find(inside.begin(), inside.end(), node) == inside.end()) inside.push_back(node);
  }

  void match_stage(Value logits) {
    const Shape& full = x_.shape();
    const Shape per_pixel{full[0], 1, full[2], full[3]};
    if (is_per_channel(gate_.shape())) {
      match_.stage = GateStage::channels;
      match_channels(logits);
    } else if (gate_.shape() == per_pixel) {
      match_map(logits);
    } else {
      refuse(fmt::format("the gate is {}: neither one number a channel nor one a pixel of {}",
                         to_string(gate_.type()), to_string(x_.type())));
    }
  }

  /// [N, C] or [N, C, 1, 1].
  bool is_per_channel(const Shape& shape) const {
    return shape.size() >= 2 && shape[0] == x_.shape()[0] && shape[1] == x_.shape()[1] &&
           std::all_of(shape.begin() + 2, shape.end(), [](const Dim& dim) { return dim == 1; });
  }

  /// The value behind reshapes that only add or drop axes of 1 behind the second.
  Value strip(Value value) {
    const auto without_ones = [](const Shape& shape) {
      Shape kept = shape;
      while (kept.size() > 2 && kept.back() == Dim(1)) kept.pop_back();
      return kept;
    };
    while (value.node->is("reshape")) {
      const Value inner = value.node->operand(0);
      if (inner.type().rank() < 2 || value.type().rank() < 2 ||
          without_ones(inner.shape()) != without_ones(value.shape())) {
        break;
      }
      take(value.node);
      value = inner;
    }
    return value;
  }

  /// Prepared numbers, one a channel of [N, C, ...] or one in all.
  static bool is_bias(Value value, const Shape& result) {
    if (!is_prepared(value)) return false;
    const Dim count = element_count(value.shape());
    if (count == Dim(1)) return true;
    const std::size_t behind = result.size() - 2;
    const Shape& shape = value.shape();
    return count == result[1] && shape.size() > behind &&
           shape[shape.size() - 1 - behind] == result[1];
  }

  /// The layer that made the value.
  Layer layer(Value value, std::string_view what) {
    Layer result;
    value = strip(value);
    if (value.node->is("add") && is_bias(value.node->operand(1), value.shape())) {
      result.bias = value.node->operand(1);
      take(value.node);
      value = strip(value.node->operand(0));
    }
    Node* const node = value.node;
    const bool is_linear = node->is("linear") && node->result_types()[0].rank() == 2;
    if (!node->is("conv") && !is_linear) {
      refuse(fmt::format("{} is made by {}, not by a conv or linear", what, node->kind()));
    }
    take(node);
    result.node = node;
    result.input = node->operand(0);
    result.weight = node->operand(1);
    const Strings& epilogue = node->attributes().strings("epilogue");
    if (epilogue == Strings{"bias"} && !result.bias) {
      result.bias = node->operand(2);
    } else if (!epilogue.empty()) {
      refuse(fmt::format("{} has the epilogue [{}]", what, fmt::join(epilogue, ", ")));
    }
    if (!is_prepared(result.weight) || (result.bias && !is_prepared(result.bias))) {
      refuse(fmt::format("the weights of {} are computed while the network runs", what));
    }
    if (result.weight.dtype() != x_.dtype()) {
      refuse(fmt::format("the weights of {} are {}, the map is {}", what,
                         to_string(result.weight.dtype()), to_string(x_.dtype())));
    }
    return result;
  }

  /// A linear, or a convolution that mixes channels only.
  Layer point_layer(Value value, std::string_view what) {
    const Layer result = layer(value, what);
    check_point(*result.node, what);
    return result;
  }

  static void check_point(const Node& node, std::string_view what) {
    if (!node.is("conv")) return;
    const Shape& weight = node.operand(1).shape();
    const Attributes& a = node.attributes();
    const auto all = [](const Ints& numbers, std::int64_t value) {
      return std::all_of(numbers.begin(), numbers.end(), [=](auto n) { return n == value; });
    };
    if (!(weight[2] == Dim(1)) || !(weight[3] == Dim(1)) || a.integer("groups") != 1 ||
        !all(a.ints("strides"), 1) || !all(a.ints("pads"), 0)) {
      refuse(fmt::format("{} is not a plain 1x1 convolution", what));
    }
  }

  Value relu_operand(Value value, std::string_view what) {
    value = strip(value);
    if (!value.node->is("relu")) {
      refuse(fmt::format("{} passes {}, not relu", what, value.node->kind()));
    }
    take(value.node);
    return value.node->operand(0);
  }

  /// Takes a reduction of x over `axes`.
  void reduction(Value value, std::string_view kind, const Ints& axes) {
    if (!value.node->is(kind)) {
      refuse(fmt::format("the gate sees {} where {} is expected", value.node->kind(), kind));
    }
    if (value.node->attributes().ints("axes") != axes) {
      refuse(fmt::format("{} is over axes [{}], not [{}]", kind,
                         fmt::join(value.node->attributes().ints("axes"), ", "),
                         fmt::join(axes, ", ")));
    }
    if (value.node->operand(0) != x_) refuse(fmt::format("{} is of another map", kind));
    take(value.node);
  }

  struct Vote {
    Layer first, second;
    Node* pool = nullptr;
    Value gamma;
  };

  Vote vote(Value value) {
    Vote result;
    value = strip(value);
    if (value.node->is("mul") && is_prepared(value.node->operand(1)) &&
        element_count(value.node->operand(1).shape()) == Dim(1)) {
      result.gamma = value.node->operand(1);
      take(value.node);
      value = value.node->operand(0);
    }
    result.second = point_layer(value, "the channels' gate");
    const Value hidden = relu_operand(result.second.input, "the channels' hidden layer");
    result.first = point_layer(hidden, "the channels' hidden layer");
    result.pool = strip(result.first.input).node;
    return result;
  }

  void match_channels(Value logits) {
    logits = strip(logits);
    Node* const sum = logits.node;
    if (!sum->is("add") || is_bias(sum->operand(1), logits.shape())) {
      const Vote only = vote(logits);
      if (only.gamma) refuse("the mean's vote is multiplied");
      reduction(only.pool->result(), "reduce_mean", {2, 3});
      return take_votes(only);
    }
    take(sum);
    Vote mean = vote(sum->operand(0)), max = vote(sum->operand(1));
    if (mean.pool->is("reduce_max")) std::swap(mean, max);
    reduction(mean.pool->result(), "reduce_mean", {2, 3});
    reduction(max.pool->result(), "reduce_max", {2, 3});
    if (mean.gamma) refuse("the mean's vote is multiplied");
    for (const auto& [a, b] : {std::pair(mean.first, max.first), {mean.second, max.second}}) {
      if (a.weight != b.weight || a.bias != b.bias) {
        refuse("mean and maximum have weights of their own");
      }
    }
    match_.max_too = true;
    match_.operands.gamma = max.gamma;
    take_votes(mean);
  }

  void take_votes(const Vote& vote) {
    match_.operands.channel_w1 = vote.first.weight;
    match_.operands.channel_b1 = vote.first.bias;
    match_.operands.channel_w2 = vote.second.weight;
    match_.operands.channel_b2 = vote.second.bias;
  }

  /// One number a pixel: a small network on its channels, or a window over their mean and maximum.
  void match_map(Value logits) {
    const Layer second = layer(logits, "the pixels' gate");
    if (second.input.node->is("concat")) return match_window(second);
    match_.stage = GateStage::pixels;
    check_point(*second.node, "the pixels' gate");
    const Value hidden = relu_operand(second.input, "the pixels' hidden layer");
    const Layer first = point_layer(hidden, "the pixels' hidden layer");
    if (first.input != x_) refuse("the pixels' gate sees another map");
    match_.operands.pixel_w1 = first.weight;
    match_.operands.pixel_b1 = first.bias;
    match_.operands.pixel_w2 = second.weight;
    match_.operands.pixel_b2 = second.bias;
    match_.hidden = first.weight.shape()[0].factor;
  }

  void match_window(const Layer& window) {
    match_.stage = GateStage::window;
    Node* const both = window.input.node;
    if (both->operand_count() != 2 || both->attributes().integer("axis") != 1) {
      refuse("the window sees a concat that is not of two maps along the channels");
    }
    reduction(both->operand(0), "reduce_mean", {1});
    reduction(both->operand(1), "reduce_max", {1});
    take(both);
    const Shape& shape = window.weight.shape();
    const Attributes& a = window.node->attributes();
    const std::int64_t k = shape[2].factor, pad = k / 2;
    if (!(shape[3] == shape[2]) || k % 2 == 0 || a.ints("pads") != Ints{pad, pad, pad, pad} ||
        a.ints("strides") != Ints{1, 1} || a.ints("dilations") != Ints{1, 1}) {
      refuse("the window is not a square, odd one that keeps the map's extents");
    }
    match_.operands.window_w = window.weight;
    match_.operands.window_b = window.bias;
  }

  Node* mul_;
  Value x_, gate_;
  GateMatch match_;
};

}  // namespace

GateMatch match_gate(Node* mul) {
  GateMatch near_miss;
  if (!mul->is("mul") || mul->result_types()[0].rank() != 4) return near_miss;
  for (const int i : {0, 1}) {
    const Value x = mul->operand(i), gate = mul->operand(1 - i);
    if (!(x.type() == mul->result_types()[0]) || gate.type().rank() != 4 || is_prepared(x)) {
      continue;
    }
    GateMatch match = Matcher(mul, x, gate).run();
    if (match.looks_like_gate && match.refusal.empty()) return match;
    if (match.looks_like_gate) near_miss = std::move(match);
  }
  return near_miss;
}

}  // namespace facet
