#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/gradients.h"

// Gradients of convolutions and matrix products.

namespace facet::ops {
namespace {

/// The rule knows no epilogue but a bias; differentiation decomposes the others first.
void require_plain(const Node& node) {
  const Strings& epilogue = node.attributes().strings("epilogue");
  if (epilogue.empty() || epilogue == Strings{"bias"}) return;
  throw failure(fmt::format(
      "the gradient of '{}' with a fused epilogue is that of its decomposition", node.kind()));
}

/// Cotangents {dx, dweight, dbias} from the two backward ops.
Values product_gradients(Builder& build, Node& node, Value dy, const char* data,
                         Attributes for_data, const char* weights, Attributes for_weights) {
  const Value x = node.operand(0), weight = node.operand(1);
  const bool bias = node.operand_count() > 2;
  Values result(static_cast<std::size_t>(node.operand_count()));
  if (takes_cotangent(x)) {
    result[0] = cast_like(build, build(data, {dy, weight}, std::move(for_data)), x);
  }
  if (takes_cotangent(weight) || (bias && takes_cotangent(node.operand(2)))) {
    for_weights.set("bias", bias);
    Node* both = build.node(weights, {dy, x}, std::move(for_weights));
    result[1] = cast_like(build, both->result(0), weight);
    if (bias) result[2] = cast_like(build, both->result(1), node.operand(2));
  }
  return result;
}

/// Product of all extents but the last two.
std::int64_t matrices(const Shape& shape) {
  return element_count(Shape(shape.begin(), shape.end() - 2)).factor;
}

/// [..., m, n] as one matrix of all rows.
Value flatten_rows(Builder& build, Value x) {
  if (x.shape().size() == 2) return x;
  return build("reshape", {x}, {{"shape", Ints{-1, x.shape().back().factor}}});
}

/// Products for the gradients of one, of its precision.
class Products {
 public:
  Products(Builder& build, const Node& node)
      : build_(build), full_precision_(node.attributes().boolean("full_precision")) {}

  Value operator()(Value a, bool transpose_a, Value b, bool transpose_b) const {
    return build_("matmul", {a, b},
                  {{"transpose_a", transpose_a},
                   {"transpose_b", transpose_b},
                   {"full_precision", full_precision_}});
  }

 private:
  Builder& build_;
  bool full_precision_;
};

/// db of y = a b (or a b^T): a^T dy (or its transpose). One b for many matrices: one product over
/// all their rows in place of many and their sum.
Value right_cotangent(Builder& build, const Products& product, Value a, bool transpose_a, Value b,
                      bool transpose_b, Value dy) {
  const bool one_product =
      !transpose_a && matrices(b.shape()) == 1 && matrices(a.shape()) == matrices(dy.shape());
  if (one_product) {
    a = flatten_rows(build, a);
    dy = flatten_rows(build, dy);
  }
  const Value db =
      transpose_b ? product(dy, true, a, transpose_a) : product(a, !transpose_a, dy, false);
  return one_product && b.shape().size() > 2 ? reshape_to(build, db, b.shape()) : db;
}

}  // namespace

namespace {

/// `dy` is the cotangent of all output channels.
Values convolution_gradients(Builder& build, Node& node, Value dy) {
  Attributes window = node.attributes();
  window.erase("epilogue");
  window.erase("channels");
  Attributes for_data = window;
  const Shape& x = node.operand(0).shape();
  const Shape& weight = node.operand(1).shape();
  for_data.set("height", x[2].factor);
  for_data.set("width", x[3].factor);
  window.set("kernel", Ints{weight[2].factor, weight[3].factor});
  return product_gradients(build, node, dy, "conv_bwd_data", std::move(for_data),
                           "conv_bwd_weights", std::move(window));
}

}  // namespace

Values conv_gradient(Builder& build, Node& node, Cotangents cotangents) {
  require_plain(node);
  return convolution_gradients(build, node, cotangents[0]);
}

/// One wide data gradient, which sums over the branches by itself, and one wide weight gradient.
Values conv_branches_gradient(Builder& build, Node& node, Cotangents cotangents) {
  require_plain(node);
  std::vector<Value> parts;
  for (int i = 0; i < node.result_count(); ++i) {
    Value part = cotangents[static_cast<std::size_t>(i)];
    if (!part) {
      const Type& type = node.result_types()[static_cast<std::size_t>(i)];
      const Ints ones(type.shape.size(), 1);
      const Value zero = build("constant", {}, {{"value", HostTensor(type.dtype, ones)}});
      part = expand_to(build, zero, type.shape);
    }
    parts.push_back(part);
  }
  const Value dy = build("concat", std::move(parts), {{"axis", std::int64_t{1}}});
  return convolution_gradients(build, node, dy);
}

Values linear_gradient(Builder& build, Node& node, Cotangents cotangents) {
  require_plain(node);
  return product_gradients(build, node, cotangents[0], "linear_bwd_data", {}, "linear_bwd_weights",
                           {});
}

Values matmul_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value a = node.operand(0), b = node.operand(1), dy = cotangents[0];
  const bool transpose_a = node.attributes().boolean("transpose_a");
  const bool transpose_b = node.attributes().boolean("transpose_b");
  const Products product(build, node);
  Values result(2);
  if (takes_cotangent(a)) {
    const Value da = transpose_a ? product(b, transpose_b, dy, true)
                                 : product(dy, false, b, !transpose_b);
    result[0] = sum_to(build, da, a);
  }
  if (takes_cotangent(b)) {
    result[1] = sum_to(build, right_cotangent(build, product, a, transpose_a, b, transpose_b, dy), b);
  }
  return result;
}

}  // namespace facet::ops
