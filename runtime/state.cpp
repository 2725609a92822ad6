#include "runtime/state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>

#include "ir/error.h"

namespace facet {

State::State(const Graph& graph, const TensorMap& tensors, bool float64) {
  adopt(graph, tensors, float64);
  for (auto& [key, tensor] : tensors_) tensor = tensor.clone();
}

State::State(const Graph& graph, TensorMap&& tensors) {
  adopt(graph, tensors, false);
  tensors.clear();
}

void State::adopt(const Graph& graph, const TensorMap& tensors, bool float64) {
  std::string problems;
  for (const Output& update : graph.updates()) {
    const Parameter* parameter = graph.find_parameter(update.name);
    const std::vector<std::int64_t> wanted = static_extents(parameter->type.shape);
    const auto it = tensors.find(update.name);
    if (it == tensors.end()) {
      problems += fmt::format("\n  missing: {} [{}]", update.name, fmt::join(wanted, ", "));
    } else if (it->second.shape() != wanted) {
      problems += fmt::format("\n  {} is [{}], expected [{}]", update.name,
                              fmt::join(it->second.shape(), ", "), fmt::join(wanted, ", "));
    } else {
      const DType dtype = float64 ? DType::f64 : parameter->type.dtype;
      tensors_[update.name] = it->second.cast(dtype);
    }
  }
  if (!problems.empty()) {
    throw usage_error(
        fmt::format("the state does not fit network '{}':{}", graph.name(), problems));
  }
}

TensorMap State::snapshot() const {
  TensorMap copy;
  for (const auto& [key, tensor] : tensors_) copy.emplace(key, tensor.clone());
  return copy;
}

void State::assign(const TensorMap& tensors) {
  for (const auto& [key, tensor] : tensors) {
    const auto it = tensors_.find(key);
    if (it == tensors_.end()) throw usage_error(fmt::format("there is no state '{}'", key));
    if (it->second.shape() == tensor.shape()) continue;
    throw usage_error(fmt::format("state '{}' is [{}], not [{}]", key,
                                  fmt::join(it->second.shape(), ", "),
                                  fmt::join(tensor.shape(), ", ")));
  }
  for (const auto& [key, tensor] : tensors) {
    HostTensor& to = tensors_.at(key);
    const HostTensor from = tensor.cast(to.dtype());
    std::memcpy(to.mutable_data(), from.data(), static_cast<std::size_t>(to.byte_count()));
  }
}

std::byte* State::bytes(const std::string& key) {
  const auto it = tensors_.find(key);
  if (it == tensors_.end())
    throw failure(fmt::format("the program updates '{}', which the state lacks", key));
  return it->second.mutable_data();
}

}  // namespace facet
