#include "runtime/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <optional>
#include <set>
#include <string_view>

#include "ir/error.h"
#include "ir/hash.h"
#include "runtime/formats/safetensors.h"
#include "runtime/splitmix.h"

namespace facet {
namespace {

/// Random bits by position, so that a value depends on seed, key and place only (SplitMix64).
class Stream {
 public:
  Stream(std::uint64_t seed, std::string_view key) {
    Hasher hasher;
    hasher.number(seed);
    hasher.text(key);
    start_ = hasher.value();
  }

  std::uint64_t bits(std::int64_t i) const {
    return splitmix64(start_, static_cast<std::uint64_t>(i));
  }

 private:
  std::uint64_t start_ = 0;
};

void fill_uniform(float* values, std::int64_t count, const Initializer& init, const Stream& stream) {
  const double width = init.b - init.a;
  for (std::int64_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>(init.a + width * static_cast<double>(stream.bits(i) >> 40) / 0x1p24);
  }
}

/// Box and Muller's method: two values from the two halves of one word.
void fill_normal(float* values, std::int64_t count, const Initializer& init, const Stream& stream) {
  const auto mean = static_cast<float>(init.a);
  const auto deviation = static_cast<float>(init.b);
  for (std::int64_t i = 0; i < count; i += 2) {
    const std::uint64_t bits = stream.bits(i / 2);
    const float u = static_cast<float>((bits >> 40) + 1) / 0x1p24F;  // (0, 1]: its log is finite
    const float angle = 2 * std::numbers::pi_v<float> * static_cast<float>(bits & 0xFFFFFF) / 0x1p24F;
    const float radius = deviation * std::sqrt(-2 * std::log(u));
    values[i] = mean + radius * std::cos(angle);
    if (i + 1 < count) values[i + 1] = mean + radius * std::sin(angle);
  }
}

HostTensor fresh(const Parameter& parameter, std::uint64_t seed) {
  if (!parameter.fixed.empty()) return parameter.fixed;
  HostTensor tensor(DType::f32, static_extents(parameter.type.shape));
  auto* values = tensor.as_mutable<float>();
  const std::int64_t count = tensor.element_count();
  const Stream stream(seed, parameter.key);
  switch (parameter.init.kind) {
    case Initializer::Kind::constant:
      std::fill(values, values + count, static_cast<float>(parameter.init.a));
      break;
    case Initializer::Kind::uniform:
      fill_uniform(values, count, parameter.init, stream);
      break;
    case Initializer::Kind::normal:
      fill_normal(values, count, parameter.init, stream);
      break;
  }
  return tensor.cast(parameter.type.dtype);
}

/// The key without the prefix that data-parallel wrappers put before a module's own names.
std::string own_key(const Graph& graph, const std::string& name) {
  constexpr std::string_view kPrefix = "module.";
  if (!name.starts_with(kPrefix) || graph.find_parameter(name) != nullptr) return name;
  return name.substr(kPrefix.size());
}

std::string describe(DType dtype, const std::vector<std::int64_t>& shape) {
  return fmt::format("{}[{}]", to_string(dtype), fmt::join(shape, ", "));
}

/// What of a file does not fit its graph.
struct Mismatch {
  std::vector<std::string> missing;
  std::vector<std::string> unexpected;
  std::vector<std::string> ill_typed;

  bool any() const { return !missing.empty() || !unexpected.empty() || !ill_typed.empty(); }
  std::string message(const std::string& path, const std::string& graph) const {
    std::string text = fmt::format(
        "{} does not fit '{}': {} missing, {} unexpected and {} ill-typed tensors; "
        "check the model and its options, nothing was loaded",
        path, graph, missing.size(), unexpected.size(), ill_typed.size());
    for (const std::string& line : missing) text += "\n  missing: " + line;
    for (const std::string& line : unexpected) text += "\n  unexpected: " + line;
    for (const std::string& line : ill_typed) text += "\n  ill-typed: " + line;
    return text;
  }
};

}  // namespace

TensorMap random_weights(const Graph& graph, std::uint64_t seed) {
  TensorMap weights;
  for (const Parameter& parameter : graph.parameters()) {
    weights.emplace(parameter.key, fresh(parameter, seed));
  }
  return weights;
}

TensorMap trial_weights(const Graph& graph, std::uint64_t seed) {
  TensorMap weights;
  for (Parameter parameter : graph.parameters()) {
    const Shape& shape = parameter.type.shape;
    if (parameter.role == ParameterRole::weight && shape.size() >= 2) {
      const Dim fan_in = element_count(Shape(shape.begin() + 1, shape.end()));
      const double bound = std::sqrt(6.0 / static_cast<double>(std::max<std::int64_t>(fan_in.factor, 1)));
      parameter.init = {Initializer::Kind::uniform, -bound, bound};
    } else if (parameter.role == ParameterRole::bn_weight) {
      parameter.init = {Initializer::Kind::uniform, 0.4, 0.6};
    }
    weights.emplace(parameter.key, fresh(parameter, seed));
  }
  return weights;
}

TensorMap load_weights(const Graph& graph, const std::string& path) {
  const SafetensorsFile file = read_safetensors(path);
  Mismatch mismatch;
  TensorMap weights;
  std::set<std::string> seen;
  for (const auto& [name, tensor] : file.tensors()) {
    const std::string key = own_key(graph, name);
    if (!seen.insert(key).second) {
      throw failure(fmt::format("{} has both '{}' and 'module.{}'; remove one", path, key, key));
    }
    const Parameter* parameter = graph.find_parameter(key);
    if (parameter == nullptr) {
      mismatch.unexpected.push_back(fmt::format("{} {}", name, describe(tensor.dtype(), tensor.shape())));
      continue;
    }
    const DType wanted = parameter->type.dtype;
    const std::vector<std::int64_t> shape = static_extents(parameter->type.shape);
    if (tensor.shape() != shape || is_float(tensor.dtype()) != is_float(wanted)) {
      mismatch.ill_typed.push_back(fmt::format("{} is {}, should be {}", name,
                                               describe(tensor.dtype(), tensor.shape()),
                                               describe(wanted, shape)));
      continue;
    }
    weights.emplace(key, tensor.cast(wanted));
  }
  for (const Parameter& parameter : graph.parameters()) {
    if (!seen.contains(parameter.key)) {
      mismatch.missing.push_back(parameter.key + " " + to_string(parameter.type));
    }
  }
  if (mismatch.any()) throw failure(mismatch.message(path, graph.name()));
  return weights;
}

TensorMap resolve_weights(const Graph& graph, const std::string& specification) {
  constexpr std::string_view kRandom = "random";
  const std::string_view text = specification;
  if (text != kRandom && !text.starts_with("random:")) return load_weights(graph, specification);
  const std::string_view digits = text.substr(std::min(text.size(), kRandom.size() + 1));
  std::uint64_t seed = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), seed);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    throw usage_error(fmt::format(
        "weights '{}': write random:SEED with a whole number, e.g. random:1, or a safetensors file",
        specification));
  }
  return trial_weights(graph, seed);
}

}  // namespace facet
