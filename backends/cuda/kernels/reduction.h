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
/// Where the reduced axes hold the innermost one, a warp computes one result, or a block where
/// there are few results of many elements: threads read neighbours. Otherwise the threads of a
/// block are side by side along results and under each other along what is reduced. Where that
/// leaves too few blocks to keep the device busy, the reduced elements are cut into parts for more
/// of them, and a second kernel adds up the parts. Throws Error(failure) for other element types
/// than f32, bf16 and f16, for blocked layouts, and where nothing is reduced or the input has 2^31
/// elements or more.
KernelSequence reduction_kernels(const Node& node, const View& operand, const View& result);

/// The same for `kind` over `axes` of operand number `operand_index` into result number
/// `result_index`, whose axes are those of the operand that are left over: the gradient of a bias
/// is "reduce_sum" of dy over all axes but the channels.
KernelSequence reduction_kernels(std::string_view kind, const std::vector<std::int64_t>& axes,
                                 const View& operand, int operand_index, const View& result,
                                 int result_index);

}  // namespace facet::cuda
