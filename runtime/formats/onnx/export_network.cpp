#include "ir/epilogue.h"
#include "ir/error.h"
#include "runtime/formats/onnx/node_writer.h"

// Layers: convolutions, matrix products, pooling, batch normalisation, activations with parameters.

namespace facet::onnx_export {
namespace {

/// A bias ahead of all else is an input of ONNX's Conv and Gemm; other epilogues decompose.
std::string more_than_bias(const Node& node, int) {
  const Strings& epilogue = node.attributes().strings("epilogue");
  return epilogue.empty() || epilogue == Strings{"bias"} ? "" : "an epilogue beyond a bias";
}

void write_conv(NodeWriter& w) {
  const Attributes& a = w.attributes();
  Ints kernel;
  const Shape& weight = w.type(1).shape;
  for (std::size_t i = 2; i < weight.size(); ++i) kernel.push_back(weight[i].factor);
  w.result("Conv", {w.operand(0), w.operand(1), w.operand(kEpilogueStart)},
           {{"kernel_shape", std::move(kernel)},
            {"strides", a.ints("strides")},
            {"pads", a.ints("pads")},
            {"dilations", a.ints("dilations")},
            {"group", a.integer("groups")}});
}

/// Gemm takes matrices only; other ranks are a product with the transposed weight.
void write_linear(NodeWriter& w) {
  const std::string bias = w.operand(kEpilogueStart);
  if (w.type(0).rank() == 2) {
    return w.result("Gemm", {w.operand(0), w.operand(1), bias}, {{"transB", std::int64_t{1}}});
  }
  const std::string weight = w.transpose(w.operand(1), {1, 0});
  if (bias.empty()) return w.result("MatMul", {w.operand(0), weight});
  w.result("Add", {w.add("MatMul", {w.operand(0), weight}), bias});
}

/// The operand with its last two axes swapped if `transposed`.
std::string matrix(NodeWriter& w, int operand, bool transposed) {
  if (!transposed) return w.operand(operand);
  const std::int64_t rank = w.type(operand).rank();
  Ints permutation;
  for (std::int64_t axis = 0; axis < rank - 2; ++axis) permutation.push_back(axis);
  permutation.push_back(rank - 1);
  permutation.push_back(rank - 2);
  return w.transpose(w.operand(operand), permutation);
}

void write_matmul(NodeWriter& w) {
  const std::string a = matrix(w, 0, w.attributes().boolean("transpose_a"));
  const std::string b = matrix(w, 1, w.attributes().boolean("transpose_b"));
  w.result("MatMul", {a, b});
}

void write_pool(NodeWriter& w) {
  const Attributes& a = w.attributes();
  Attributes attributes{
      {"kernel_shape", a.ints("kernel")}, {"strides", a.ints("strides")}, {"pads", a.ints("pads")}};
  const bool is_mean = w.node().is("avg_pool");
  if (is_mean) attributes.set("count_include_pad", std::int64_t{1});
  w.result(is_mean ? "AveragePool" : "MaxPool", {w.operand(0)}, std::move(attributes));
}

/// ONNX's momentum is the share that the old statistic keeps. In training it moves running_var
/// towards the biased variance, where Facet takes the unbiased one, as PyTorch does.
void write_batch_norm(NodeWriter& w) {
  const Attributes& a = w.attributes();
  Attributes attributes{{"epsilon", a.number("epsilon")}, {"momentum", 1 - a.number("momentum")}};
  int extra_outputs = 0;
  if (w.training()) {  // before opset 14 the number of outputs tells the mode
    if (w.opset() >= 14) attributes.set("training_mode", std::int64_t{1});
    extra_outputs = w.opset() >= 14 ? 2 : 4;
  }
  w.result("BatchNormalization", w.operands(), std::move(attributes), extra_outputs);
}

/// ONNX wants a scale; without one, and in older opsets, the layer decomposes.
std::string no_layer_norm(const Node& node, int opset) {
  if (opset < 17) return "LayerNormalization before opset 17";
  return node.operand_count() > 1 ? "" : "a layer_norm without a scale";
}

void write_layer_norm(NodeWriter& w) {
  const Attributes& a = w.attributes();
  w.result("LayerNormalization", w.operands(),
           {{"axis", a.integer("axis")}, {"epsilon", a.number("epsilon")}});
}

void write_dropout(NodeWriter& w) {
  Names inputs{w.operand(0), w.scalar(w.attributes().number("rate"), DType::f32)};
  if (w.training()) inputs.push_back(w.scalar(1, DType::boolean));
  w.result("Dropout", std::move(inputs));
}

/// ONNX broadcasts the slope from the last axis.
void write_prelu(NodeWriter& w) {
  const std::int64_t rank = w.type(0).rank();
  std::string slope = w.operand(1);
  if (rank > 2 && w.type(1).shape != Shape{1}) {
    Ints shape(static_cast<std::size_t>(rank - 1), 1);
    shape[0] = w.type(1).shape[0].factor;
    slope = w.reshape(slope, shape);
  }
  w.result("PRelu", {w.operand(0), slope});
}

}  // namespace

void add_network_writers(WriterTable& table) {
  table.add("conv", write_conv, more_than_bias);
  table.add("conv3d", write_conv);
  table.add("linear", write_linear, more_than_bias);
  table.add("matmul", write_matmul);
  table.add("max_pool", write_pool);
  table.add("avg_pool", write_pool);
  table.add("batch_norm", write_batch_norm);
  table.add("layer_norm", write_layer_norm, no_layer_norm);
  table.add("dropout", write_dropout);
  table.add("prelu", write_prelu);
}

}  // namespace facet::onnx_export
