#include <fmt/format.h>

#include "runtime/formats/onnx/axis_ops.h"
#include "runtime/formats/onnx/windows.h"

// Convolutions, matrix products, batch norms: what the layers of a declared network are made of.
// They come out as the DSL makes them, so that the same passes match.

namespace facet::onnx_import {
namespace {

/// Everything of a convolution but its operands.
struct Convolution {
  Windows windows;
  std::int64_t groups = 1;

  Attributes attributes(Strings epilogue) const {
    return {{"strides", windows.strides},
            {"pads", windows.pads()},
            {"dilations", windows.dilations},
            {"groups", groups},
            {"epilogue", std::move(epilogue)}};
  }
};

Value conv_2d(NodeReader& node, const Convolution& conv, Value x, Value weight) {
  std::vector<Value> operands{x, weight};
  Strings epilogue;
  if (node.has_input(2)) {
    operands.push_back(node.input(2, ParameterRole::bias));
    epilogue.push_back("bias");
  }
  return node.make("conv", std::move(operands), conv.attributes(std::move(epilogue)));
}

Shape with_axis(Shape shape, std::size_t at) {
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(at), Dim(1));
  return shape;
}

/// [N, C, L] is an image of one row.
Value conv_1d(NodeReader& node, Convolution conv, Value x, Value weight) {
  Windows& windows = conv.windows;
  for (Ints* list : {&windows.kernel, &windows.strides, &windows.dilations})
    list->insert(list->begin(), 1);
  for (Ints* list : {&windows.before, &windows.after}) list->insert(list->begin(), 0);
  const Value y = conv_2d(node, conv, node.reshape(x, with_axis(x.shape(), 2)),
                          node.reshape(weight, with_axis(weight.shape(), 2)));
  return node.reshape(y, {y.shape()[0], y.shape()[1], y.shape()[3]});
}

/// A volume is convolved as images: the planes that one output plane reads become channels, and the
/// output planes a part of the batch.
Value conv_3d(NodeReader& node, Convolution conv, Value x, Value weight) {
  Windows& windows = conv.windows;
  const Shape w = weight.shape();
  const std::int64_t taps = w[2].factor;
  if (!x.shape()[1].is_static() || !x.shape()[2].is_static()) node.unsupported("a dynamic depth");
  x = pad_axis(node, x, 2, windows.before[0], windows.after[0]);
  const std::int64_t span = x.shape()[2].factor - windows.dilations[0] * (taps - 1) - 1;
  if (span < 0)
    node.unsupported(
        fmt::format("a window of {} planes does not fit {}", taps, to_string(x.type())));
  const std::int64_t depth = span / windows.strides[0] + 1;
  const Shape s = x.shape();
  const std::int64_t inner = s[1].factor / conv.groups;
  std::vector<Value> planes;
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    const Value plane =
        slice_axis(node, x, 2, tap * windows.dilations[0], depth, windows.strides[0]);
    planes.push_back(node.reshape(plane, {s[0], conv.groups, 1, inner, depth, s[3], s[4]}));
  }
  Value y = concat_axis(node, planes, 2);  // [N, groups, taps, inner, D, H, W]
  y = node.transpose(y, {0, 4, 1, 2, 3, 5, 6});
  const Dim images(s[0].symbol, s[0].factor * depth);
  y = node.reshape(y, {images, conv.groups * taps * inner, s[3], s[4]});
  weight = node.transpose(weight, {0, 2, 1, 3, 4});
  weight = node.reshape(weight, {w[0], taps * inner, w[3], w[4]});
  for (Ints* list :
       {&windows.kernel, &windows.strides, &windows.dilations, &windows.before, &windows.after}) {
    list->erase(list->begin());
  }
  y = conv_2d(node, conv, y, weight);
  const Shape r = y.shape();
  y = node.reshape(y, {s[0], depth, r[1], r[2], r[3]});
  return node.transpose(y, {0, 2, 1, 3, 4});
}

void import_conv(NodeReader& node) {
  const Shape w = node.shape(1);
  if (node.rank(0) != node.rank(1)) node.unsupported("input and weight differ in rank");
  if (w.size() < 3) node.unsupported("a weight of " + to_string(w));
  Convolution conv;
  conv.windows = read_windows(node, static_extents(Shape(w.begin() + 2, w.end())));
  conv.groups = node.integer("group", 1);
  if (conv.groups < 1) node.unsupported(fmt::format("group {}", conv.groups));
  const Value x = node.input(0);
  const Value weight = node.input(1, ParameterRole::weight);
  switch (w.size()) {
    case 3:
      return node.set(conv_1d(node, conv, x, weight));
    case 4:
      return node.set(conv_2d(node, conv, x, weight));
    case 5:
      return node.set(conv_3d(node, conv, x, weight));
    default:
      node.unsupported(fmt::format("{} spatial axes", w.size() - 2));
  }
}

/// The weight [in, out] of x * weight as `linear` reads it: [out, in].
Value transposed(NodeReader& node, Value weight) {
  if (weight.node->is("transpose")) return weight.node->operand(0);  // of rank 2: there and back
  return node.transpose(weight, {1, 0});
}

/// Computed from parameters and constants alone, as far as a look at the node tells.
bool is_weight(Value value) {
  if (value.type().rank() != 2) return false;
  const Node* node = value.node;
  while (node->is("transpose") || node->is("reshape")) node = node->operand(0).node;
  return node->is("parameter") || node->is("constant");
}

Value scaled(NodeReader& node, Value value, double factor) {
  return factor == 1 ? value : node.make("mul", {value, node.scalar(factor, value)});
}

/// alpha * A' * B' + beta * C; the usual fully connected layer becomes one `linear`.
void import_gemm(NodeReader& node) {
  const double alpha = node.number("alpha", 1);
  const double beta = node.number("beta", 1);
  if (node.rank(0) != 2 || node.rank(1) != 2) node.unsupported("operands that are no matrices");
  Value a = node.input(0);
  const Value b = node.input(1, ParameterRole::weight);
  const bool transposed_b = node.flag("transB", false);
  const bool layer = is_float(a.dtype()) && a.dtype() == b.dtype() && is_weight(b);
  if (layer) {
    if (node.flag("transA", false)) a = node.transpose(a, {1, 0});
    const Value weight = transposed_b ? b : transposed(node, b);
    const bool bias =
        node.has_input(2) && alpha == 1 && beta == 1 && node.shape(2) == Shape{weight.shape()[0]};
    if (bias) {
      return node.set(node.make("linear", {a, weight, node.input(2, ParameterRole::bias)},
                                {{"epilogue", Strings{"bias"}}}));
    }
    a = node.make("linear", {a, weight});
  } else {
    a = node.make("matmul", {a, b},
                  {{"transpose_a", node.flag("transA", false)}, {"transpose_b", transposed_b}});
  }
  a = scaled(node, a, alpha);
  if (node.has_input(2)) {
    a = node.make("add", {a, scaled(node, node.input(2, ParameterRole::bias), beta)});
  }
  node.set(a);
}

void import_matmul(NodeReader& node) {
  Value a = node.input(0);
  Value b = node.input(1, ParameterRole::weight);
  if (a.type().rank() < 1 || b.type().rank() < 1) node.unsupported("operands of rank 0");
  if (is_float(a.dtype()) && a.dtype() == b.dtype() && is_weight(b)) {
    return node.set(node.make("linear", {a, transposed(node, b)}));
  }
  const bool row = a.type().rank() == 1;
  const bool column = b.type().rank() == 1;
  if (row) a = node.reshape(a, {Dim(1), a.shape()[0]});
  if (column) b = node.reshape(b, {b.shape()[0], Dim(1)});
  Value y = node.make("matmul", {a, b});
  Shape shape = y.shape();
  if (column) shape.pop_back();
  if (row) shape.erase(shape.end() - (column ? 1 : 2));
  node.set(node.reshape(y, shape));
}

/// By the statistics of this very batch, which also move the running ones (results 1 and 2).
void batch_norm_in_training(NodeReader& node) {
  const Value x = node.input(0);
  Ints axes;
  Shape channels(x.shape().size(), Dim(1));
  for (std::int64_t i = 0; i < x.type().rank(); ++i) {
    if (i != 1) axes.push_back(i);
  }
  channels.at(1) = x.shape()[1];
  const auto mean_of = [&](Value v) { return node.make("reduce_mean", {v}, {{"axes", axes}}); };
  const auto per_channel = [&](int i, ParameterRole role) {
    return node.reshape(node.input(i, role), channels);
  };
  const Value mean = mean_of(x);
  const Value centred = node.make("sub", {x, mean});
  const Value variance = mean_of(node.make("square", {centred}));
  const Value deviation = node.make(
      "rsqrt", {node.make("add", {variance, node.scalar(node.number("epsilon", 1e-5), x)})});
  const Value scale = node.make("mul", {deviation, per_channel(1, ParameterRole::bn_weight)});
  node.set(node.make("add",
                     {node.make("mul", {centred, scale}), per_channel(2, ParameterRole::bn_bias)}));
  const double momentum = node.number("momentum", 0.9);
  const auto moved = [&](int i, ParameterRole role, Value fresh) {
    const Value kept = node.input(i, role);
    fresh = node.reshape(fresh, kept.shape());
    return node.make("add", {node.make("mul", {kept, node.scalar(momentum, kept)}),
                             node.make("mul", {fresh, node.scalar(1 - momentum, fresh)})});
  };
  if (node.wants(1)) node.set(1, moved(3, ParameterRole::running_mean, mean));
  if (node.wants(2)) node.set(2, moved(4, ParameterRole::running_var, variance));
}

void import_batch_normalization(NodeReader& node) {
  if (node.opset() < 9 && node.integer("spatial", 1) == 0) {
    node.unsupported("spatial = 0: statistics for every element");
  }
  if (node.flag("training_mode", false)) return batch_norm_in_training(node);
  for (int i = 1; i < node.output_count(); ++i) node.refuse_output(i, "a statistic of training");
  // ONNX's momentum is what stays of the old statistics, ours what comes of the new.
  const double momentum = NodeReader::decimal(static_cast<float>(1 - node.number("momentum", 0.9)));
  node.set(
      node.make("batch_norm",
                {node.input(0), node.input(1, ParameterRole::bn_weight),
                 node.input(2, ParameterRole::bn_bias), node.input(3, ParameterRole::running_mean),
                 node.input(4, ParameterRole::running_var)},
                {{"epsilon", node.number("epsilon", 1e-5)}, {"momentum", momentum}}));
}

}  // namespace

void add_compute_handlers(HandlerTable& table) {
  table.add("Conv", import_conv);
  table.add("Gemm", import_gemm);
  table.add("MatMul", import_matmul);
  table.add("BatchNormalization", import_batch_normalization);
}

}  // namespace facet::onnx_import
