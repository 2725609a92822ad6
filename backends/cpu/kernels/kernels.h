#pragma once

#include <memory>
#include <span>

#include "backends/backend.h"

/// Facet's own kernels for what is bound by memory, not arithmetic. Common to all:
///   - views are strided in any way (slices, permuted axes, NHWC as "acdb"), never blocked;
///   - f32, bf16 and f16 in memory, f32 inside; only `lower_copy` takes integers and f64;
///   - they run on the calling thread's OpenMP team, small ones on the calling thread alone;
///     results do not depend on the number of threads;
///   - Error(failure) names the node, the view and the reason when a view or dtype is not
///   supported.
namespace facet::cpu {

/// Unary and binary functions, clamp, prelu, batch_norm and `elementwise` programs, in one pass
/// over memory. The result may share the bytes of any operand that has exactly its view.
std::unique_ptr<Kernel> lower_elementwise(const Node& node, std::span<const View> operands,
                                          std::span<const View> results);

/// reduce_mean, reduce_sum, reduce_max and reduce_min.
std::unique_ptr<Kernel> lower_reduce(const Node& node, std::span<const View> operands,
                                     std::span<const View> results);

/// max_pool and avg_pool of [N, C, H, W]; fast where C or W is contiguous.
std::unique_ptr<Kernel> lower_pooling(const Node& node, std::span<const View> operands,
                                      std::span<const View> results);

/// resize and resize_bwd, one axis after the other; fast where an axis that is not resized (channels)
/// is contiguous.
std::unique_ptr<Kernel> lower_resize(const Node& node, const View& operand, const View& result);

/// layer_norm, row by row. The result may share the operand's bytes if the views are the same.
std::unique_ptr<Kernel> lower_layer_norm(const Node& node, std::span<const View> operands,
                                         const View& result);

/// softmax along any axis. The result may share the operand's bytes if the views are the same.
std::unique_ptr<Kernel> lower_softmax(const Node& node, std::span<const View> operands,
                                      std::span<const View> results);

/// sdpa, with operands, result and extras of any float type; no score of a whole head is kept. Where
/// the CPU multiplies bf16 and q, k and v are bf16, tables, weights and products are bf16 too, sums
/// f32. Fast where channels, or tokens, are contiguous.
std::unique_ptr<Kernel> lower_sdpa(const Node& node, std::span<const View> operands,
                                   std::span<const View> results);

/// Whether lower_sdpa_bwd has a kernel: not for the gradient of a bias.
bool takes_sdpa_bwd(const Node& node);
/// sdpa_bwd, with operands and results of any float type; products and sums are f32. No score of a
/// whole head is kept. Fast where channels, or tokens, are contiguous.
std::unique_ptr<Kernel> lower_sdpa_bwd(const Node& node, std::span<const View> operands,
                                       std::span<const View> results);

/// Whether lower_score_moments has a kernel: not with tables of rows and columns of a map.
bool takes_score_moments(const Node& node);
/// score_moments and score_moments_bwd, with operands and results of any float type; products are
/// f32, sums over many tokens double. Gradients of q and k are dense.
std::unique_ptr<Kernel> lower_score_moments(const Node& node, std::span<const View> operands,
                                            std::span<const View> results);

/// gate (ir/gate.h): maps and their gates with all reductions in f32. Fast where channels are
/// contiguous and rows of pixels follow each other; x, residual and result may be slices of
/// channels. The result may share the bytes of x or of the residual if the views are the same.
std::unique_ptr<Kernel> lower_gate(const Node& node, std::span<const View> operands,
                                   std::span<const View> results);

/// transpose, concat, slice, strided_slice, pad, reverse, expand, reshape, reorder between layouts
/// without blocks, and cast: elements move, and change their dtype on the way where operand and result differ in it. An
/// operand that already lies where it belongs in the result costs nothing. A reshape needs its
/// operand or its result dense and row-major.
std::unique_ptr<Kernel> lower_copy(const Node& node, std::span<const View> operands,
                                   std::span<const View> results);

}  // namespace facet::cpu
