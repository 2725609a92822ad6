#pragma once

#include "ir/ops/gradients.h"

/// Gradient rules of the ops that read and write by index, and of those that sample images at
/// points.
namespace facet::ops {

Values gather_gradient(Builder& build, Node& node, Cotangents cotangents);
Values scatter_add_gradient(Builder& build, Node& node, Cotangents cotangents);
Values gather_elements_gradient(Builder& build, Node& node, Cotangents cotangents);
Values gather_nd_gradient(Builder& build, Node& node, Cotangents cotangents);
Values scatter_elements_gradient(Builder& build, Node& node, Cotangents cotangents);
Values scatter_nd_gradient(Builder& build, Node& node, Cotangents cotangents);
Values top_k_gradient(Builder& build, Node& node, Cotangents cotangents);
Values reverse_sequence_gradient(Builder& build, Node& node, Cotangents cotangents);
Values strided_slice_gradient(Builder& build, Node& node, Cotangents cotangents);
Values grid_sample_gradient(Builder& build, Node& node, Cotangents cotangents);
Values roi_align_gradient(Builder& build, Node& node, Cotangents cotangents);

/// scatter_add by scatter_nd: the slices move to the front.
Values decompose_scatter_add(Builder& build, Node& node);

}  // namespace facet::ops
