#pragma once

#include <optional>

#include "runtime/formats/onnx/node_reader.h"

/// What the handlers of arithmetic share. Private to runtime/formats/onnx.
namespace facet::onnx_import {

/// The number of a constant of one element.
std::optional<double> constant_number(Value value);

/// Comparisons of floats give 1 or 0 as floats here, and a cast to boolean behind it. These look
/// through that cast, so that what reads a comparison joins its chain of arithmetic.

/// `x` in `dtype`; a boolean that was such a float is that float again.
Value as_number(NodeReader& node, Value x, DType dtype);
/// A value of `dtype` that is not 0 where the boolean `x` is true.
Value as_condition(NodeReader& node, Value x, DType dtype);
/// `flag`, 1 or 0 in any dtype, as boolean.
Value as_boolean(NodeReader& node, Value flag);

/// The axes of a reduction, normalised and sorted: attribute or input `axes`; all axes when none
/// are given, unless `noop_with_empty_axes` says none.
Ints reduced_axes(NodeReader& node);
/// The product as NumPy has it: a vector is a row on the left and a column on the right.
Value matmul(NodeReader& node, Value a, Value b);
/// log_softmax along `axis`, counted from the front.
Value log_softmax(NodeReader& node, Value x, std::int64_t axis);

/// All of the families below.
void add_arithmetic_handlers(HandlerTable& table);

void add_math_handlers(HandlerTable& table);
void add_logic_handlers(HandlerTable& table);
void add_activation_handlers(HandlerTable& table);
void add_reduction_handlers(HandlerTable& table);
void add_line_handlers(HandlerTable& table);
void add_product_handlers(HandlerTable& table);
void add_einsum_handlers(HandlerTable& table);
void add_generated_handlers(HandlerTable& table);
void add_loss_handlers(HandlerTable& table);
void add_quantization_handlers(HandlerTable& table);

}  // namespace facet::onnx_import
