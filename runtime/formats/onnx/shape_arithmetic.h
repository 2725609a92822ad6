#pragma once

namespace facet::onnx_import {

class NodeReader;

/// Computes a node of shape arithmetic at import: Shape, and what exporters do with its result
/// (Gather, Slice, Concat, Mul, Where ...), on small integer tensors whose elements may be
/// multiples of a symbol. Sets the results and returns true; false, and nothing is done, for any
/// other node.
bool fold_shape_arithmetic(NodeReader& node);

}  // namespace facet::onnx_import
