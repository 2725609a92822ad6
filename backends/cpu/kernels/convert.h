#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "backends/backend.h"
#include "backends/cpu/kernels/vector.h"

namespace facet::cpu {

/// The loops' name for a dtype. Throws Error(failure) that names the node for one that the f32
/// kernels do not compute on (f64, integers).
Float float_type(const Node& node, DType dtype);
constexpr std::int64_t size_of(Float type) { return type == Float::f32 ? 4 : 2; }

/// Throws Error(failure) that names the node and the operand or result when a view is in a blocked
/// layout or its strides do not fit its rank.
void check_unblocked(const Node& node, std::span<const View> operands,
                     std::span<const View> results);

/// y[i] = x[i * stride] for i < n, widened to f32; a stride of 0 repeats one element.
void load_floats(Float type, const std::byte* x, std::int64_t stride, float* y, std::int64_t n);
/// y[i * stride] = x[i] for i < n, rounded to nearest even.
void store_floats(Float type, const float* x, std::byte* y, std::int64_t stride, std::int64_t n);

/// y[i * y_stride] = x[i * x_stride] for i < n between any two dtypes. Same dtype: the same bytes.
/// Among floats of at most 32 bits by way of f32, otherwise by way of double: integers beyond 2^53
/// keep their value only when the dtype stays.
void convert(DType from, const std::byte* x, std::int64_t x_stride, DType to, std::byte* y,
             std::int64_t y_stride, std::int64_t n);

}  // namespace facet::cpu
