#pragma once

#include <string_view>
#include <vector>

#include "ir/op.h"

/// What the ops that read (indexing.cpp) and write (scatter.cpp) by index share.
namespace facet::ops {

Type i64(Shape shape);
/// Throws Error(usage) unless the operand is of type i64 or i32.
void require_indices(const InferContext& context, std::size_t operand);
/// Throws Error(usage) unless the attribute `reduction` is none, add, mul, max or min.
void require_reduction(const InferContext& context);
/// Throws Error(usage) unless the operand has the rank of operand 0 and is no larger along any axis
/// but `free_axis`.
void require_smaller(const InferContext& context, std::size_t operand, std::int64_t free_axis);

/// The concerns in which these ops differ.
struct IndexingOp {
  std::string_view name, doc;
  Signature signature;
  std::vector<AttributeSpec> attributes;
  std::vector<Type> (*infer)(const InferContext&);
  Gradient::Rule gradient;
  LayoutRole layout;
  PrecisionPolicy precision;
  Decomposition decomposition;
  OnnxMapping onnx;
  Samples::Make samples;
};
OpDef indexing_op(IndexingOp op);

}  // namespace facet::ops
