#pragma once

#include "ir/graph.h"

namespace facet {

/// Puts together again what export takes apart because ONNX has no operator for it, so that the
/// passes find in an imported graph what they find in a declared one:
///
///   transpose of the last two axes, then matmul          -> matmul with transpose_a, transpose_b
///   matmul of rows with a weight of rank 2               -> linear; of columns it stays, or
///   becomes, one add(linear, parameter [O]), in either order          -> linear with a bias
///   reciprocal(sqrt(x)), mul(x, x)                       -> rsqrt, square
///   reshape, slice, reshape, slice along the last axes   -> skew
///   pad, reshape, pad, reshape along the last axes       -> unskew
///   reshape by -1 to an extent that is known             -> by the extent
///
/// Each is exactly the same function. Returns whether anything changed.
bool recompose(Graph& graph);

}  // namespace facet
