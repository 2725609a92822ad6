#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "runtime/formats/onnx/import_windows.h"

// Normalisations, and Dropout.

namespace facet::onnx_import {
namespace {

/// Mean and 1 / sqrt(variance + epsilon) over `axes`, kept as extents of 1, and x less its mean.
struct Moments {
  Value mean, inverse_deviation, centred;
};

Moments moments(NodeReader& node, Value x, const Ints& axes, double epsilon) {
  Moments m;
  m.mean = node.make("reduce_mean", {x}, {{"axes", axes}});
  m.centred = node.make("sub", {x, m.mean});
  const Value variance =
      node.make("reduce_mean", {node.make("square", {m.centred})}, {{"axes", axes}});
  m.inverse_deviation = node.make("rsqrt", {node.make("add", {variance, node.scalar(epsilon, x)})});
  return m;
}

/// x at the precision that statistics are taken with: single for the half types.
Value stashed(NodeReader& node, Value x) {
  const bool half = x.dtype() == DType::f16 || x.dtype() == DType::bf16;
  return half && node.integer("stash_type", 1) == 1 ? node.cast(x, DType::f32) : x;
}

Ints axes_from(std::int64_t first, std::int64_t rank) {
  Ints axes;
  for (std::int64_t axis = first; axis < rank; ++axis) axes.push_back(axis);
  return axes;
}

/// y * scale + bias, both broadcast; in the dtype of `like`.
Value scale_and_shift(NodeReader& node, Value y, Value scale, std::optional<Value> bias,
                      Value like) {
  y = node.make("mul", {y, node.cast(scale, y.dtype())});
  if (bias) y = node.make("add", {y, node.cast(*bias, y.dtype())});
  return node.cast(y, like.dtype());
}

/// Whether the op `layer_norm` says it all: no statistics are read, and scale and bias have the
/// shape of the normalised axes.
bool is_one_step(const NodeReader& node, std::int64_t first) {
  const Shape shape = node.shape(0);
  const Shape normal(shape.begin() + first, shape.end());
  return !node.wants(1) && !node.wants(2) && is_static(normal) && node.shape(1) == normal &&
         (!node.has_input(2) || node.shape(2) == normal) && node.type(0).dtype != DType::f64 &&
         node.type(1).dtype == node.type(0).dtype && node.integer("stash_type", 1) == 1;
}

void import_layer_normalization(NodeReader& node) {
  const Value input = node.input(0);
  const std::int64_t rank = input.type().rank();
  const std::int64_t first = node.axis("axis", -1, rank);
  if (is_one_step(node, first)) {
    std::vector<Value> operands{input, node.input(1, ParameterRole::weight)};
    if (node.has_input(2)) operands.push_back(node.input(2, ParameterRole::bias));
    return node.set(node.make("layer_norm", std::move(operands),
                              {{"axis", first - rank}, {"epsilon", node.number("epsilon", 1e-5)}}));
  }
  const Ints axes = axes_from(first, rank);
  const Value x = stashed(node, input);
  const Moments m = moments(node, x, axes, node.number("epsilon", 1e-5));
  std::optional<Value> bias;
  if (node.has_input(2)) bias = node.input(2, ParameterRole::bias);
  const Value y = node.make("mul", {m.centred, m.inverse_deviation});
  node.set(0, scale_and_shift(node, y, node.input(1, ParameterRole::weight), bias, input));
  node.set(1, m.mean);
  node.set(2, m.inverse_deviation);
}

void import_rms_normalization(NodeReader& node) {
  const Value input = node.input(0);
  const std::int64_t rank = input.type().rank();
  const Ints axes = axes_from(node.axis("axis", -1, rank), rank);
  const Value x = stashed(node, input);
  const Value power = node.make("reduce_mean", {node.make("square", {x})}, {{"axes", axes}});
  const Value shifted = node.make("add", {power, node.scalar(node.number("epsilon", 1e-5), x)});
  const Value y = node.make("mul", {x, node.make("rsqrt", {shifted})});
  node.set(scale_and_shift(node, y, node.input(1, ParameterRole::weight), std::nullopt, input));
}

void import_instance_normalization(NodeReader& node) {
  const Value x = node.input(0);
  const std::int64_t rank = x.type().rank();
  if (rank < 3) node.unsupported("x " + to_string(x.type()));
  const Moments m = moments(node, x, axes_from(2, rank), node.number("epsilon", 1e-5));
  const Value y = node.make("mul", {m.centred, m.inverse_deviation});
  const Value scale = along_channels(node, node.input(1, ParameterRole::weight), rank);
  const Value bias = along_channels(node, node.input(2, ParameterRole::bias), rank);
  node.set(scale_and_shift(node, y, scale, bias, x));
}

/// Scale and bias have an element for each channel since opset 21, for each group before.
void import_group_normalization(NodeReader& node) {
  const Value input = node.input(0);
  const Shape& shape = input.shape();
  const std::int64_t groups = node.integer("num_groups", 0);
  if (shape.size() < 2 || !shape[1].is_static() || groups < 1 || shape[1].factor % groups != 0) {
    node.unsupported(fmt::format("{} in {} groups", to_string(input.type()), groups));
  }
  const std::int64_t channels = shape[1].factor;
  Dim places(1);
  for (std::size_t axis = 2; axis < shape.size(); ++axis)
    places = element_count({places, shape[axis]});
  const Value x = node.reshape(stashed(node, input), {shape[0], groups, channels / groups, places});
  const double epsilon = node.number("epsilon", 1e-5);
  const Value y = node.make("layer_norm", {x}, {{"axis", std::int64_t{2}}, {"epsilon", epsilon}});
  const auto parameter = [&](int i, ParameterRole role) {
    const Value value = node.input(i, role);
    const bool by_group = value.shape() == Shape{groups} && groups != channels;
    if (!by_group && !(value.shape() == Shape{channels})) {
      node.unsupported(fmt::format("scale or bias {} for {} channels in {} groups",
                                   to_string(value.type()), channels, groups));
    }
    return node.reshape(value, {1, groups, by_group ? 1 : channels / groups, 1});
  };
  const Value normal = scale_and_shift(node, y, parameter(1, ParameterRole::weight),
                                       parameter(2, ParameterRole::bias), input);
  node.set(node.reshape(normal, shape));
}

/// Statistics of the batch; ONNX moves the running variance towards the biased one.
void train_batch_norm(NodeReader& node, const std::vector<Value>& operands, double epsilon) {
  const double kept = node.number("momentum", 0.9);
  Node* both =
      node.make_node("batch_norm_train", operands, {{"epsilon", epsilon}, {"momentum", 1 - kept}});
  node.set(0, both->result(0));
  if (node.wants(1)) node.set(1, node.cast(both->result(3), operands[3].dtype()));
  if (node.wants(2)) {
    const Value x = operands[0];
    Ints axes = axes_from(2, x.type().rank());
    axes.insert(axes.begin(), 0);
    const Value centred =
        node.make("sub", {x, along_channels(node, both->result(1), x.type().rank())});
    const Value variance = node.make("reduce_mean", {node.make("square", {centred})},
                                     {{"axes", axes}, {"keepdims", false}});
    const Value old = node.make("mul", {operands[4], node.scalar(kept, operands[4])});
    const Value now = node.make("mul", {variance, node.scalar(1 - kept, variance)});
    node.set(2, node.cast(node.make("add", {old, now}), operands[4].dtype()));
  }
  for (int i = 3; i < node.output_count(); ++i)
    node.refuse_output(i, "saved statistics of old opsets");
}

void import_batch_normalization(NodeReader& node) {
  const double epsilon = node.number("epsilon", 1e-5);
  if (!node.flag("spatial", true)) node.unsupported("attribute spatial is 0: statistics per place");
  const std::vector<Value> operands{
      node.input(0), node.input(1, ParameterRole::bn_weight), node.input(2, ParameterRole::bn_bias),
      node.input(3, ParameterRole::running_mean), node.input(4, ParameterRole::running_var)};
  const bool old_training = node.opset() < 14 && (node.wants(1) || node.wants(2));
  if (node.flag("training_mode", false) || old_training) {
    return train_batch_norm(node, operands, epsilon);
  }
  // ONNX's momentum is what stays of the old statistics, ours what comes of the new.
  const double momentum = NodeReader::decimal(static_cast<float>(1 - node.number("momentum", 0.9)));
  node.set(node.make("batch_norm", operands, {{"epsilon", epsilon}, {"momentum", momentum}}));
}

/// x / (bias + alpha * mean of x^2 over neighbouring channels)^beta. The mean over `size` channels,
/// zeros beyond the first and last, is a pool on the channels seen as the height of an image.
void import_lrn(NodeReader& node) {
  const Value x = node.input(0);
  const std::int64_t size = node.integer("size", 0);
  const Shape& shape = x.shape();
  if (shape.size() < 2 || !shape[1].is_static() || size < 1 ||
      size > std::numeric_limits<std::int32_t>::max()) {
    node.unsupported(fmt::format("{} over {} channels", to_string(x.type()), size));
  }
  Dim places(1);
  for (std::size_t axis = 2; axis < shape.size(); ++axis)
    places = element_count({places, shape[axis]});
  const Value squares = node.reshape(node.make("square", {x}), {shape[0], 1, shape[1], places});
  const Value mean = node.make("avg_pool", {squares},
                               {{"kernel", Ints{size, 1}},
                                {"strides", Ints{1, 1}},
                                {"pads", Ints{(size - 1) / 2, 0, size / 2, 0}}});
  const Value scaled =
      node.make("mul", {node.reshape(mean, shape), node.scalar(node.number("alpha", 1e-4), x)});
  const Value base = node.make("add", {scaled, node.scalar(node.number("bias", 1), x)});
  const Value power = node.make("pow", {base, node.scalar(node.number("beta", 0.75), x)});
  node.set(node.make("div", {x, power}));
}

/// In inference the identity; kept as `dropout`, so that an imported network trains as a declared
/// one.
void import_dropout(NodeReader& node) {
  const Value x = node.input(0);
  const double rate = node.has_input(1) ? NodeReader::decimal(static_cast<float>(node.number_input(1)))
                                        : node.number("ratio", 0.5);
  const bool training = node.has_input(2) && node.number_input(2) != 0;
  if (training && rate != 0) throw out_of_scope("random numbers");
  if (rate > 0 && rate < 1) {
    node.set(0, node.make("dropout", {x}, {{"rate", rate}}));
  } else {
    node.pass_through(0, 0);
  }
  if (!node.wants(1)) return;
  const DType dtype = node.opset() < 10 ? x.dtype() : DType::boolean;
  node.set(1, node.expand(node.scalar(1, dtype), x.shape()));
}

}  // namespace

void add_normalization_handlers(HandlerTable& table) {
  table.add("LayerNormalization", import_layer_normalization);
  table.add("RMSNormalization", import_rms_normalization);
  table.add("InstanceNormalization", import_instance_normalization);
  table.add("GroupNormalization", import_group_normalization);
  table.add("BatchNormalization", import_batch_normalization);
  table.add("LRN", import_lrn);
  table.add("Dropout", import_dropout);
}

}  // namespace facet::onnx_import
