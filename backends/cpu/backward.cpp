#include "backends/cpu/backward.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "backends/cpu/kernels/column_sums.h"
#include "backends/cpu/kernels/weights_products.h"
#include "backends/cpu/kernels/winograd.h"
#include "backends/cpu/sequence_kernel.h"
#include "backends/cpu/solution.h"
#include "ir/error.h"

namespace facet::cpu {
namespace {

using dnnl::memory;

/// The node's views, or the ones that a lowering is asked for.
struct Views {
  std::vector<View> operands;
  std::vector<View> results;
};

Views views_of(const Node& node) {
  Views views;
  for (const Value& operand : node.operands()) {
    views.operands.push_back(dense_view(with_static_batch(operand.type())));
  }
  for (const Type& type : node.result_types()) {
    views.results.push_back(dense_view(with_static_batch(type)));
  }
  return views;
}

/// bf16 when both factors are, else f32.
memory::data_type factor_type(const Views& views) {
  const bool low =
      views.operands[0].type.dtype == DType::bf16 && views.operands[1].type.dtype == DType::bf16;
  return low ? memory::data_type::bf16 : memory::data_type::f32;
}

memory::data_type result_type(const View& view, memory::data_type factors) {
  return data_type(view.type.dtype) == factors ? factors : memory::data_type::f32;
}

dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

/// A conv's window in oneDNN's words: it counts the gap between taps.
struct WindowOf {
  explicit WindowOf(const Attributes& a)
      : strides(a.ints("strides")),
        dilations{a.ints("dilations")[0] - 1, a.ints("dilations")[1] - 1},
        before{a.ints("pads")[0], a.ints("pads")[1]},
        after{a.ints("pads")[2], a.ints("pads")[3]} {}

  std::string key() const {
    return fmt::format("s{} p{},{} d{}", fmt::join(strides, ","), fmt::join(before, ","),
                       fmt::join(after, ","), fmt::join(dilations, ","));
  }
  /// oneDNN wants to know the forward primitive that a backward one belongs to.
  dnnl::convolution_forward::primitive_desc hint(const dnnl::engine& engine, const Descriptor& x,
                                                 const Descriptor& weights,
                                                 const Descriptor& y) const {
    const auto any = [](const Descriptor& d, memory::data_type type) {
      return any_format(d.get_dims(), type);
    };
    const memory::data_type type = x.get_data_type();
    return {engine,
            dnnl::prop_kind::forward_training,
            dnnl::algorithm::convolution_direct,
            any(x, type),
            any(weights, type),
            any(y, y.get_data_type()),
            strides,
            dilations,
            before,
            after};
  }

  memory::dims strides, dilations, before, after;
};

/// NHWC asked for, whatever is given.
Argument image(const TagTable& tags, int arg, bool is_result, std::size_t index, const View& view,
               memory::data_type type) {
  Descriptor given = describe(tags, view);
  Descriptor wanted = channels_last(given.get_dims(), type);
  return {arg, is_result, index, std::move(given), std::move(wanted)};
}

Recipe data_recipe(const TagTable& tags, const Node& node, const Views& views) {
  const memory::data_type type = factor_type(views);
  Recipe recipe;
  const WindowOf window(node.attributes());
  recipe.key = "conv_bwd_data " + window.key();
  recipe.arguments.push_back(image(tags, DNNL_ARG_DIFF_DST, false, 0, views.operands[0], type));
  Descriptor weights =
      describe_weights(tags, views.operands[1], node.attributes().integer("groups"));
  Descriptor any = any_format(weights.get_dims(), type);
  recipe.arguments.push_back({DNNL_ARG_WEIGHTS, false, 1, std::move(weights), std::move(any)});
  recipe.arguments.push_back(image(tags, DNNL_ARG_DIFF_SRC, true, 0, views.results[0],
                                   result_type(views.results[0], type)));
  recipe.make = [window](const dnnl::engine& engine,
                         std::span<const Descriptor> d) -> PrimitiveDesc {
    const Descriptor x = any_format(d[2].get_dims(), d[1].get_data_type());
    return dnnl::convolution_backward_data::primitive_desc(
        engine, dnnl::algorithm::convolution_direct, d[2], d[1], d[0], window.strides,
        window.dilations, window.before, window.after, window.hint(engine, x, d[1], d[0]),
        user_scratchpad());
  };
  return recipe;
}

Recipe weights_recipe(const TagTable& tags, const Node& node, const Views& views) {
  const memory::data_type type = factor_type(views);
  Recipe recipe;
  const WindowOf window(node.attributes());
  recipe.key = "conv_bwd_weights " + window.key();
  recipe.arguments.push_back(image(tags, DNNL_ARG_DIFF_DST, false, 0, views.operands[0], type));
  recipe.arguments.push_back(image(tags, DNNL_ARG_SRC, false, 1, views.operands[1], type));
  Descriptor gradient =
      describe_weights(tags, views.results[0], node.attributes().integer("groups"));
  Descriptor any = any_format(gradient.get_dims(), memory::data_type::f32);
  recipe.arguments.push_back({DNNL_ARG_DIFF_WEIGHTS, true, 0, std::move(gradient), std::move(any)});
  if (views.results.size() > 1) {
    const Descriptor bias = describe(tags, views.results[1]);
    recipe.arguments.push_back({DNNL_ARG_DIFF_BIAS, true, 1, bias, bias});
  }
  recipe.make = [window](const dnnl::engine& engine,
                         std::span<const Descriptor> d) -> PrimitiveDesc {
    return dnnl::convolution_backward_weights::primitive_desc(
        engine, dnnl::algorithm::convolution_direct, d[1], d[2], d.size() > 3 ? d[3] : Descriptor(),
        d[0], window.strides, window.dilations, window.before, window.after,
        window.hint(engine, d[1], d[2], d[0]), user_scratchpad());
  };
  return recipe;
}

/// [..., columns] as rows; null where they are not evenly spaced.
std::optional<Descriptor> as_rows(const View& view) {
  const Extents extents = static_extents(view.type.shape);
  if (view.strides.size() != extents.size()) return std::nullopt;
  if (extents.back() > 1 && view.strides.back() != 1) return std::nullopt;
  std::vector<int> axes(extents.size() - 1);
  std::iota(axes.begin(), axes.end(), 0);
  std::int64_t stride = collapsed_stride(extents, view.strides, axes);
  if (stride < 0) return std::nullopt;
  if (stride == 0) stride = extents.back();
  const std::int64_t rows = element_count(extents) / extents.back();
  return Descriptor({rows, extents.back()}, data_type(view.type.dtype), Extents{stride, 1});
}

Descriptor rows_of(const View& view) {
  const std::optional<Descriptor> rows = as_rows(view);
  if (rows) return *rows;
  throw failure(fmt::format("{} does not lie in evenly spaced rows", to_string(view.type)));
}

/// result = left * right, in the dtype of the factors.
Recipe product(const Views& views, std::pair<Descriptor, std::size_t> left,
               std::pair<Descriptor, std::size_t> right) {
  const memory::data_type type = factor_type(views);
  Recipe recipe;
  recipe.key = "product";
  const auto add = [&](int arg, bool is_result, std::size_t index, const Descriptor& given,
                       memory::data_type wanted) {
    Descriptor descriptor = with_type(given, wanted);
    recipe.arguments.push_back({arg, is_result, index, given, std::move(descriptor)});
  };
  add(DNNL_ARG_SRC, false, left.second, left.first, type);
  add(DNNL_ARG_WEIGHTS, false, right.second, right.first, type);
  add(DNNL_ARG_DST, true, 0, rows_of(views.results[0]), result_type(views.results[0], type));
  recipe.make = [](const dnnl::engine& engine, std::span<const Descriptor> d) -> PrimitiveDesc {
    return dnnl::matmul::primitive_desc(engine, d[0], d[1], d[2], user_scratchpad());
  };
  return recipe;
}

Recipe recipe_of(const TagTable& tags, const Node& node, const Views& views) {
  if (node.is("conv_bwd_data")) return data_recipe(tags, node, views);
  if (node.is("conv_bwd_weights")) return weights_recipe(tags, node, views);
  const Descriptor dy = rows_of(views.operands[0]);
  const Descriptor factor = rows_of(views.operands[1]);
  if (node.is("linear_bwd_data")) return product(views, {dy, 0}, {factor, 1});
  return product(views, {dy.permute_axes({1, 0}), 0}, {factor, 1});
}

std::unique_ptr<Kernel> lower_views(Device& device, const Node& node, const Views& views) {
  const Recipe recipe = recipe_of(device.tags, node, views);
  std::optional<Solution> solution = solve_as_given(device, recipe);
  if (!solves_fast(solution)) {
    std::optional<Solution> wanted = solve_as_wanted(device, recipe);
    if (wanted && (!solution || is_fast(wanted->primitive))) solution = std::move(wanted);
  }
  if (!solution) {
    throw failure(fmt::format("oneDNN has no implementation for dy {} and {}",
                              to_string(views.operands[0].type),
                              to_string(views.operands[1].type)));
  }
  return build_kernel(device, recipe, *solution);
}

}  // namespace

bool is_backward_compute(const Node& node) {
  return node.is("conv_bwd_data") || node.is("conv_bwd_weights") || node.is("linear_bwd_data") ||
         node.is("linear_bwd_weights");
}

bool supports_backward(Device& device, const Node& node) {
  for (const Value& operand : node.operands()) {
    if (!is_float(operand.dtype())) return false;
  }
  try {
    return solve_as_wanted(device, recipe_of(device.tags, node, views_of(node))).has_value();
  } catch (const Error&) {
    return false;
  }
}

LayoutChoice choose_backward_layouts(Device& device, const Node& node) {
  return at_node(node, [&] {
    if (node.is("conv_bwd_data") && suits_winograd_gradient(node)) {
      return LayoutChoice{{"acdb", ""}, {"acdb"}};
    }
    const Recipe recipe = recipe_of(device.tags, node, views_of(node));
    const std::optional<Solution> solution = solve_as_wanted(device, recipe);
    if (!solution) throw failure("oneDNN has no implementation for it");
    if (node.is("conv_bwd_weights")) {
      LayoutChoice choice{{"acdb", "acdb"}, {""}};
      if (node.result_count() > 1) choice.results.emplace_back("");
      return choice;
    }
    return LayoutChoice{{"acdb", weights_layout_of(device.tags, solution->descriptors[1])},
                        {"acdb"}};
  });
}

std::unique_ptr<Kernel> lower_backward(Device& device, const Node& node,
                                       std::span<const View> operands,
                                       std::span<const View> results) {
  return at_node(node, [&]() -> std::unique_ptr<Kernel> {
    const Views views{{operands.begin(), operands.end()}, {results.begin(), results.end()}};
    const bool is_conv = node.is("conv_bwd_weights");
    std::unique_ptr<Kernel> kernel;
    if (node.is("conv_bwd_data")) kernel = lower_winograd_gradient(node, operands, results[0]);
    if (is_conv) kernel = lower_weights_products(node, operands, results[0]);
    const bool lacks_bias = (is_conv && kernel != nullptr) || node.is("linear_bwd_weights");
    if (kernel == nullptr) kernel = lower_views(device, node, views);
    if (!lacks_bias || results.size() < 2) return kernel;
    auto both = std::make_unique<SequenceKernel>();
    both->append(std::move(kernel), {0, 1}, {0});
    const std::size_t channels = is_conv ? 1 : operands[0].type.shape.size() - 1;
    both->append(make_column_sums(node, operands[0], channels, results[1]), {0}, {1});
    return both;
  });
}

}  // namespace facet::cpu
