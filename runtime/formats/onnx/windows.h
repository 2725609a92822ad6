#pragma once

#include <cstdint>

#include "runtime/formats/onnx/node_reader.h"

namespace facet::onnx_import {

/// How a convolution or a pooling slides its window: one entry per spatial axis.
struct Windows {
  Ints kernel;
  Ints strides;
  Ints dilations;
  Ints before;  ///< padding ahead of each axis
  Ints after;   ///< and behind it

  /// Padding as the ops have it: all axes' begins, then all axes' ends.
  Ints pads() const;
  bool is_padded() const;
};

/// Reads kernel_shape (or `kernel`, when it is not empty), strides, dilations, pads and auto_pad of
/// a node whose input 0 is [N, C, ...]. Throws Unsupported for wrong counts and values, and for
/// symbolic extents where they decide the padding.
Windows read_windows(const NodeReader& node, Ints kernel = {});

}  // namespace facet::onnx_import
