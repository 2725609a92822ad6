#include "training/initial_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "ir/error.h"
#include "runtime/weights.h"
#include "training/step.h"

namespace facet {
namespace {

constexpr std::string_view kAverage = "ema.";

HostTensor identity(std::int64_t size) {
  HostTensor matrix(DType::f32, {size, size});
  auto* values = matrix.as_mutable<float>();
  for (std::int64_t i = 0; i < size; ++i) values[i * size + i] = 1;
  return matrix;
}

const HostTensor& tensor_of(const TensorMap& weights, const std::string& key) {
  const auto found = weights.find(key);
  if (found != weights.end()) return found->second;
  throw usage_error(
      fmt::format("model.init_branches needs a Deep Coupled ResNet; the network has no "
                  "parameter '{}'",
                  key));
}

}  // namespace

void copy_trunk_to_branches(TensorMap& weights) {
  const HostTensor fc2_weight = tensor_of(weights, "trunk.fc2.weight");
  const HostTensor fc2_bias = tensor_of(weights, "trunk.fc2.bias");
  tensor_of(weights, "branches.0.fc1.weight");  // at least one
  for (int k = 0;; ++k) {
    const std::string branch = fmt::format("branches.{}.", k);
    const auto found = weights.find(branch + "fc1.weight");
    if (found == weights.end()) return;
    const std::vector<std::int64_t> shape = found->second.shape();
    if (shape.at(0) != shape.at(1) ||
        weights.at(branch + "fc2.weight").shape() != fc2_weight.shape()) {
      throw usage_error(
          fmt::format("model.init_branches: branch {} cannot start as the trunk: its "
                      "embedding must be as wide as the trunk's (mid_channels = "
                      "out_channels) and its classes as many",
                      k));
    }
    found->second = identity(shape[0]);
    weights.at(branch + "fc1.bias") = HostTensor(DType::f32, {shape[0]});
    weights.at(branch + "fc2.weight") = fc2_weight.clone();
    weights.at(branch + "fc2.bias") = fc2_bias.clone();
  }
}

TensorMap initial_weights(const Graph& network, const Graph& step, const Recipe& recipe) {
  TensorMap weights = random_weights(step, recipe.training.seed);
  std::erase_if(weights, [](const auto& entry) { return entry.first.starts_with(kAverage); });
  const ModelRecipe& model = recipe.model;
  if (!model.init.empty()) {
    for (auto& [key, tensor] : load_weights(network, model.init, model.init_skip)) {
      weights[key] = tensor.clone();  // training writes it; the file is mapped
    }
  }
  if (model.init_branches) copy_trunk_to_branches(weights);
  start_averages(step, weights);
  return weights;
}

}  // namespace facet
