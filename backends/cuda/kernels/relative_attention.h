#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// An sdpa of floats that one kernel computes: heads of at most 128 channels, and as many keys as
/// 48 KiB of shared memory hold scores for (200 with all the tables of LESA).
bool is_relative_attention(const Node& node);

/// The layouts it takes: tokens one after the other, the channels of each side by side.
LayoutChoice relative_attention_layouts(const Node& node);

/// One kernel for such a node (the formula is at the top of ir/sdpa.h): a block of four warps for
/// 16 queries of one head. Scores stay in shared memory from their sums to the weights, and no
/// table is expanded to pairs of tokens:
///
///   1. q . table for the 16 queries and every distance they have; on a map for its rows and
///   columns;
///   2. q . k, 16 keys a warp at a time, plus what 1. has for the distance; k . table for the 31
///      distances of 16 queries and 16 keys;
///   3. softmax, and the weights once more with distances as columns;
///   4. weights . v and weights by distance . table: each warp takes a quarter of the keys and all
///      channels, 16 bytes of them a lane; the four sums meet in shared memory.
///
/// All products are those of tensor cores with f32 sums (f32 in three tf32 products). Reads of q,
/// k, v and the tables of one head are repeated for each 16 queries and come from the L2 cache.
/// Throws Error(failure) for another node, and for operands that do not lie as said.
KernelSequence relative_attention_kernels(const Node& node, std::span<const View> operands,
                                          const View& result);

}  // namespace facet::cuda
