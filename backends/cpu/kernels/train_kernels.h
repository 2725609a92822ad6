#pragma once

#include <memory>
#include <span>

#include "backends/backend.h"

/// Kernels that only training needs. What kernels.h says of views, types, threads and errors holds
/// for them too; per-channel results and sums are f32, sums over many places double inside.
namespace facet::cpu {

/// Fast where channels are contiguous. Result 0 may share the bytes of any operand that has exactly
/// its view.
std::unique_ptr<Kernel> lower_batch_norm_train(const Node& node, std::span<const View> operands,
                                               std::span<const View> results);
/// Result 0 of batch_norm_train, bitwise.
std::unique_ptr<Kernel> lower_batch_norm_apply(const Node& node, std::span<const View> operands,
                                               std::span<const View> results);
std::unique_ptr<Kernel> lower_batch_norm_bwd(const Node& node, std::span<const View> operands,
                                             std::span<const View> results);
std::unique_ptr<Kernel> lower_prelu_bwd(const Node& node, std::span<const View> operands,
                                        std::span<const View> results);

/// max_pool_bwd and avg_pool_bwd; fast where channels are contiguous.
std::unique_ptr<Kernel> lower_pooling_bwd(const Node& node, std::span<const View> operands,
                                          std::span<const View> results);

std::unique_ptr<Kernel> lower_reduce_max_bwd(const Node& node, std::span<const View> operands,
                                             std::span<const View> results);
/// The result may share the bytes of either operand if the views are the same.
std::unique_ptr<Kernel> lower_softmax_bwd(const Node& node, std::span<const View> operands,
                                          std::span<const View> results);

/// cross_entropy, cross_entropy_bwd, pick, pick_bwd, place, gather_rows, owed_rows and scatter_add_rows.
std::unique_ptr<Kernel> lower_labels(const Node& node, std::span<const View> operands,
                                     std::span<const View> results);

/// The result may share the operand's bytes if the views are the same.
std::unique_ptr<Kernel> lower_dropout_train(const Node& node, std::span<const View> operands,
                                            std::span<const View> results);

/// sgd_update, adam_update, lars_update and ema_update on dense row-major f32. Each result may be,
/// and in a plan is, the operand whose new value it is.
std::unique_ptr<Kernel> lower_update(const Node& node, std::span<const View> operands,
                                     std::span<const View> results);

}  // namespace facet::cpu
