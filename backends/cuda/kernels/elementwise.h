#pragma once

#include <span>
#include <vector>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"
#include "ir/elementwise_program.h"

namespace facet::cuda {

/// Whether the node is one or several scalar functions over broadcast operands: `elementwise`, a
/// unary or binary function, clamp, where, prelu, cast between floats.
bool is_elementwise(const Node& node);

/// One kernel for such a node: every operand is read once, the result is written once, nothing else
/// is in memory. Neighbours along the axis that lies innermost in the result are loaded and stored
/// 16 bytes at a time where extents and strides allow it; addresses must then be multiples of 16
/// bytes. Values are f32 in between. Throws Error(failure) for element types other than f32, bf16
/// and f16, blocked layouts, and 2^31 elements or more.
KernelSource elementwise_kernel(const Node& node, std::span<const View> operands,
                                const View& result);
/// The same for a program over operands that broadcast to the result.
KernelSource elementwise_kernel(const std::vector<ElementwiseInstruction>& program,
                                std::span<const View> operands, const View& result);

/// A value of a node, and where its address comes from.
struct PlacedView {
  KernelArgument place;
  View view;
};
/// The same over values of any place. Without instructions the first of them is the result.
KernelSource elementwise_kernel(std::span<const ElementwiseInstruction> program,
                                std::span<const PlacedView> inputs, const PlacedView& result);

/// A vector [C] as [C, 1, ...], so that it broadcasts along axis 1 of a value of that rank. Others
/// stay as they are.
View along_channels(View vector, std::int64_t rank);

}  // namespace facet::cuda
