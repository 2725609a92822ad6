#pragma once

#include <vector>

#include "ir/op.h"

/// The op families; ops/registry.cpp lists them. Each file defines its ops as OpDef literals.
namespace facet::ops {

std::vector<OpDef> leaf_ops();
std::vector<OpDef> compute_ops();
std::vector<OpDef> elementwise_ops();
std::vector<OpDef> reduction_ops();
std::vector<OpDef> pooling_ops();
std::vector<OpDef> windowed_max_ops();  ///< dilated windows, and where maxima stand
std::vector<OpDef> volume_ops();        ///< convolution of [N, C, D, H, W]
std::vector<OpDef> resize_ops();
std::vector<OpDef> deform_ops();
std::vector<OpDef> layer_norm_ops();
std::vector<OpDef> shape_ops();
std::vector<OpDef> attention_ops();
std::vector<OpDef> normalization_ops();  ///< batch statistics and their gradient
std::vector<OpDef> backward_ops();
std::vector<OpDef> label_ops();     ///< losses, and rows by label
std::vector<OpDef> training_ops();  ///< what steers differentiation
std::vector<OpDef> update_ops();    ///< optimizer steps
std::vector<OpDef> math_ops();      ///< rounding, trigonometry, comparisons, bits
std::vector<OpDef> line_ops();      ///< positions of extremes, running sums, one-hot rows
std::vector<OpDef> matrix_ops();    ///< triangles and determinants
std::vector<OpDef> indexing_ops();  ///< reads by index
std::vector<OpDef> scatter_ops();   ///< writes by index
std::vector<OpDef> sampling_ops();  ///< images read at points between their elements
OpDef sdpa_op();           ///< one of attention_ops, with a file of its own
OpDef sdpa_bwd_op();       ///< the same
OpDef score_moments_op();  ///< the same
OpDef score_moments_bwd_op();  ///< the same
OpDef gate_op();           ///< the same
OpDef conv_branches_op();  ///< one of compute_ops, likewise
OpDef conv_transpose_op();  ///< the same

/// Type of a conv, epilogue checked. Throws Error(usage).
Type infer_convolution(const InferContext& context);

inline Type f32(Shape shape) { return Type{DType::f32, std::move(shape), {}}; }
/// `axis` counted from the front. Throws Error(usage) when it is out of range.
std::int64_t normalize_axis(std::int64_t axis, std::int64_t rank);
/// The type that mixed float operands compute to: f64 over all, else the narrowest (bf16 and f16
/// before f32). Non-float operands must agree. Throws Error(usage).
DType result_dtype(const InferContext& context);
/// Throws Error(usage) if an operand is not of a float type.
void require_floats(const InferContext& context);
/// A length, stride or count of padding: throws Error(usage) that names `what` unless it lies in
/// [least, 2^31), so that sums of them cannot overflow.
void require_extent(std::string_view what, std::int64_t value, std::int64_t least);
/// `value`, cast when its dtype is not that of the node's result: decompositions end with it.
Value as_result(Builder& build, const Node& node, Value value);
/// Elements of the node's first result.
double result_elements(const Node& node);
double operand_elements(const Node& node);

}  // namespace facet::ops
