#pragma once

#include <string>
#include <vector>

#include "ir/dsl.h"

/// Small networks that several tests look at.
namespace facet::test {

inline Value input(Graph& graph, const std::string& name, const std::string& type) {
  return graph.create("input", {}, {{"name", name}, {"type", type}})->result();
}

inline Value constant(Graph& graph, std::vector<std::int64_t> shape, std::vector<float> values) {
  return graph
      .create("constant", {}, {{"value", HostTensor::from_floats(std::move(shape), values)}})
      ->result();
}

/// Declares a parameter and reads it.
inline Value parameter(Graph& graph, const std::string& key, const std::string& type) {
  Parameter declared;
  declared.key = key;
  declared.type = parse_type(type);
  graph.parameters().push_back(std::move(declared));
  return graph.create("parameter", {}, {{"key", key}, {"type", type}})->result();
}

/// Convolution, batch norm, activations, concat, reshape, linear; two outputs.
inline Graph two_branches() {
  Network net("two_branches");
  const Scope s = net.root();
  const Tensor x = net.input("image", {"N", 3, 8, 8});
  const Scope stem = s / "stem";
  const Tensor convolved =
      stem.conv("conv", x, {.out = 4, .kernel = 3, .stride = 2, .padding = 1, .bias = false});
  const Tensor y = relu(stem.batch_norm("bn", convolved));
  const Tensor z = s.prelu("act", s.conv("side", x, {.out = 2, .kernel = 2, .stride = 2}));
  const Tensor both = concat({y, z}, 1);
  net.output("embedding", s.linear("fc", reshape(both, {0, -1}), {.out = 5}));
  net.output("features", both);
  return net.finish();
}

/// Attention over patches, gates, pooling, slices, a shared slope, fixed buffers: the other layers.
inline Graph attention() {
  Network net("attention");
  const Scope s = net.root();
  const Tensor x = net.input("image", {"N", 4, 6, 6});
  const Scope block = s / "block" / 0;
  const Tensor q = reshape(block.conv("q", x, {.out = 4, .groups = 2}), {0, 4, 36});
  const Tensor k = reshape(block.conv("k", x, {.out = 4, .bias = false}), {0, 4, 36});
  const Tensor scale = block.parameter("scale", {1}, {Initializer::Kind::constant, 0.5, 0});
  const Tensor table = block.buffer("table", HostTensor::from_floats({1, 4}, {0, 0.25, 0.5, 0.75}));
  const Tensor scores = softmax(matmul_transposed(q, false, k, true) * scale + table, -1);
  const Tensor mixed = block.output(reshape(matmul(scores, q), {0, 4, 6, 6}));
  const Tensor gate = sigmoid(mean(mixed, {2, 3}));
  const Tensor gated = s.prelu("act", mixed * gate + x, {.shared = true, .init = 0.1});
  const Tensor pooled = max_pool(gated, {.kernel = 3, .stride = 2, .padding = 1});
  const Tensor half = slice(pooled, 1, 0, 2) - 0.5;
  net.output("half", clamp(half, -1, 1));
  net.output("embedding", l2_normalize(flatten(avg_pool(pooled, {.kernel = 3, .stride = 3}))));
  return net.finish();
}

}  // namespace facet::test
