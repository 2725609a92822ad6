#pragma once

#include <string_view>

#include "backends/reference/evaluators.h"

namespace facet::reference {

/// Element by element, the two tensors of one shape, in 64-bit arithmetic that wraps around as
/// `dtype` does: add, sub, mul, div (towards 0), maximum, minimum, pow, greater, greater_equal,
/// equal, mod (sign of b), remainder (sign of a), and, or, xor, shift_left, shift_right. Division
/// by 0 gives 0. Throws Error(failure) for another function.
HostTensor whole_binary(std::string_view function, const HostTensor& a, const HostTensor& b,
                        DType dtype);

/// Whole numbers in f64, wrapped around to `dtype` where it is an integer type; otherwise `values`.
HostTensor wrapped(HostTensor values, DType dtype);

}  // namespace facet::reference
