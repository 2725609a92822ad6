#include "tests/support/fill.h"

#include <cmath>
#include <string>

namespace facet::testing {
namespace {

std::uint64_t fnv1a64(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

std::uint64_t mix(std::uint64_t z) {
  z += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

struct Range {
  double lo;
  double hi;
};

/// Kaiming bound of a weight that has `shape` without its first axis as fan-in.
Range weight_range(const std::vector<std::int64_t>& shape) {
  double fan_in = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) fan_in *= static_cast<double>(shape[i]);
  const double bound = std::sqrt(6 / fan_in);
  return {-bound, bound};
}

Range range_of(const Parameter& parameter, const std::vector<std::int64_t>& shape) {
  switch (parameter.role) {
    case ParameterRole::running_mean:
      return {-0.1, 0.1};
    case ParameterRole::running_var:
      return {0.5, 1.5};
    case ParameterRole::bn_weight:
      return {0.4, 0.6};
    case ParameterRole::bn_bias:
      return {-0.1, 0.1};
    case ParameterRole::prelu_slope:
      return {0.2, 0.3};
    case ParameterRole::bias:
      return {-0.1, 0.1};
    case ParameterRole::weight:
      return weight_range(shape);
    case ParameterRole::batches_tracked:
      return {0, 0};
    case ParameterRole::other:
      return {-0.5, 0.5};
  }
  return {0, 0};
}

HostTensor fill(const Parameter& parameter) {
  if (!parameter.fixed.empty()) return parameter.fixed;
  const std::vector<std::int64_t> shape = static_extents(parameter.type.shape);
  const auto [lo, hi] = range_of(parameter, shape);
  if (!is_float(parameter.type.dtype)) return HostTensor(parameter.type.dtype, shape);
  return uniform(parameter.key, shape, lo, hi);
}

}  // namespace

HostTensor uniform(std::string_view name, std::vector<std::int64_t> shape, double lo, double hi) {
  HostTensor tensor(DType::f32, std::move(shape));
  float* values = tensor.as_mutable<float>();
  const std::uint64_t seed = fnv1a64(name);
  for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
    const std::uint64_t bits = mix(seed + static_cast<std::uint64_t>(i)) >> 40;
    values[i] = static_cast<float>(lo + (hi - lo) * static_cast<double>(bits) / 0x1p24);
  }
  return tensor;
}

TensorMap fill_parameters(const Graph& graph) {
  TensorMap parameters;
  for (const Parameter& parameter : graph.parameters()) {
    parameters[parameter.key] = fill(parameter);
  }
  return parameters;
}

HostTensor fill_input(std::string_view name, std::vector<std::int64_t> shape) {
  return uniform(name, std::move(shape), -1, 1);
}

TensorMap fill_inputs(const Graph& graph, std::int64_t batch) {
  TensorMap inputs;
  for (const Node* node : graph.inputs()) {
    std::vector<std::int64_t> shape;
    for (const Dim& dim : node->result_types()[0].shape) {
      shape.push_back(dim.is_static() ? dim.factor : dim.factor * batch);
    }
    const std::string& name = node->attributes().text("name");
    inputs[name] = fill_input(name, std::move(shape));
  }
  return inputs;
}

}  // namespace facet::testing
