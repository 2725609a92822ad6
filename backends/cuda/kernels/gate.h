#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// The op `gate` of floats.
bool is_gate(const Node& node);

/// The layouts its kernels take: maps with the channels last.
LayoutChoice gate_layouts(const Node& node);

/// Kernels for a gate (the formula is at the top of ir/gate.h), one after the other:
///
///   pass   reads the map once, a warp for a few pixels, its lanes along the channels. On the way
///          it computes what is asked for: the gate of the pixels (a product of tensor cores), the
///          mean and maximum over the channels, parts of the sums and maxima over the pixels; or
///          it writes the result;
///   vote   a block for each image: the gate of the channels;
///   map    a thread for each pixel: the gate of the window.
///
/// Bytes moved for a map of B bytes, without a residual: pixels 2 B; channels or window 3 B;
/// pixels + channels and pixels + window 3 B, as the first pass makes what the second stage sums;
/// channels + window 4 B. Everything else is small.
///
/// Sums are f32 in a fixed order. Weights of the pixels are rounded to the map's type. Throws
/// Error(failure) for maps whose channels are not last, for other element types than f32, bf16 and
/// f16, and for 2^31 elements or more.
KernelSequence gate_kernels(const Node& node, std::span<const View> operands, const View& result);

}  // namespace facet::cuda
