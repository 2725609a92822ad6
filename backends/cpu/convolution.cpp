#include <fmt/format.h>
#include <fmt/ranges.h>

#include "backends/cpu/recipe.h"
#include "ir/error.h"

namespace facet::cpu {
namespace {

using dnnl::memory;

/// One extent per axis of the result, ones in front.
Extents aligned_extents(const Extents& extents, std::size_t rank) {
  Extents result(rank, 1);
  std::copy(extents.begin(), extents.end(),
            result.end() - static_cast<std::ptrdiff_t>(extents.size()));
  return result;
}

/// An extra operand of a conv: of the result's extents, or broadcast onto them.
std::pair<Descriptor, Descriptor> describe_extra(const TagTable& tags, const View& view,
                                                 const Extents& result) {
  Descriptor given = describe(tags, view);
  if (given.get_ndims() < 4) given = given.reshape(aligned_extents(given.get_dims(), 4));
  if (given.get_dims() == result) return {given, any_format(result, given.get_data_type())};
  return {given, channels_last(given.get_dims(), given.get_data_type())};
}

memory::data_type result_type(const View& view, memory::data_type compute) {
  const memory::data_type given = data_type(view.type.dtype);
  return given == compute ? compute : memory::data_type::f32;
}

}  // namespace

Descriptor describe_weights(const TagTable& tags, const View& view, std::int64_t groups) {
  Descriptor given = describe(tags, view);
  if (groups > 1 && given.get_ndims() == 4) {
    given = given.reshape(grouped_extents(given.get_dims(), groups), /*allow_empty=*/true);
  }
  const Extents expected = grouped_extents(static_extents(view.type.shape), groups);
  if (!given || given.get_dims() != expected) {
    throw failure(fmt::format("the weights' layout '{}' does not fit {} groups",
                              view.type.layout.substr(0, 40), groups));
  }
  return given;
}

bool is_pointwise(const Node& node) {
  const Attributes& a = node.attributes();
  const Shape& weights = node.operand(1).shape();
  return weights[2] == Dim(1) && weights[3] == Dim(1) && a.ints("strides") == Ints{1, 1} &&
         a.ints("pads") == Ints{0, 0, 0, 0} && a.integer("groups") == 1;
}

Recipe convolution_recipe(const TagTable& tags, const Request& request) {
  const Attributes& a = request.node->attributes();
  const std::int64_t groups = a.integer("groups");
  const memory::data_type type = compute_type(request);
  const Extents result = static_extents(request.result.type.shape);
  Recipe recipe;
  recipe.key = fmt::format("conv s{} p{} d{}", fmt::join(a.ints("strides"), ","),
                           fmt::join(a.ints("pads"), ","), fmt::join(a.ints("dilations"), ","));
  const auto add = [&](int arg, bool is_result, std::size_t index, Descriptor given,
                       memory::data_type wanted) {
    Descriptor any = any_format(given.get_dims(), wanted);
    recipe.arguments.push_back({arg, is_result, index, std::move(given), std::move(any)});
  };
  add(DNNL_ARG_SRC, false, 0, describe(tags, request.operands[0]), type);
  add(DNNL_ARG_WEIGHTS, false, 1, describe_weights(tags, request.operands[1], groups), type);
  add(DNNL_ARG_DST, true, 0, describe(tags, request.result), result_type(request.result, type));
  const Epilogue epilogue(request, recipe, 4, 1, {result[1]},
                          [&](const View& view) { return describe_extra(tags, view, result); });
  recipe.make = [epilogue, strides = a.ints("strides"), pads = a.ints("pads"),
                 dilations = a.ints("dilations")](const dnnl::engine& engine,
                                                  std::span<const Descriptor> d) -> PrimitiveDesc {
    // oneDNN counts the gap between taps: an undilated window has dilation 0.
    return dnnl::convolution_forward::primitive_desc(
        engine, dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, d[0], d[1],
        epilogue.bias(d), d[2], strides, {dilations[0] - 1, dilations[1] - 1}, {pads[0], pads[1]},
        {pads[2], pads[3]}, epilogue.attributes(d));
  };
  return recipe;
}

}  // namespace facet::cpu
