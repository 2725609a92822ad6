#include "runtime/state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "ir/error.h"
#include "ir/layout.h"

namespace facet {
namespace {

using Strides = std::vector<std::int64_t>;

/// Of a value in its layout; empty where that is row-major.
Strides strides_in_memory(const Type& type) {
  const Strides strides = dense_strides(type);
  const Strides rows = dense_strides({type.dtype, type.shape, {}});
  return same_strides(static_extents(type.shape), strides, rows) ? Strides{} : strides;
}

/// Calls `copy` with every element's place among rows and its place by `strides`.
template <class Copy>
void for_each_element(const std::vector<std::int64_t>& shape, const Strides& strides, Copy copy) {
  std::vector<std::int64_t> at(shape.size(), 0);
  std::int64_t strided = 0;
  const std::int64_t count = element_count(shape);
  for (std::int64_t row = 0; row < count; ++row) {
    copy(row, strided);
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      strided += strides[axis];
      if (++at[axis] < shape[axis]) break;
      strided -= at[axis] * strides[axis];
      at[axis] = 0;
    }
  }
}

/// The elements of a row-major tensor as they lie by `strides`.
HostTensor strided_from_rows(const HostTensor& rows, const Strides& strides) {
  HostTensor placed(rows.dtype(), rows.shape());
  const std::int64_t size = size_of(rows.dtype());
  std::byte* const to = placed.mutable_data();
  for_each_element(rows.shape(), strides, [&](std::int64_t row, std::int64_t strided) {
    std::copy_n(rows.data() + size * row, size, to + size * strided);
  });
  return placed;
}

/// Inverse of `strided_from_rows`.
HostTensor rows_from_strided(const HostTensor& placed, const Strides& strides) {
  HostTensor rows(placed.dtype(), placed.shape());
  const std::int64_t size = size_of(placed.dtype());
  std::byte* const to = rows.mutable_data();
  for_each_element(rows.shape(), strides, [&](std::int64_t row, std::int64_t strided) {
    std::copy_n(placed.data() + size * strided, size, to + size * row);
  });
  return rows;
}

}  // namespace

State::State(const Graph& graph, const TensorMap& tensors, bool float64) : queue_(host_queue()) {
  adopt(graph, tensors, float64, /*device=*/nullptr);
}

State::State(const Graph& graph, TensorMap&& tensors, const Backend& device)
    : queue_(device.make_queue()) {
  adopt(graph, tensors, /*float64=*/false, &device);
  tensors.clear();
}

void State::adopt(const Graph& graph, const TensorMap& tensors, bool float64,
                  const Backend* device) {
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
    }
  }
  if (!problems.empty()) {
    throw usage_error(
        fmt::format("the state does not fit network '{}':{}", graph.name(), problems));
  }
  for (const Output& update : graph.updates()) {
    Type type = graph.find_parameter(update.name)->type;
    const HostTensor given = tensors.at(update.name).cast(float64 ? DType::f64 : type.dtype);
    if (device != nullptr) type.layout = device->state_layout(type);
    const Strides strides = strides_in_memory(type);
    HostTensor placed = device == nullptr ? given.clone() : given;
    if (!strides.empty()) placed = strided_from_rows(given, strides);
    const auto tensor = std::make_shared<const HostTensor>(std::move(placed));
    const std::shared_ptr<const std::byte> bytes(tensor, tensor->data());
    tensors_[update.name] = {
        tensor->dtype(), tensor->shape(), strides, tensor->byte_count(),
        std::const_pointer_cast<std::byte>(queue_->place(bytes, tensor->byte_count(), "state"))};
  }
}

const State::Tensor& State::find(const std::string& key) const {
  const auto it = tensors_.find(key);
  if (it == tensors_.end())
    throw failure(fmt::format("the program updates '{}', which the state lacks", key));
  return it->second;
}

std::vector<std::string> State::keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, tensor] : tensors_) keys.push_back(key);
  return keys;
}

std::int64_t State::byte_count() const {
  std::int64_t bytes = 0;
  for (const auto& [key, tensor] : tensors_) bytes += tensor.byte_count;
  return bytes;
}

HostTensor State::tensor(const std::string& key) const {
  const Tensor& found = find(key);
  const std::shared_ptr<const std::byte> bytes = queue_->fetch(found.bytes, found.byte_count);
  const HostTensor placed(found.dtype, found.shape, bytes.get(), bytes);
  return found.strides.empty() ? placed : rows_from_strided(placed, found.strides);
}

TensorMap State::tensors() const {
  TensorMap all;
  for (const auto& [key, tensor] : tensors_) all.emplace(key, this->tensor(key));
  return all;
}

TensorMap State::snapshot() const {
  TensorMap copy;
  for (const auto& [key, from] : tensors_) {
    HostTensor tensor(from.dtype, from.shape);
    queue_->read(tensor.mutable_data(), from.bytes.get(), from.byte_count);
    if (!from.strides.empty()) tensor = rows_from_strided(tensor, from.strides);
    copy.emplace(key, std::move(tensor));
  }
  return copy;
}

void State::assign(const TensorMap& tensors) {
  for (const auto& [key, tensor] : tensors) {
    const auto it = tensors_.find(key);
    if (it == tensors_.end()) throw usage_error(fmt::format("there is no state '{}'", key));
    if (it->second.shape == tensor.shape()) continue;
    throw usage_error(fmt::format("state '{}' is [{}], not [{}]", key,
                                  fmt::join(it->second.shape, ", "),
                                  fmt::join(tensor.shape(), ", ")));
  }
  for (const auto& [key, tensor] : tensors) {
    const Tensor& to = tensors_.at(key);
    HostTensor placed = tensor.cast(to.dtype);
    if (!to.strides.empty()) placed = strided_from_rows(placed, to.strides);
    queue_->write(to.bytes.get(), placed.data(), to.byte_count);
  }
  queue_->wait();
}

void State::clear(const std::string& key) {
  const Tensor& found = find(key);
  const std::shared_ptr<std::byte> zeros = allocate_host_bytes(found.byte_count);
  queue_->write(found.bytes.get(), zeros.get(), found.byte_count);
  queue_->wait();
}

std::byte* State::bytes(const std::string& key) const { return find(key).bytes.get(); }

}  // namespace facet
