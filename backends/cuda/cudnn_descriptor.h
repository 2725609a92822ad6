#pragma once

#include <cudnn_graph.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/dtype.h"

namespace facet::cuda {

/// A descriptor of cuDNN's backend interface, destroyed with its owner. Setters and `finalize`
/// throw Error(failure) with `what`, the status and cuDNN's own reason. Not synchronised.
class Descriptor {
 public:
  /// `what` names it in messages: "tensor operand0".
  Descriptor(cudnnBackendDescriptorType_t type, std::string what);
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  /// Elements of type T, which `type` names.
  template <class T>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
           std::span<const T> values) {
    set_bytes(name, type, static_cast<std::int64_t>(values.size()), values.data());
  }
  void set(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values);
  void set(cudnnBackendAttributeName_t name, std::int64_t value);
  void set(cudnnBackendAttributeName_t name, bool value);
  void set(cudnnBackendAttributeName_t name, float value);
  void set(cudnnBackendAttributeName_t name, cudnnDataType_t value);
  void set(cudnnBackendAttributeName_t name, cudnnHandle_t value);
  void set(cudnnBackendAttributeName_t name, const Descriptor& value);
  void set(cudnnBackendAttributeName_t name, std::span<const Descriptor> values);
  void set(cudnnBackendAttributeName_t name, std::string_view text);

  void finalize();
  /// Why cuDNN does not finalise it; empty if it has.
  std::string try_finalize();

  cudnnBackendDescriptor_t raw() const { return raw_; }
  std::int64_t get_integer(cudnnBackendAttributeName_t name) const;
  std::string get_text(cudnnBackendAttributeName_t name) const;
  /// At most `capacity` values of an enumeration; none if cuDNN does not tell.
  template <class T>
  std::vector<T> get_list(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                          std::int64_t capacity) const {
    std::vector<T> values(static_cast<std::size_t>(capacity));
    values.resize(get_bytes(name, type, capacity, values.data()));
    return values;
  }
  /// How many descriptors `name` holds.
  std::int64_t count(cudnnBackendAttributeName_t name) const;
  /// They are written into descriptors of `type` that exist already.
  std::vector<Descriptor> get_descriptors(cudnnBackendAttributeName_t name,
                                          cudnnBackendDescriptorType_t type,
                                          std::int64_t count) const;

 private:
  void set_bytes(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                 std::int64_t count, const void* values);
  std::size_t get_bytes(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                        std::int64_t capacity, void* values) const;

  cudnnBackendDescriptor_t raw_ = nullptr;
  std::string what_;
};

/// The status in words, with cuDNN's own reason behind it where this thread's last call left one.
std::string describe(cudnnStatus_t status);

/// Throws Error(failure) for an element type that cuDNN does not compute with.
cudnnDataType_t data_type(DType dtype);

}  // namespace facet::cuda
