#pragma once

#include "ir/ops/gradients.h"

/// Gradient rules of the ops of math.cpp, lines.cpp and matrices.cpp. Each is a Gradient::Rule: see
/// ir/op.h.
namespace facet::ops {

Values sin_gradient(Builder& build, Node& node, Cotangents cotangents);
Values cos_gradient(Builder& build, Node& node, Cotangents cotangents);
Values tan_gradient(Builder& build, Node& node, Cotangents cotangents);
Values asin_gradient(Builder& build, Node& node, Cotangents cotangents);
Values acos_gradient(Builder& build, Node& node, Cotangents cotangents);
Values atan_gradient(Builder& build, Node& node, Cotangents cotangents);
Values sinh_gradient(Builder& build, Node& node, Cotangents cotangents);
Values cosh_gradient(Builder& build, Node& node, Cotangents cotangents);
Values asinh_gradient(Builder& build, Node& node, Cotangents cotangents);
Values acosh_gradient(Builder& build, Node& node, Cotangents cotangents);
Values atanh_gradient(Builder& build, Node& node, Cotangents cotangents);
Values mod_gradient(Builder& build, Node& node, Cotangents cotangents);

Values reduce_min_gradient(Builder& build, Node& node, Cotangents cotangents);
Values reduce_prod_gradient(Builder& build, Node& node, Cotangents cotangents);
Values log_softmax_gradient(Builder& build, Node& node, Cotangents cotangents);
Values cum_sum_gradient(Builder& build, Node& node, Cotangents cotangents);
Values triangle_gradient(Builder& build, Node& node, Cotangents cotangents);

}  // namespace facet::ops
