#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"

// Ops that attention with relative positions needs: tables are indexed by the distance of two
// tokens, matrix products by the tokens themselves. skew and unskew go from one to the other.

namespace facet::ops {
namespace {

/// How y[i, j] counts its distance: "j-i" (column minus row) or "i-j".
bool is_row_minus_column(const Attributes& attributes) {
  const std::string& distance = attributes.text("distance");
  if (distance != "j-i" && distance != "i-j") {
    throw usage_error(fmt::format("distance is \"j-i\" or \"i-j\", not \"{}\"", distance));
  }
  return distance == "i-j";
}

/// Rows and columns of a value [..., rows, columns].
std::pair<std::int64_t, std::int64_t> matrix_extents(const Type& x) {
  if (x.rank() < 2 || !x.shape.end()[-1].is_static() || !x.shape.end()[-2].is_static()) {
    throw usage_error("the last two axes must have fixed extents, not " + to_string(x));
  }
  const std::int64_t rows = x.shape.end()[-2].factor;
  const std::int64_t columns = x.shape.end()[-1].factor;
  require_extent("number of rows", rows, 1);
  require_extent("number of columns", columns, 1);
  return {rows, columns};
}

std::vector<Type> infer_skew(const InferContext& context) {
  Type result = context.operand(0);
  const auto [rows, columns] = matrix_extents(result);
  is_row_minus_column(context.attributes);
  if (columns < rows) {
    throw usage_error(fmt::format("skew of {} rows takes as many columns or more, not {}", rows,
                                  to_string(result)));
  }
  result.shape.back() = columns - rows + 1;
  return {result};
}

std::vector<Type> infer_unskew(const InferContext& context) {
  Type result = context.operand(0);
  const auto [rows, columns] = matrix_extents(result);
  is_row_minus_column(context.attributes);
  result.shape.back() = rows + columns - 1;
  return {result};
}

/// x with its last axes replaced by `extents`.
Value reshape_last(Builder& build, Value x, std::size_t axes,
                   std::initializer_list<std::int64_t> extents) {
  Ints shape(x.shape().size() - axes, 0);
  shape.insert(shape.end(), extents);
  return build("reshape", {x}, {{"shape", std::move(shape)}});
}

Value slice_last(Builder& build, Value x, std::int64_t start, std::int64_t end) {
  return build("slice", {x}, {{"axis", std::int64_t{-1}}, {"start", start}, {"end", end}});
}

Value pad_last(Builder& build, Value x, std::int64_t before, std::int64_t after) {
  return build("pad", {x}, {{"axis", std::int64_t{-1}}, {"before", before}, {"after", after}});
}

Value reverse_last(Builder& build, Value x) {
  return build("reverse", {x}, {{"axis", std::int64_t{-1}}});
}

/// In memory y[i, j] = x[i, j - i + rows - 1] is a matrix whose rows are one element shorter than
/// those of x and that starts at element rows - 1 of it; the other distance mirrors the columns.
std::vector<Value> decompose_skew(Builder& build, Node& node) {
  Value x = node.operand(0);
  const auto [rows, columns] = matrix_extents(x.type());
  if (is_row_minus_column(node.attributes())) x = reverse_last(build, x);
  if (rows == 1) return {x};
  x = reshape_last(build, x, 2, {rows * columns});
  x = slice_last(build, x, rows - 1, rows - 1 + rows * (columns - 1));
  x = reshape_last(build, x, 1, {rows, columns - 1});
  return {slice_last(build, x, 0, columns - rows + 1)};
}

/// The way of skew, back: longer rows, then zeros at both ends.
std::vector<Value> decompose_unskew(Builder& build, Node& node) {
  Value x = node.operand(0);
  const auto [rows, columns] = matrix_extents(x.type());
  const bool mirrored = is_row_minus_column(node.attributes());
  if (rows > 1) {
    const std::int64_t wide = rows + columns - 1;
    x = pad_last(build, x, 0, rows - 2);
    x = reshape_last(build, x, 2, {rows * (wide - 1)});
    x = pad_last(build, x, rows - 1, 1);
    x = reshape_last(build, x, 1, {rows, wide});
  }
  return {mirrored ? reverse_last(build, x) : x};
}

double one_per_element(const Node& node) { return result_elements(node); }

std::vector<Sample> distance_samples(std::initializer_list<Shape> shapes) {
  std::vector<Sample> samples;
  for (const Shape& shape : shapes) {
    for (const char* distance : {"j-i", "i-j"}) {
      samples.push_back({{f32(shape)}, {{"distance", std::string(distance)}}});
    }
  }
  return samples;
}
std::vector<Sample> skew_samples() {
  return distance_samples({{2, 3, 5, 9}, {7, 13}, {2, 4, 9}, {3, 1, 6}, {4, 4}, {2, 2, 3}});
}
std::vector<Sample> unskew_samples() {
  return distance_samples({{2, 3, 5, 5}, {7, 7}, {2, 4, 6}, {3, 1, 6}, {4, 1}, {2, 2, 2}});
}

OpDef distance_op(std::string_view name, std::string_view doc,
                  std::vector<Type> (*infer)(const InferContext&), Gradient::Rule gradient,
                  Decomposition::Rule decomposed, Samples::Make samples) {
  return OpDef{.name = name,
               .doc = doc,
               .signature = Signature({"x"}, {"y"}),
               .attributes = {{"distance", std::string("j-i")}},
               .infer = infer,
               .gradient = Gradient::rule(gradient),
               .layout = LayoutRole::plain,
               .aliasing = Aliasing::fresh,
               .precision = PrecisionPolicy::follow,
               .decomposition = Decomposition::rule(decomposed),
               .cost = Cost::memory(one_per_element),
               .onnx = OnnxMapping::decomposed(),
               .samples = Samples::cases(samples)};
}

}  // namespace

std::vector<OpDef> attention_ops() {
  std::vector<OpDef> list;
  list.push_back(distance_op(
      "skew",
      "From distances to pairs: x [..., I, I+J-1] -> y [..., I, J] with y[i, j] = x[i, j-i + I-1], "
      "or x[i, i-j + J-1].",
      infer_skew, skew_gradient, decompose_skew, skew_samples));
  list.push_back(distance_op(
      "unskew",
      "The adjoint of skew: x [..., I, J] -> y [..., I, I+J-1], zero where no pair has that "
      "distance.",
      infer_unskew, unskew_gradient, decompose_unskew, unskew_samples));
  list.push_back(sdpa_op());
  list.push_back(sdpa_bwd_op());
  list.push_back(score_moments_op());
  list.push_back(score_moments_bwd_op());
  list.push_back(gate_op());
  return list;
}

}  // namespace facet::ops
