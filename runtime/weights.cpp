#include "runtime/weights.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string_view>

#include "ir/hash.h"
#include "runtime/splitmix.h"

namespace facet {
namespace {

/// Below so many values a second thread costs more than it gives.
constexpr std::int64_t kSerialBelow = 1 << 16;

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
#pragma omp parallel for if (count > kSerialBelow)
  for (std::int64_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>(init.a + width * static_cast<double>(stream.bits(i) >> 40) / 0x1p24);
  }
}

/// Box and Muller's method: two values from the two halves of one word.
void fill_normal(float* values, std::int64_t count, const Initializer& init, const Stream& stream) {
  const auto mean = static_cast<float>(init.a);
  const auto deviation = static_cast<float>(init.b);
#pragma omp parallel for if (count > kSerialBelow)
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

}  // namespace facet
