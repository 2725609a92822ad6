#include "backends/cpu/volume.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "backends/cpu/solution.h"
#include "ir/error.h"

namespace facet::cpu {
namespace {

using dnnl::memory;

/// The three tensors of a convolution, whichever of them the node computes.
enum class Part { x, weight, y };

/// What operand 0, operand 1 and the result are.
struct Roles {
  Part first, second, result;
};

Roles roles_of(const Node& node) {
  if (node.is("conv3d_bwd_data")) return {Part::y, Part::weight, Part::x};
  if (node.is("conv3d_bwd_weights")) return {Part::y, Part::x, Part::weight};
  return {Part::x, Part::weight, Part::y};
}

/// A window in oneDNN's words: it counts the gap between taps.
struct WindowOf {
  explicit WindowOf(const Attributes& a) : strides(a.ints("strides")) {
    const Ints& pads = a.ints("pads");
    for (std::size_t i = 0; i < strides.size(); ++i) {
      dilations.push_back(a.ints("dilations")[i] - 1);
      before.push_back(pads[i]);
      after.push_back(pads[i + strides.size()]);
    }
  }

  /// The forward primitive of these descriptors.
  dnnl::convolution_forward::primitive_desc forward(const dnnl::engine& engine,
                                                    dnnl::prop_kind kind, const Descriptor& x,
                                                    const Descriptor& weight,
                                                    const Descriptor& y) const {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return {engine,  kind,      dnnl::algorithm::convolution_direct,
            x,       weight,    y,
            strides, dilations, before,
            after,   attributes};
  }

  Ints strides, dilations, before, after;
};

/// Weights with an axis of groups in front when there are several.
Extents weight_extents(const Extents& extents, std::int64_t groups) {
  if (groups == 1) return extents;
  Extents grouped = extents;
  grouped[0] /= groups;
  grouped.insert(grouped.begin(), groups);
  return grouped;
}

PrimitiveDesc make_primitive(const std::string& kind, const WindowOf& window,
                             const dnnl::engine& engine, const Descriptor& x,
                             const Descriptor& weight, const Descriptor& y) {
  if (kind == "conv3d") {
    return window.forward(engine, dnnl::prop_kind::forward_inference, x, weight, y);
  }
  // oneDNN wants to know the forward primitive that a backward one belongs to.
  const auto any = [](const Descriptor& d) { return any_format(d.get_dims(), d.get_data_type()); };
  const auto hint =
      window.forward(engine, dnnl::prop_kind::forward_training, any(x), any(weight), any(y));
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::algorithm direct = dnnl::algorithm::convolution_direct;
  if (kind == "conv3d_bwd_data") {
    return dnnl::convolution_backward_data::primitive_desc(
        engine, direct, x, weight, y, window.strides, window.dilations, window.before, window.after,
        hint, attributes);
  }
  return dnnl::convolution_backward_weights::primitive_desc(
      engine, direct, x, weight, y, window.strides, window.dilations, window.before, window.after,
      hint, attributes);
}

int argument_of(Part part, bool is_result, bool forward) {
  if (part == Part::x) return is_result ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC;
  if (part == Part::weight) return is_result ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS;
  return forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST;
}

Recipe volume_recipe(const TagTable& tags, const Node& node, std::span<const View> operands,
                     const View& result) {
  const std::int64_t groups = node.attributes().integer("groups");
  const Roles roles = roles_of(node);
  const bool forward = node.is("conv3d");
  const bool low = operands[0].type.dtype == DType::bf16 && operands[1].type.dtype == DType::bf16;
  const memory::data_type type = low ? memory::data_type::bf16 : memory::data_type::f32;
  Recipe recipe;
  const WindowOf window(node.attributes());
  const auto add = [&](Part part, bool is_result, std::size_t index, const View& view) {
    Descriptor given = describe(tags, view);
    if (part == Part::weight) {
      given = given.reshape(weight_extents(given.get_dims(), groups), /*allow_empty=*/true);
      if (!given) throw failure("the weights' strides do not allow groups");
    }
    const bool as_factors = !is_result || data_type(view.type.dtype) == type;
    Descriptor any = any_format(given.get_dims(), as_factors ? type : memory::data_type::f32);
    recipe.arguments.push_back({argument_of(part, is_result, forward), is_result, index,
                                std::move(given), std::move(any)});
  };
  add(roles.first, false, 0, operands[0]);
  add(roles.second, false, 1, operands[1]);
  add(roles.result, true, 0, result);
  recipe.key = fmt::format("{} s{} p{},{} d{}", node.kind(), fmt::join(window.strides, ","),
                           fmt::join(window.before, ","), fmt::join(window.after, ","),
                           fmt::join(window.dilations, ","));
  recipe.make = [window, roles, kind = std::string(node.kind())](const dnnl::engine& engine,
                                                                 std::span<const Descriptor> d) {
    const auto find = [&](Part part) -> const Descriptor& {
      return roles.first == part ? d[0] : roles.second == part ? d[1] : d[2];
    };
    return make_primitive(kind, window, engine, find(Part::x), find(Part::weight), find(Part::y));
  };
  return recipe;
}

}  // namespace

bool is_volume(const Node& node) {
  return node.is("conv3d") || node.is("conv3d_bwd_data") || node.is("conv3d_bwd_weights");
}

std::unique_ptr<Kernel> lower_volume(Device& device, const Node& node,
                                     std::span<const View> operands, const View& result) {
  return at_node(node, [&]() -> std::unique_ptr<Kernel> {
    const Recipe recipe = volume_recipe(device.tags, node, operands, result);
    const std::optional<Solution> solution = solve_as_wanted(device, recipe);
    if (!solution) return nullptr;
    return build_kernel(device, recipe, *solution);
  });
}

}  // namespace facet::cpu
