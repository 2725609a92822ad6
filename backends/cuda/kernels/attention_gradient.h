#pragma once

#include <cstdint>
#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// How the work is cut.
struct GradientLimits {
  /// That share what is summed over images, about: four for each of an H200's 132 multiprocessors.
  std::int64_t blocks = 528;
  /// Of shared memory, for each; a kernel may have 48 KiB without asking.
  std::int64_t shared_bytes = (48 << 10) - 64;
  /// The same for a block that works on two images: 99 KiB is what every device from sm_80 on has.
  std::int64_t two_images_bytes = 98 << 10;
};

/// An sdpa_bwd that kernels compute: heads of at most 128 channels where tables meet them, and else
/// of any number, or of 630 for a query and a value together where the tokens are more than 368.
bool is_attention_gradient(const Node& node);

/// The layouts they take: tokens one after the other, the channels of each side by side.
LayoutChoice attention_gradient_layouts(const Node& node);

/// Two or three kernels for such a node (the formula is in ir/sdpa.h), with D = rowsum(A o dA):
///
///   rows     a block for 16 queries of one head and some images: s and dA in f32 in shared memory,
///            from them log(sum(exp(s))) and D to scratch, ds = A o (dA - D), dq; sums over the
///            images of ds times the parts of the scores for score_scale, of ds^T q and A^T dy by
///            distance for the tables. Where shared memory has no room for all keys (more than 240
///            with tables of distances, or 368 without) they come in stretches, twice: once for the
///            logarithms and D, once for the rest
///   columns  the same for 16 keys, with the logarithms and D from scratch: dk, dv, ds k by
///            distance
///   sums     adds the blocks' sums up in the order of their numbers; fills channels that no head
///            reads
///
/// Nothing with a number for each pair of tokens is in memory but the gradient of a bias: distances
/// get their gradients by shifting rows of ds in shared memory. Every sum has one order, so that
/// results repeat. Products are those of tensor cores with f32 sums (f32 in three tf32 products),
/// for which ds and A are rounded to the type of q.
///
/// The count for LESA's fourth stage (32 images, 196 tokens, 8 heads, d 32, values of 64, bf16):
/// q, k, v and dy in, dq, dk, dv out are 39 MB or 8 us at 4.8 TB/s, and 27 d multiply-adds for a
/// pair of tokens, the scores made in both kernels, 17 GFLOP or 17 us at 989 TFLOP/s. Neither
/// limits: a block reads and writes its sums (224 distances of 32 + 64 channels, and of 32), 115
/// KB, once for every two images that it works on side by side, which for all images and blocks is
/// 0.4 GB of traffic with the 50 MB of the L2 cache, and warps wait from phase to phase, which the
/// work on two to four images at a time (41 KiB of shared memory each; registers bound them) hides.
///
/// Scratch memory is 224 places times the channels of the tables, 4 bytes each, for every block
/// that shares sums over images. Throws Error(failure) for another node, for no image, and for
/// operands that do not lie as said.
KernelSequence attention_gradient_kernels(const Node& node, std::span<const View> operands,
                                          std::span<const View> results,
                                          const GradientLimits& limits = {});

}  // namespace facet::cuda
