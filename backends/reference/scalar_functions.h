#pragma once

#include <string_view>

namespace facet::reference {

using UnaryFunction = double (*)(double x);
using BinaryFunction = double (*)(double a, double b);

/// The scalar function of that op. `prelu` is a binary function of the value and its slope.
/// Throw Error(failure) for a name that is not such a function.
UnaryFunction unary_function(std::string_view name);
BinaryFunction binary_function(std::string_view name);

}  // namespace facet::reference
