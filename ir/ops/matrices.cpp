#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients_math.h"

// Ops that see the last two axes as a matrix.

namespace facet::ops {
namespace {

void require_matrix(const InferContext& context) {
  if (context.operand(0).rank() >= 2) return;
  throw usage_error(fmt::format("'{}' takes matrices [..., m, n], not {}", context.op.name,
                                to_string(context.operand(0))));
}

std::vector<Type> infer_triangle(const InferContext& context) {
  require_matrix(context);
  return {context.operand(0)};
}

std::vector<Type> infer_det(const InferContext& context) {
  require_floats(context);
  require_matrix(context);
  Type result = context.operand(0);
  if (!(result.shape.back() == result.shape.end()[-2])) {
    throw usage_error("det takes square matrices, not " + to_string(result));
  }
  result.shape.erase(result.shape.end() - 2, result.shape.end());
  return {result};
}

double elements_read(const Node& node) { return operand_elements(node); }
/// Gaussian elimination.
double det_flops(const Node& node) {
  return 2.0 / 3 * operand_elements(node) *
         static_cast<double>(node.operand(0).shape().back().factor);
}

std::vector<Sample> triangle_samples() {
  const auto with = [](bool upper, std::int64_t diagonal) {
    return Attributes{{"upper", upper}, {"diagonal", diagonal}};
  };
  return {{{f32({4, 5})}, with(true, 0)},
          {{f32({2, 5, 4})}, with(false, 1)},
          {{f32({2, 3, 3, 6})}, with(true, -2)},
          {{Type{DType::i64, {4, 4}, {}}}, with(false, -1), -9, 9}};
}
std::vector<Sample> det_samples() { return {{{f32({3, 3})}, {}}, {{f32({2, 4, 2, 2})}, {}}}; }

}  // namespace

std::vector<OpDef> matrix_ops() {
  std::vector<OpDef> list;
  list.push_back(OpDef{.name = "triangle",
                       .doc =
                           "The elements [i, j] with j - i >= diagonal (upper) or <= diagonal of "
                           "each matrix, the others 0.",
                       .signature = Signature({"x"}, {"y"}),
                       .attributes = {{"upper", true}, {"diagonal", std::int64_t{0}}},
                       .infer = infer_triangle,
                       .gradient = Gradient::rule(triangle_gradient),
                       .layout = LayoutRole::plain,
                       .aliasing = Aliasing::fresh,
                       .precision = PrecisionPolicy::follow,
                       .decomposition = Decomposition::primitive(),
                       .cost = Cost::memory(elements_read),
                       .onnx = OnnxMapping::op("Trilu", 14),
                       .samples = Samples::cases(triangle_samples)});
  list.push_back(OpDef{.name = "det",
                       .doc = "The determinant of each matrix [..., n, n].",
                       .signature = Signature({"x"}, {"y"}),
                       .attributes = {},
                       .infer = infer_det,
                       .gradient = Gradient::none("it needs the inverse matrix, which is no op"),
                       .layout = LayoutRole::plain,
                       .aliasing = Aliasing::fresh,
                       .precision = PrecisionPolicy::f32,
                       .decomposition = Decomposition::primitive(),
                       .cost = Cost::memory(det_flops),
                       .onnx = OnnxMapping::op("Det", 11),
                       .samples = Samples::cases(det_samples)});
  return list;
}

}  // namespace facet::ops
