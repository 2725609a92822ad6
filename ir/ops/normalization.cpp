#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"

// Batch normalisation in training: statistics of the batch, and the gradient through them.

namespace facet::ops {
namespace {

/// Operands [first, end) must be f32 [C] for x [N, C, ...].
void require_channels(const InferContext& context, const Type& x, std::size_t first,
                      std::size_t end) {
  require_floats(context);
  if (x.rank() < 2) throw usage_error("batch normalisation takes x [N, C, ...]");
  for (std::size_t i = first; i < end; ++i) {
    if (context.operand(i).shape == Shape{x.shape[1]}) continue;
    throw usage_error(fmt::format("batch normalisation over {} channels got an operand of shape {}",
                                  to_string(x.shape[1]), to_string(context.operand(i).shape)));
  }
}

enum class Tail { none, relu, prelu, add, add_relu };

/// What follows the normalisation, and that exactly the operands it reads stand behind `fixed`, but
/// for `optional` ones of an add.
Tail tail_of(const InferContext& context, std::size_t fixed, std::size_t relu, std::size_t prelu,
             std::size_t add_relu, std::size_t optional = 0) {
  const Strings& words = context.attributes.strings("tail");
  Tail tail = Tail::none;
  std::size_t extras = 0;
  if (words == Strings{"relu"}) {
    tail = Tail::relu;
    extras = relu;
  } else if (words == Strings{"prelu"}) {
    tail = Tail::prelu;
    extras = prelu;
  } else if (words == Strings{"add", "relu"}) {
    tail = Tail::add_relu;
    extras = add_relu;
  } else if (words == Strings{"add"} && context.op.name != "batch_norm_bwd") {
    tail = Tail::add;
    extras = add_relu;
  } else if (!words.empty()) {
    throw usage_error(fmt::format("'{}' takes the tails relu, prelu, add + relu", context.op.name));
  }
  const std::size_t most = fixed + extras + (tail == Tail::add_relu ? optional : 0);
  if (context.operands.size() < fixed + extras || context.operands.size() > most) {
    throw usage_error(fmt::format("'{}' with this tail takes {} operands, not {}", context.op.name,
                                  fixed + extras, context.operands.size()));
  }
  return tail;
}

void require_slope(const Type& slope, const Type& x) {
  if (slope.shape == Shape{1} || slope.shape == Shape{x.shape[1]}) return;
  throw usage_error(fmt::format("a slope of shape {} does not fit {}", to_string(slope.shape),
                                to_string(x)));
}

/// Of batch_norm_train and batch_norm_apply, whose operands are the same but for two statistics.
void check_forward(const InferContext& context) {
  const Type& x = context.operand(0);
  require_channels(context, x, 1, 5);
  const Tail tail = tail_of(context, 5, 0, 1, 1);
  if (tail == Tail::prelu) require_slope(context.operand(5), x);
  if ((tail == Tail::add || tail == Tail::add_relu) && !(context.operand(5).shape == x.shape)) {
    throw usage_error(fmt::format("the residual {} does not fit x {}", to_string(context.operand(5)),
                                  to_string(x)));
  }
}

std::vector<Type> infer_train(const InferContext& context) {
  check_forward(context);
  const Type& x = context.operand(0);
  const Type channels = f32({x.shape[1]});
  return {x, channels, channels, channels, channels};
}

std::vector<Type> infer_apply(const InferContext& context) {
  check_forward(context);
  return {context.operand(0)};
}

std::vector<Type> infer_bwd(const InferContext& context) {
  const Type& dy = context.operand(0);
  const Type& x = context.operand(1);
  if (!(dy.shape == x.shape)) {
    throw usage_error(fmt::format("the cotangent {} does not fit x {}", to_string(dy), to_string(x)));
  }
  require_channels(context, x, 2, 5);
  const Type channels = f32({x.shape[1]});
  std::vector<Type> results{dy, channels, channels};
  switch (tail_of(context, 5, 1, 2, 1, /*optional=*/1)) {
    case Tail::relu:
      require_channels(context, x, 5, 6);
      break;
    case Tail::prelu:
      require_channels(context, x, 5, 6);
      require_slope(context.operand(6), x);
      results.push_back(f32(context.operand(6).shape));
      break;
    case Tail::add_relu:
      if (!(context.operand(5).shape == x.shape)) {
        throw usage_error("batch_norm_bwd behind add and relu takes their result");
      }
      if (context.operands.size() > 6 && !(context.operand(6).shape == x.shape)) {
        throw usage_error(fmt::format("the second cotangent {} does not fit x {}",
                                      to_string(context.operand(6)), to_string(x)));
      }
      results.push_back(dy);
      break;
    default:
      break;
  }
  return results;
}

double two_per_element(const Node& node) { return 2 * operand_elements(node); }
double five_per_element(const Node& node) { return 5 * operand_elements(node); }

std::vector<Sample> train_samples() {
  const Type c = f32({6});
  const Type k = f32({16});
  const Type wide = f32({2, 16, 9, 7});
  return {{{f32({2, 6, 4, 3}), c, c, c, c}, {}, 0.1, 1.5},
          {{f32({2, 16, 9, 7}), f32({16}), f32({16}), f32({16}), f32({16})}, {{"momentum", 0.3}}},
          {{f32({5, 6}), c, c, c, c}, {{"epsilon", 1e-3}}},
          {{wide, k, k, k, k}, {{"tail", Strings{"relu"}}}},
          {{wide, k, k, k, k, k}, {{"tail", Strings{"prelu"}}}},
          {{wide, k, k, k, k, f32({1})}, {{"tail", Strings{"prelu"}}}},
          {{wide, k, k, k, k, wide}, {{"tail", Strings{"add"}}}},
          {{wide, k, k, k, k, wide}, {{"tail", Strings{"add", "relu"}}}}};
}
/// The statistics of the samples of batch_norm_train are numbers like any other.
std::vector<Sample> apply_samples() {
  std::vector<Sample> samples = train_samples();
  for (Sample& sample : samples) {
    sample.attributes.erase("momentum");
    sample.attributes.erase("epsilon");
  }
  return samples;
}
std::vector<Sample> bwd_samples() {
  const Type c = f32({6});
  const Type k = f32({16});
  const Type x = f32({2, 6, 4, 3});
  const Type wide = f32({2, 16, 9, 7});
  return {{{x, x, c, c, c}, {}, 0.1, 1.5},
          {{wide, wide, f32({16}), f32({16}), f32({16})}, {}},
          {{f32({5, 6}), f32({5, 6}), c, c, c}, {}},
          {{wide, wide, k, k, k, k}, {{"tail", Strings{"relu"}}}},
          {{wide, wide, k, k, k, k, k}, {{"tail", Strings{"prelu"}}}},
          {{wide, wide, k, k, k, k, f32({1})}, {{"tail", Strings{"prelu"}}}},
          {{wide, wide, k, k, k, wide}, {{"tail", Strings{"add", "relu"}}}},
          {{wide, wide, k, k, k, wide, wide}, {{"tail", Strings{"add", "relu"}}}}};
}

/// The cotangents' sum apart.
std::vector<Value> decompose_bwd(Builder& build, Node& node) {
  if (node.operand_count() <= 6 || node.attributes().strings("tail").front() != "add") return {};
  std::vector<Value> operands(node.operands().begin(), node.operands().end() - 1);
  const Value more = cast_like(build, node.operand(6), node.operand(0));
  operands[0] = build("add", {node.operand(0), more});
  Node* const plain = build.node("batch_norm_bwd", std::move(operands), node.attributes());
  std::vector<Value> results;
  for (int i = 0; i < node.result_count(); ++i) results.push_back(plain->result(i));
  return results;
}

}  // namespace

std::vector<OpDef> normalization_ops() {
  std::vector<OpDef> list;
  list.push_back(OpDef{
      .name = "batch_norm_train",
      .doc = "(x - mean) * inv_std * scale + bias over axis 1 with the batch's mean and biased "
             "variance; running statistics move by `momentum` towards the mean and the unbiased "
             "variance. Statistics are f32. The tail is relu, prelu (a slope), add (a residual) or "
             "add + relu.",
      .signature = Signature({"x", "scale", "bias", "running_mean", "running_var", "extras..."},
                             {"y", "mean", "inv_std", "new_running_mean", "new_running_var"}),
      .attributes = {{"epsilon", 1e-5}, {"momentum", 0.1}, {"tail", Strings{}}},
      .infer = infer_train,
      .gradient = Gradient::rule(batch_norm_train_gradient),
      .layout = LayoutRole::follow,
      .aliasing = Aliasing::in_place,
      .precision = PrecisionPolicy::follow,
      .decomposition = Decomposition::primitive(),
      .cost = Cost::memory(five_per_element),
      .onnx = OnnxMapping::none("training steps are not exported"),
      .samples = Samples::cases(train_samples)});
  list.push_back(OpDef{
      .name = "batch_norm_apply",
      .doc = "What batch_norm_train made of x, again, from the statistics it gave: tail((x - mean) * "
             "inv_std * scale + bias) over axis 1. Bitwise the same, and no statistic moves.",
      .signature = Signature({"x", "scale", "bias", "mean", "inv_std", "extras..."}, {"y"}),
      .attributes = {{"tail", Strings{}}},
      .infer = infer_apply,
      .gradient = Gradient::none("it is made behind differentiation"),
      .layout = LayoutRole::follow,
      .aliasing = Aliasing::in_place,
      .precision = PrecisionPolicy::follow,
      .decomposition = Decomposition::primitive(),
      .cost = Cost::memory(two_per_element),
      .onnx = OnnxMapping::none("training steps are not exported"),
      .samples = Samples::cases(apply_samples)});
  list.push_back(OpDef{
      .name = "batch_norm_bwd",
      .doc =
          "The gradient of batch_norm_train: dbias = sum(dy), dscale = sum(dy * xhat), dx = scale "
          "* "
          "inv_std * (dy - mean(dy) - xhat * mean(dy * xhat)), xhat = (x - mean) * inv_std. Behind "
          "a tail "
          "dy is first what passes it: relu and prelu are told by the sign of xhat * scale + "
          "bias (operands bias; bias and slope, whose gradient is the last result), add + relu by "
          "that of the result (operand y; the last result is the cotangent of the residual; a "
          "second "
          "cotangent behind y is added to dy).",
      .signature = Signature({"dy", "x", "scale", "mean", "inv_std", "extras..."},
                             {"dx", "dscale", "dbias", "more..."}),
      .attributes = {{"tail", Strings{}}},
      .infer = infer_bwd,
      .gradient = Gradient::none("second derivatives are not supported"),
      .layout = LayoutRole::follow,
      .aliasing = Aliasing::in_place,
      .precision = PrecisionPolicy::follow,
      .decomposition = Decomposition::rule(decompose_bwd),
      .cost = Cost::memory(five_per_element),
      .onnx = OnnxMapping::none("training steps are not exported"),
      .samples = Samples::cases(bwd_samples),
      // What passes the relu is written where dy was read, dx where x is read for the last time: a
      // line that is written whole is fetched otherwise.
      .overwrites = {{3, 0}, {0, 1}, {0, 0}, {0, 5}}});
  return list;
}

}  // namespace facet::ops
