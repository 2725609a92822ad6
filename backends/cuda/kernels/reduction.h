#pragma once

#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// reduce_sum, reduce_mean or reduce_max of floats.
bool is_reduction(const Node& node);

/// Kernels for such a node. Sums are f32 and have a fixed order.
///
/// Where the reduced axes hold the innermost one, a warp computes one result: its lanes read
/// neighbours. Otherwise a thread computes neighbouring results, so that neighbouring threads read
/// neighbours; the outermost reduced axis is cut into parts until there are threads enough, and a
/// second kernel adds up the parts. Throws Error(failure) for other element types than f32, bf16
/// and f16, for blocked layouts, and where nothing is reduced or the input has 2^31 elements or
/// more.
KernelSequence reduction_kernels(const Node& node, const View& operand, const View& result);

/// The same for `kind` over `axes` of operand number `operand_index` into result number
/// `result_index`, whose axes are those of the operand that are left over: the gradient of a bias
/// is "reduce_sum" of dy over all axes but the channels.
KernelSequence reduction_kernels(std::string_view kind, const std::vector<std::int64_t>& axes,
                                 const View& operand, int operand_index, const View& result,
                                 int result_index);

}  // namespace facet::cuda
