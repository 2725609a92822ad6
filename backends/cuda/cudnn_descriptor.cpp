#include "backends/cuda/cudnn_descriptor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "ir/error.h"

namespace facet::cuda {

std::string describe(cudnnStatus_t status) {
  std::array<char, 2048> reason{};
  cudnnGetLastErrorString(reason.data(), reason.size() - 1);
  std::string text = cudnnGetErrorString(status);
  if (reason[0] != '\0') text += fmt::format(" ({})", reason.data());
  return text;
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type, std::string what)
    : what_(std::move(what)) {
  const cudnnStatus_t status = cudnnBackendCreateDescriptor(type, &raw_);
  if (status != CUDNN_STATUS_SUCCESS) {
    throw failure(fmt::format("cuDNN makes no {}: {}", what_, describe(status)));
  }
}

Descriptor::~Descriptor() {
  if (raw_ != nullptr) cudnnBackendDestroyDescriptor(raw_);
}

Descriptor::Descriptor(Descriptor&& other) noexcept
    : raw_(std::exchange(other.raw_, nullptr)), what_(std::move(other.what_)) {}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(raw_, other.raw_);
  std::swap(what_, other.what_);
  return *this;
}

void Descriptor::set_bytes(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                           std::int64_t count, const void* values) {
  const cudnnStatus_t status = cudnnBackendSetAttribute(raw_, name, type, count, values);
  if (status != CUDNN_STATUS_SUCCESS) {
    throw failure(fmt::format("cuDNN does not take attribute {} of the {}: {}",
                              static_cast<int>(name), what_, describe(status)));
  }
}

void Descriptor::set(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values) {
  set(name, CUDNN_TYPE_INT64, std::span<const std::int64_t>(values));
}
void Descriptor::set(cudnnBackendAttributeName_t name, std::int64_t value) {
  set_bytes(name, CUDNN_TYPE_INT64, 1, &value);
}
void Descriptor::set(cudnnBackendAttributeName_t name, bool value) {
  set_bytes(name, CUDNN_TYPE_BOOLEAN, 1, &value);
}
void Descriptor::set(cudnnBackendAttributeName_t name, float value) {
  set_bytes(name, CUDNN_TYPE_FLOAT, 1, &value);
}
void Descriptor::set(cudnnBackendAttributeName_t name, cudnnDataType_t value) {
  set_bytes(name, CUDNN_TYPE_DATA_TYPE, 1, &value);
}
void Descriptor::set(cudnnBackendAttributeName_t name, cudnnHandle_t value) {
  set_bytes(name, CUDNN_TYPE_HANDLE, 1, &value);
}
void Descriptor::set(cudnnBackendAttributeName_t name, const Descriptor& value) {
  set_bytes(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.raw_);
}
void Descriptor::set(cudnnBackendAttributeName_t name, std::span<const Descriptor> values) {
  std::vector<cudnnBackendDescriptor_t> raw;
  for (const Descriptor& value : values) raw.push_back(value.raw_);
  set_bytes(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<std::int64_t>(raw.size()), raw.data());
}
void Descriptor::set(cudnnBackendAttributeName_t name, std::string_view text) {
  const std::string terminated(text);
  set_bytes(name, CUDNN_TYPE_CHAR, static_cast<std::int64_t>(terminated.size()) + 1,
            terminated.c_str());
}

void Descriptor::finalize() {
  const std::string refusal = try_finalize();
  if (!refusal.empty()) throw failure(fmt::format("cuDNN refuses the {}: {}", what_, refusal));
}

std::string Descriptor::try_finalize() {
  const cudnnStatus_t status = cudnnBackendFinalize(raw_);
  return status == CUDNN_STATUS_SUCCESS ? std::string() : describe(status);
}

std::size_t Descriptor::get_bytes(cudnnBackendAttributeName_t name,
                                  cudnnBackendAttributeType_t type, std::int64_t capacity,
                                  void* values) const {
  std::int64_t count = 0;
  const cudnnStatus_t status = cudnnBackendGetAttribute(raw_, name, type, capacity, &count, values);
  return status == CUDNN_STATUS_SUCCESS ? static_cast<std::size_t>(std::min(count, capacity)) : 0;
}

std::int64_t Descriptor::get_integer(cudnnBackendAttributeName_t name) const {
  std::int64_t value = 0;
  if (get_bytes(name, CUDNN_TYPE_INT64, 1, &value) != 1) {
    throw failure(
        fmt::format("cuDNN does not tell attribute {} of the {}", static_cast<int>(name), what_));
  }
  return value;
}

std::string Descriptor::get_text(cudnnBackendAttributeName_t name) const {
  std::int64_t size = 0;
  if (cudnnBackendGetAttribute(raw_, name, CUDNN_TYPE_CHAR, 0, &size, nullptr) !=
          CUDNN_STATUS_SUCCESS ||
      size <= 0) {
    throw failure(
        fmt::format("cuDNN does not tell attribute {} of the {}", static_cast<int>(name), what_));
  }
  std::string text(static_cast<std::size_t>(size), '\0');
  text.resize(get_bytes(name, CUDNN_TYPE_CHAR, size, text.data()));
  return text.c_str();  // up to the end of the text
}

std::int64_t Descriptor::count(cudnnBackendAttributeName_t name) const {
  std::int64_t count = 0;
  const cudnnStatus_t status =
      cudnnBackendGetAttribute(raw_, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr);
  return status == CUDNN_STATUS_SUCCESS ? count : 0;
}

std::vector<Descriptor> Descriptor::get_descriptors(cudnnBackendAttributeName_t name,
                                                    cudnnBackendDescriptorType_t type,
                                                    std::int64_t count) const {
  std::vector<Descriptor> list;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (std::int64_t i = 0; i < count; ++i) {
    list.emplace_back(type, fmt::format("part {} of the {}", i, what_));
    raw.push_back(list.back().raw_);
  }
  const std::size_t found = get_bytes(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, raw.data());
  list.erase(list.begin() + static_cast<std::ptrdiff_t>(found), list.end());
  return list;
}

cudnnDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return CUDNN_DATA_FLOAT;
    case DType::bf16:
      return CUDNN_DATA_BFLOAT16;
    case DType::f16:
      return CUDNN_DATA_HALF;
    default:
      throw failure(
          fmt::format("convolutions on the GPU take f32, bf16 and f16, not {}", to_string(dtype)));
  }
}

}  // namespace facet::cuda
