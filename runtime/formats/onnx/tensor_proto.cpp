#include "runtime/formats/onnx/tensor_proto.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include "ir/error.h"
#include "runtime/formats/onnx/node_reader.h"

namespace facet::onnx_import {
namespace {

using ::onnx::TensorProto;

struct TypePair {
  std::int64_t onnx;
  DType facet;
};
constexpr std::array kTypes = {
    TypePair{TensorProto::FLOAT, DType::f32},    TypePair{TensorProto::BFLOAT16, DType::bf16},
    TypePair{TensorProto::FLOAT16, DType::f16},  TypePair{TensorProto::DOUBLE, DType::f64},
    TypePair{TensorProto::INT64, DType::i64},    TypePair{TensorProto::INT32, DType::i32},
    TypePair{TensorProto::INT8, DType::i8},      TypePair{TensorProto::UINT8, DType::u8},
    TypePair{TensorProto::BOOL, DType::boolean},
};

template <class To, class Field>
void copy_field(const Field& field, HostTensor& to) {
  To* out = to.as_mutable<To>();
  for (int i = 0; i < field.size(); ++i) out[i] = static_cast<To>(field.Get(i));
}

int field_size(const TensorProto& tensor, DType dtype) {
  if (dtype == DType::f32) return tensor.float_data_size();
  if (dtype == DType::f64) return tensor.double_data_size();
  if (dtype == DType::i64) return tensor.int64_data_size();
  return tensor.int32_data_size();
}

void copy_typed(const TensorProto& tensor, HostTensor& to) {
  switch (to.dtype()) {
    case DType::f32:
      return copy_field<float>(tensor.float_data(), to);
    case DType::f64:
      return copy_field<double>(tensor.double_data(), to);
    case DType::i64:
      return copy_field<std::int64_t>(tensor.int64_data(), to);
    case DType::i32:
      return copy_field<std::int32_t>(tensor.int32_data(), to);
    case DType::bf16:
    case DType::f16:
      return copy_field<std::uint16_t>(tensor.int32_data(), to);
    case DType::i8:
    case DType::u8:
    case DType::boolean:
      return copy_field<std::uint8_t>(tensor.int32_data(), to);
  }
}

Error wrong_size(const TensorProto& tensor, std::int64_t wanted, std::size_t found) {
  return failure(fmt::format("tensor '{}' holds {} {} where its shape asks for {}", tensor.name(),
                             found, tensor.has_raw_data() ? "bytes" : "elements", wanted));
}

/// Booleans are 0 or 1 whatever the file says: other bytes would leak through every comparison.
HostTensor normal(HostTensor tensor) {
  if (tensor.dtype() != DType::boolean) return tensor;
  HostTensor result = tensor.clone();
  for (std::int64_t i = 0; i < result.element_count(); ++i) {
    auto& element = result.as_mutable<std::uint8_t>()[i];
    element = element != 0 ? 1 : 0;
  }
  return result;
}

/// Whether the data lies in raw_data. Throws unless it is as long as the shape says.
bool check_data(const TensorProto& tensor, DType dtype, std::int64_t count) {
  if (tensor.data_location() == TensorProto::EXTERNAL) {
    throw failure(fmt::format("tensor '{}' is external where it may not be", tensor.name()));
  }
  if (tensor.has_raw_data()) {
    const std::size_t size = tensor.raw_data().size();
    if (size % static_cast<std::size_t>(size_of(dtype)) != 0 ||
        static_cast<std::int64_t>(size) / size_of(dtype) != count) {
      throw wrong_size(tensor, count * size_of(dtype), size);
    }
    return true;
  }
  const int size = field_size(tensor, dtype);
  if (size != count) throw wrong_size(tensor, count, static_cast<std::size_t>(size));
  return false;
}

}  // namespace

std::string type_name(std::int64_t onnx_type) {
  const int number = static_cast<int>(onnx_type);
  if (number != onnx_type || !TensorProto::DataType_IsValid(number)) {
    return fmt::format("type {}", onnx_type);
  }
  return TensorProto::DataType_Name(static_cast<TensorProto::DataType>(number));
}

DType facet_dtype(std::int64_t onnx_type) {
  for (const TypePair& pair : kTypes) {
    if (pair.onnx == onnx_type) return pair.facet;
  }
  throw out_of_scope("the element type " + type_name(onnx_type));
}

std::int64_t onnx_type(DType dtype) {
  for (const TypePair& pair : kTypes) {
    if (pair.facet == dtype) return pair.onnx;
  }
  return TensorProto::UNDEFINED;
}

std::vector<std::int64_t> extents_of(const TensorProto& tensor) {
  std::vector<std::int64_t> extents(tensor.dims().begin(), tensor.dims().end());
  std::int64_t count = 16;  // leaves room to multiply by the size of an element
  for (const std::int64_t extent : extents) {
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) {
      throw failure(
          fmt::format("tensor '{}' has an extent of {}: negative, or the element count "
                      "overflows",
                      tensor.name(), extent));
    }
  }
  return extents;
}

HostTensor read_tensor(const TensorProto& tensor) {
  const DType dtype = facet_dtype(tensor.data_type());
  std::vector<std::int64_t> extents = extents_of(tensor);
  const bool raw = check_data(tensor, dtype, element_count(extents));
  HostTensor result(dtype, std::move(extents));  // not before its size is checked
  if (raw) {
    std::memcpy(result.mutable_data(), tensor.raw_data().data(), tensor.raw_data().size());
  } else {
    copy_typed(tensor, result);
  }
  return normal(std::move(result));
}

HostTensor take_tensor(TensorProto& tensor) {
  const DType dtype = facet_dtype(tensor.data_type());
  std::vector<std::int64_t> extents = extents_of(tensor);
  if (!check_data(tensor, dtype, element_count(extents))) return read_tensor(tensor);
  const std::shared_ptr<std::string> bytes(tensor.release_raw_data());
  if (reinterpret_cast<std::uintptr_t>(bytes->data()) % 16 != 0 || bytes->empty()) {
    HostTensor copy(dtype, std::move(extents));
    if (!bytes->empty()) std::memcpy(copy.mutable_data(), bytes->data(), bytes->size());
    return normal(std::move(copy));
  }
  return normal(HostTensor(dtype, std::move(extents),
                           reinterpret_cast<const std::byte*>(bytes->data()), bytes));
}

}  // namespace facet::onnx_import
