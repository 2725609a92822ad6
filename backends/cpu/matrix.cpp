#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "backends/cpu/recipe.h"
#include "ir/error.h"

namespace facet::cpu {
namespace {

using dnnl::memory;

/// A view as rows: the axes of `rows` (outermost first) become one, `columns` stays. Null when the
/// strides do not allow it.
std::optional<Descriptor> as_rows(const View& view, std::span<const int> rows, int columns) {
  if (view.strides.empty() && !view.type.shape.empty()) return std::nullopt;
  const Extents extents = static_extents(view.type.shape);
  const auto column = static_cast<std::size_t>(columns);
  std::int64_t count = 1;
  for (const int axis : rows) count *= extents[static_cast<std::size_t>(axis)];
  if (extents[column] > 1 && view.strides[column] != 1) return std::nullopt;
  std::int64_t stride = collapsed_stride(extents, view.strides, rows);
  if (stride < 0) return std::nullopt;
  if (stride == 0) stride = extents[column];
  if (stride < extents[column]) return std::nullopt;
  return Descriptor({count, extents[column]}, data_type(view.type.dtype), Extents{stride, 1});
}

/// An operand of the epilogue of a product of rows: as large as the result, one value per column,
/// or one per row.
std::optional<Descriptor> extra_as_rows(const View& view, const View& result,
                                        std::span<const int> rows, int columns) {
  const bool blocked = view.strides.empty() && !view.type.shape.empty();
  Shape shape = view.type.shape;
  View aligned = view;
  while (shape.size() < result.type.shape.size()) {
    shape.insert(shape.begin(), Dim(1));
    if (!blocked) aligned.strides.insert(aligned.strides.begin(), 1);
  }
  aligned.type.shape = shape;
  const auto same = [&](int axis) {
    const auto i = static_cast<std::size_t>(axis);
    return shape[i] == result.type.shape[i];
  };
  const auto one = [&](int axis) { return shape[static_cast<std::size_t>(axis)] == Dim(1); };
  const bool all_rows = std::all_of(rows.begin(), rows.end(), same);
  const bool single_row = std::all_of(rows.begin(), rows.end(), one);
  if (!all_rows && !single_row) return std::nullopt;
  return as_rows(aligned, rows, columns);
}

/// Weights [out, in] or [O, C, 1, 1] as oneDNN's [in, out].
std::optional<Descriptor> node_weights_to_product(const TagTable& tags, const View& view) {
  const Descriptor given = describe(tags, view);
  const Extents extents = static_extents(view.type.shape);
  const Descriptor matrix = given.reshape({extents[0], extents[1]}, /*allow_empty=*/true);
  if (!matrix) return std::nullopt;
  return matrix.permute_axes({1, 0});
}

Extents leading_ones(const Extents& extents, std::size_t rank) {
  Extents result(rank - extents.size(), 1);
  result.insert(result.end(), extents.begin(), extents.end());
  return result;
}

/// x, weights and result in this order, then the epilogue's arguments.
Recipe product_recipe(const Request& request, const Descriptor& x, const Descriptor& weights,
                      const Descriptor& y,
                      const std::function<Descriptor(const View&)>& describe_extra) {
  const memory::data_type type = compute_type(request);
  const auto rank = static_cast<std::size_t>(y.get_ndims());
  const Extents result = y.get_dims();
  const memory::data_type result_type = y.get_data_type() == type ? type : memory::data_type::f32;
  Recipe recipe;
  recipe.key = "product";
  recipe.arguments.push_back({DNNL_ARG_SRC, false, 0, x, plain(x.get_dims(), type)});
  recipe.arguments.push_back(
      {DNNL_ARG_WEIGHTS, false, 1, weights, any_format(weights.get_dims(), type)});
  recipe.arguments.push_back({DNNL_ARG_DST, true, 0, y, plain(result, result_type)});
  Extents bias_extents(rank, 1);
  bias_extents.back() = result.back();
  const Epilogue epilogue(request, recipe, rank, rank - 1, bias_extents, [&](const View& view) {
    const Descriptor given = describe_extra(view);
    return std::pair(given, plain(given.get_dims(), given.get_data_type()));
  });
  recipe.make = [epilogue](const dnnl::engine& engine,
                           std::span<const Descriptor> d) -> PrimitiveDesc {
    return dnnl::matmul::primitive_desc(engine, d[0], d[1], epilogue.bias(d), d[2],
                                        epilogue.attributes(d));
  };
  return recipe;
}

std::optional<Recipe> rows_recipe(const TagTable& tags, const Request& request,
                                  std::span<const int> rows, int columns) {
  const std::optional<Descriptor> x = as_rows(request.operands[0], rows, columns);
  const std::optional<Descriptor> weights = node_weights_to_product(tags, request.operands[1]);
  const std::optional<Descriptor> y = as_rows(request.result, rows, columns);
  if (!x || !weights || !y) return std::nullopt;
  const auto extra = [&](const View& view) {
    return extra_as_rows(view, request.result, rows, columns);
  };
  for (const EpilogueEntry& entry : request.epilogue) {
    if (entry.name != "add" && entry.name != "mul") continue;
    if (!extra(request.operands[static_cast<std::size_t>(entry.operand)])) return std::nullopt;
  }
  return product_recipe(request, *x, *weights, *y, [&](const View& view) { return *extra(view); });
}

/// [..., rows, columns] of an operand of `matmul`, with as many axes as the result.
Descriptor matrix_operand(const TagTable& tags, const View& view, bool transposed,
                          std::size_t rank) {
  Descriptor given = describe(tags, view);
  if (transposed) {
    std::vector<int> axes(static_cast<std::size_t>(given.get_ndims()));
    std::iota(axes.begin(), axes.end(), 0);
    std::swap(axes.end()[-1], axes.end()[-2]);
    given = given.permute_axes(axes);
  }
  if (static_cast<std::size_t>(given.get_ndims()) == rank) return given;
  return given.reshape(leading_ones(given.get_dims(), rank));
}

}  // namespace

Descriptor product_weights_to_node(const Descriptor& weights, std::size_t node_rank) {
  const Extents product = weights.get_dims();
  const Descriptor flat = weights.reshape({product.end()[-2], product.end()[-1]});
  const Descriptor matrix = flat.permute_axes({1, 0});
  Extents extents = matrix.get_dims();
  if (extents.size() == node_rank) return matrix;
  extents.resize(node_rank, 1);
  return matrix.reshape(extents);
}

std::optional<Recipe> pointwise_recipe(const TagTable& tags, const Request& request) {
  if (!is_pointwise(*request.node)) return std::nullopt;
  constexpr std::array<int, 3> kPixels{0, 2, 3};
  return rows_recipe(tags, request, kPixels, 1);
}

Recipe linear_recipe(const TagTable& tags, const Request& request) {
  std::vector<int> rows(request.result.type.shape.size() - 1);
  std::iota(rows.begin(), rows.end(), 0);
  std::optional<Recipe> recipe = rows_recipe(tags, request, rows, static_cast<int>(rows.size()));
  if (recipe) return *std::move(recipe);
  // Rows that are not evenly spaced: leave the axes as they are.
  const std::size_t rank = std::max<std::size_t>(rows.size() + 1, 2);
  const auto full = [&](const View& view) {
    const Descriptor given = describe(tags, view);
    return given.reshape(leading_ones(given.get_dims(), rank));
  };
  const std::optional<Descriptor> weights = node_weights_to_product(tags, request.operands[1]);
  if (!weights) throw failure("the weights' layout is not one of [out, in]");
  return product_recipe(request, full(request.operands[0]),
                        weights->reshape(leading_ones(weights->get_dims(), rank)),
                        full(request.result), full);
}

Recipe matmul_recipe(const TagTable& tags, const Request& request) {
  const Attributes& a = request.node->attributes();
  const std::size_t rank = request.result.type.shape.size();
  const memory::data_type type = compute_type(request);
  Recipe recipe;
  recipe.key = "matmul";
  Descriptor left = matrix_operand(tags, request.operands[0], a.boolean("transpose_a"), rank);
  Descriptor right = matrix_operand(tags, request.operands[1], a.boolean("transpose_b"), rank);
  Descriptor result = describe(tags, request.result);
  const Descriptor any_left = any_format(left.get_dims(), type);
  const Descriptor any_right = any_format(right.get_dims(), type);
  const Descriptor plain_result =
      plain(result.get_dims(), result.get_data_type() == type ? type : memory::data_type::f32);
  recipe.arguments.push_back({DNNL_ARG_SRC, false, 0, std::move(left), any_left});
  recipe.arguments.push_back({DNNL_ARG_WEIGHTS, false, 1, std::move(right), any_right});
  recipe.arguments.push_back({DNNL_ARG_DST, true, 0, std::move(result), plain_result});
  recipe.make = [](const dnnl::engine& engine, std::span<const Descriptor> d) -> PrimitiveDesc {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return dnnl::matmul::primitive_desc(engine, d[0], d[1], d[2], attributes);
  };
  return recipe;
}

}  // namespace facet::cpu
