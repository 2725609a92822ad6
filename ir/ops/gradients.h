#pragma once

#include <span>
#include <vector>

#include "ir/op.h"

/// Gradient rules, by family of ops (gradients_*.cpp). Each is a Gradient::Rule: see ir/op.h.
namespace facet::ops {

using Values = std::vector<Value>;
using Cotangents = std::span<const Value>;

/// Whether a cotangent of `value` could be read: not of a constant, not of integers.
bool takes_cotangent(Value value);
/// `cotangent`, cast when its dtype is not that of `value`.
Value cast_like(Builder& build, Value cotangent, Value value);
/// The elements of `x` in the static shape `shape`.
Value reshape_to(Builder& build, Value x, const Shape& shape);
/// The adjoint of broadcasting `value` to the shape of `cotangent`: sums over the repeated axes.
Value sum_to(Builder& build, Value cotangent, Value value);
/// x repeated to `shape`, of the same rank; x itself if it has that shape.
Value expand_to(Builder& build, Value x, const Shape& shape);

/// Ops that are constant in all their operands.
Values zero_gradient(Builder& build, Node& node, Cotangents cotangents);
/// dx = dy.
Values identity_gradient(Builder& build, Node& node, Cotangents cotangents);

// elementwise
Values relu_gradient(Builder& build, Node& node, Cotangents cotangents);
Values sigmoid_gradient(Builder& build, Node& node, Cotangents cotangents);
Values tanh_gradient(Builder& build, Node& node, Cotangents cotangents);
Values exp_gradient(Builder& build, Node& node, Cotangents cotangents);
Values log_gradient(Builder& build, Node& node, Cotangents cotangents);
Values sqrt_gradient(Builder& build, Node& node, Cotangents cotangents);
Values rsqrt_gradient(Builder& build, Node& node, Cotangents cotangents);
Values reciprocal_gradient(Builder& build, Node& node, Cotangents cotangents);
Values neg_gradient(Builder& build, Node& node, Cotangents cotangents);
Values abs_gradient(Builder& build, Node& node, Cotangents cotangents);
Values square_gradient(Builder& build, Node& node, Cotangents cotangents);
Values erf_gradient(Builder& build, Node& node, Cotangents cotangents);
Values add_gradient(Builder& build, Node& node, Cotangents cotangents);
Values sub_gradient(Builder& build, Node& node, Cotangents cotangents);
Values mul_gradient(Builder& build, Node& node, Cotangents cotangents);
Values div_gradient(Builder& build, Node& node, Cotangents cotangents);
Values maximum_gradient(Builder& build, Node& node, Cotangents cotangents);
Values minimum_gradient(Builder& build, Node& node, Cotangents cotangents);
Values pow_gradient(Builder& build, Node& node, Cotangents cotangents);
Values where_gradient(Builder& build, Node& node, Cotangents cotangents);
Values clamp_gradient(Builder& build, Node& node, Cotangents cotangents);
Values prelu_gradient(Builder& build, Node& node, Cotangents cotangents);
Values cast_gradient(Builder& build, Node& node, Cotangents cotangents);

// compute
Values conv_gradient(Builder& build, Node& node, Cotangents cotangents);
Values conv_branches_gradient(Builder& build, Node& node, Cotangents cotangents);
Values linear_gradient(Builder& build, Node& node, Cotangents cotangents);
Values matmul_gradient(Builder& build, Node& node, Cotangents cotangents);

// reductions, pooling
Values reduce_sum_gradient(Builder& build, Node& node, Cotangents cotangents);
Values reduce_mean_gradient(Builder& build, Node& node, Cotangents cotangents);
Values reduce_max_gradient(Builder& build, Node& node, Cotangents cotangents);
Values softmax_gradient(Builder& build, Node& node, Cotangents cotangents);
Values max_pool_gradient(Builder& build, Node& node, Cotangents cotangents);
Values avg_pool_gradient(Builder& build, Node& node, Cotangents cotangents);

// shapes
Values reshape_gradient(Builder& build, Node& node, Cotangents cotangents);
Values transpose_gradient(Builder& build, Node& node, Cotangents cotangents);
Values concat_gradient(Builder& build, Node& node, Cotangents cotangents);
Values slice_gradient(Builder& build, Node& node, Cotangents cotangents);
Values pad_gradient(Builder& build, Node& node, Cotangents cotangents);
Values reverse_gradient(Builder& build, Node& node, Cotangents cotangents);
Values expand_gradient(Builder& build, Node& node, Cotangents cotangents);
Values skew_gradient(Builder& build, Node& node, Cotangents cotangents);
Values unskew_gradient(Builder& build, Node& node, Cotangents cotangents);
Values sdpa_gradient(Builder& build, Node& node, Cotangents cotangents);

// training
Values straight_through_gradient(Builder& build, Node& node, Cotangents cotangents);
Values dropout_train_gradient(Builder& build, Node& node, Cotangents cotangents);
Values batch_norm_train_gradient(Builder& build, Node& node, Cotangents cotangents);
Values cross_entropy_gradient(Builder& build, Node& node, Cotangents cotangents);
Values pick_gradient(Builder& build, Node& node, Cotangents cotangents);
Values place_gradient(Builder& build, Node& node, Cotangents cotangents);
Values gather_rows_gradient(Builder& build, Node& node, Cotangents cotangents);
Values scatter_add_rows_gradient(Builder& build, Node& node, Cotangents cotangents);

}  // namespace facet::ops
