#include <fmt/format.h>

#include <numeric>

#include "runtime/formats/onnx/import_math.h"

// NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss: log-probabilities [N, C, d1, ...] become
// rows of classes, from which `pick` takes the label's. A label to ignore becomes one outside of
// the classes, which has neither log-probability nor weight.

namespace facet::onnx_import {
namespace {

/// [N, C, d1, ...] as [N * d1 * ..., C].
Value class_rows(NodeReader& node, Value x) {
  const std::int64_t rank = x.type().rank();
  Ints permutation{0};
  for (std::int64_t axis = 2; axis < rank; ++axis) permutation.push_back(axis);
  permutation.push_back(1);
  const Dim classes = x.shape()[1];
  x = node.transpose(x, permutation);
  return node.reshape(x, {element_count(Shape(x.shape().begin(), x.shape().end() - 1)), classes});
}

Value label_rows(NodeReader& node, Value labels) {
  labels = node.cast(labels, DType::i64);
  labels = node.reshape(labels, {element_count(labels.shape())});
  if (!node.has("ignore_index")) return labels;
  const Value ignored = node.scalar(static_cast<double>(node.integer("ignore_index", 0)), labels);
  return node.make("where",
                   {node.make("equal", {labels, ignored}), node.scalar(-1, labels), labels});
}

/// The weight of each row's label [rows, 1]; 0 for what is ignored. `like` has the dtype.
Value row_weights(NodeReader& node, Value labels, Value like, const Dim& classes) {
  if (!classes.is_static()) node.unsupported("its number of classes is dynamic");
  Value table;
  if (node.has_input(2)) {
    table = node.reshape(node.input(2), {classes, 1});
  } else {
    HostTensor ones(DType::f64, {classes.factor, 1});
    std::fill_n(ones.as_mutable<double>(), classes.factor, 1.0);
    table = node.constant(ones.cast(like.dtype()));
  }
  return node.make("gather_rows", {table, labels});
}

void import_loss(NodeReader& node, Value log_probabilities) {
  const Value targets = node.input(1);
  const Shape& shape = log_probabilities.shape();
  if (shape.size() < 2 || targets.type().rank() != static_cast<std::int64_t>(shape.size()) - 1) {
    node.unsupported(fmt::format("labels {} do not belong to {}", to_string(targets.type()),
                                 to_string(log_probabilities.type())));
  }
  const Value labels = label_rows(node, targets);
  const Value rows = class_rows(node, log_probabilities);
  Value loss = node.make("neg", {node.make("pick", {rows, labels})});
  const std::string reduction = node.text("reduction", "mean");
  const bool weighted = node.has_input(2);
  Value weights;
  if (weighted || reduction == "mean") weights = row_weights(node, labels, rows, shape[1]);
  if (weighted) loss = node.make("mul", {loss, weights});
  if (reduction == "none") return node.set(node.reshape(loss, targets.shape()));
  const auto total = [&](Value x) {
    return node.make("reduce_sum", {x}, {{"axes", Ints{0, 1}}, {"keepdims", false}});
  };
  if (reduction == "sum") return node.set(total(loss));
  if (reduction != "mean") node.unsupported("its reduction is not none, sum or mean");
  node.set(node.make("div", {total(loss), total(weights)}));
}

void import_nll(NodeReader& node) { import_loss(node, node.input(0)); }

void import_cross_entropy(NodeReader& node) {
  const Value log_probabilities = log_softmax(node, node.input(0), 1);
  node.set(1, log_probabilities);
  import_loss(node, log_probabilities);
}

}  // namespace

void add_loss_handlers(HandlerTable& table) {
  table.add("NegativeLogLikelihoodLoss", import_nll);
  table.add("SoftmaxCrossEntropyLoss", import_cross_entropy);
}

}  // namespace facet::onnx_import
