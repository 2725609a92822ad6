#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <string>
#include <vector>

#include "ir/host_tensor.h"

namespace facet::onnx_import {

/// "FLOAT8E4M3FN" and so on; "type 99" for an unknown number.
std::string type_name(std::int64_t onnx_type);
/// Throws Error(failure) that names the type if Facet has none like it.
DType facet_dtype(std::int64_t onnx_type);
/// The ONNX number of a Facet type.
std::int64_t onnx_type(DType dtype);

/// The extents of a tensor. Throws Error(failure) for a negative one and for a product that
/// overflows.
std::vector<std::int64_t> extents_of(const ::onnx::TensorProto& tensor);

/// The elements of a tensor held in the message, copied (`take`: raw bytes are taken out of the
/// message instead). Throws Error(failure) for a type Facet has not, external data, and data whose
/// size is not the shape's.
HostTensor read_tensor(const ::onnx::TensorProto& tensor);
HostTensor take_tensor(::onnx::TensorProto& tensor);

}  // namespace facet::onnx_import
