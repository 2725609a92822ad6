#include "backends/cpu/compute.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/cpu/kernels/direct_convolution.h"
#include "backends/cpu/kernels/winograd.h"
#include "backends/cpu/solution.h"
#include "ir/error.h"
#include "passes/prepared.h"

namespace facet::cpu {
namespace {

Recipe main_recipe(const TagTable& tags, const Request& request) {
  if (request.node->is("conv")) return convolution_recipe(tags, request);
  if (request.node->is("linear")) return linear_recipe(tags, request);
  return matmul_recipe(tags, request);
}

/// Whether oneDNN multiplies copied windows by its general product.
bool is_by_gemm(const Solution& solution) {
  const std::string_view name = solution.primitive.impl_info_str();
  return name.find("gemm") != name.npos;
}

/// The recipe that is fast on the request's own views, if one is. A conv by oneDNN's gemm does not
/// run on slices: where the plan makes some, the pointwise product does, which adds in another
/// order. It stands in on dense values too, so that the bits are the same wherever values lie.
std::optional<std::pair<Recipe, Solution>> fast_as_given(Device& device, const Request& request) {
  Recipe recipe = main_recipe(device.tags, request);
  std::optional<Solution> solution = solve_as_given(device, recipe);
  const bool is_fast = solves_fast(solution);
  const bool is_conv = request.node->is("conv");
  if (is_conv && (!is_fast || is_by_gemm(*solution))) {
    if (std::optional<Recipe> pointwise = pointwise_recipe(device.tags, request)) {
      std::optional<Solution> product = solve_as_given(device, *pointwise);
      if (solves_fast(product)) return std::pair(*std::move(pointwise), *std::move(product));
    }
  }
  if (!is_fast) return std::nullopt;
  return std::pair(std::move(recipe), *std::move(solution));
}

bool is_slice_op(const Node& node) { return node.is("concat") || node.is("slice"); }

/// Whether one of the readers cuts a slice or puts the value into one.
bool has_slice_reader(const std::vector<Use>& uses) {
  return std::any_of(uses.begin(), uses.end(),
                     [](const Use& use) { return is_slice_op(*use.node); });
}

/// Whether the memory plan may make a slice of what the node reads first, or of what it writes.
bool may_touch_slice(const Node& node) {
  const Value x = node.operand(0);
  return is_slice_op(*x.node) || has_slice_reader(x.node->uses(x.index)) ||
         has_slice_reader(node.uses(0));
}

/// NHWC wherever the conv has images, as both conv recipes want it.
void set_channels_last(Request& request) {
  const auto set = [](View& view) {
    if (view.type.rank() != 4) return;
    view.type.layout = "acdb";
    view = dense_view(view.type);
  };
  for (std::size_t i = 0; i < request.operands.size(); ++i) {
    if (i != 1) set(request.operands[i]);
  }
  set(request.result);
}

/// The layouts of a 1x1 conv that runs as a product, or null. Only where a slice may come of it: on
/// dense values oneDNN's 1x1 convolutions are as fast and take more epilogues.
std::optional<LayoutChoice> choose_pointwise(Device& device, const Node& node) {
  if (!is_pointwise(node) || !may_touch_slice(node)) return std::nullopt;
  Request request = request_of(node);
  set_channels_last(request);
  const std::optional<Recipe> recipe = pointwise_recipe(device.tags, request);
  if (!recipe) return std::nullopt;
  const std::optional<Solution> solution = solve_as_wanted(device, *recipe);
  if (!solves_fast(solution)) return std::nullopt;
  LayoutChoice choice;
  for (const View& view : request.operands) choice.operands.push_back(view.type.layout);
  choice.operands[1] =
      weights_layout_of(device.tags, product_weights_to_node(solution->descriptors[1], 4));
  choice.results = {"acdb"};
  return choice;
}

LayoutChoice choose_convolution(Device& device, const Node& node) {
  const Request request = request_of(node);
  const Recipe recipe = convolution_recipe(device.tags, request);
  const std::optional<Solution> solution = solve_as_wanted(device, recipe);
  if (!solution) throw failure("oneDNN has no implementation for it");
  LayoutChoice choice;
  choice.operands.resize(request.operands.size());
  for (std::size_t i = 0; i < recipe.arguments.size(); ++i) {
    const Argument& argument = recipe.arguments[i];
    const Descriptor& descriptor = solution->descriptors[i];
    if (argument.is_result) {
      choice.results = {layout_of(device.tags, descriptor)};
    } else if (argument.arg == DNNL_ARG_WEIGHTS) {
      choice.operands[1] = weights_layout_of(device.tags, descriptor);
    } else if (request.operands[argument.index].type.rank() == 4) {
      choice.operands[argument.index] = layout_of(device.tags, descriptor);
    }
  }
  return choice;
}

LayoutChoice choose_linear(Device& device, const Node& node) {
  const Request request = request_of(node);
  const Recipe recipe = linear_recipe(device.tags, request);
  const std::optional<Solution> solution = solve_as_wanted(device, recipe);
  if (!solution) throw failure("oneDNN has no implementation for it");
  LayoutChoice choice{std::vector<Layout>(request.operands.size()), {""}};
  choice.operands[1] =
      weights_layout_of(device.tags, product_weights_to_node(solution->descriptors[1], 2));
  return choice;
}

/// Same layout, with a gap behind each row of channels.
void widen(View& view, bool is_image) {
  if (view.strides.size() < 2) return;
  const Layout& layout = view.type.layout;
  const bool channels_inside = is_image ? layout == "acdb" : layout.empty();
  const std::size_t channels = is_image ? 1 : view.strides.size() - 1;
  const std::vector<std::int64_t> extents = static_extents(view.type.shape);
  if (channels_inside) {
    for (std::size_t i = 0; i < view.strides.size(); ++i) {
      if (i != channels) view.strides[i] *= 2;
    }
  } else {
    view.strides[0] *= 2;
  }
}

}  // namespace

bool is_compute(const Node& node) {
  return node.is("conv") || node.is("linear") || node.is("matmul");
}

bool multiplies(const Device& device, DType dtype) {
  const Descriptor matrix = plain({16, 16}, data_type(dtype));
  const dnnl::matmul::primitive_desc found(device.engine, matrix, matrix, matrix,
                                           dnnl::primitive_attr(), /*allow_empty=*/true);
  return static_cast<bool>(found);
}

bool supports_compute(Device& device, const Node& node) {
  for (const Value& operand : node.operands()) {
    if (!is_float(operand.dtype())) return false;
  }
  try {
    const Request request = request_of(node);
    const std::optional<Solution> solution =
        solve_as_wanted(device, main_recipe(device.tags, request));
    return solution && (request.epilogue.empty() || solves_fast(solution));
  } catch (const Error&) {
    return false;
  }
}

bool accepts_epilogue(Device& device, const Node& node, std::string_view entry, const Type* extra) {
  if (!is_epilogue_entry(entry) || epilogue_reads_operand(entry) != (extra != nullptr))
    return false;
  if (!node.is("conv") && !node.is("linear")) return false;
  try {
    Request request = request_of(node);
    const Shape& result = node.result_types()[0].shape;
    EpilogueEntry added{std::string(entry), -1};
    if (extra != nullptr) {
      const Dim& channels = node.is("conv") ? result[1] : result.back();
      const bool per_channel = extra->shape == Shape{channels};
      const bool fits = entry == "add"    ? extra->shape == result
                        : entry == "mul"  ? broadcast(result, extra->shape) == result
                        : entry == "bias" ? per_channel
                                          : per_channel || extra->shape == Shape{1};
      if (!fits) return false;
      added.operand = static_cast<int>(request.operands.size());
      request.operands.push_back(dense_view(with_static_batch(*extra)));
    }
    request.epilogue.push_back(std::move(added));
    const Recipe recipe = main_recipe(device.tags, request);
    for (const Argument& argument : recipe.arguments) {
      if (argument.given.get_data_type() != argument.wanted.get_data_type()) return false;
    }
    return solves_fast(solve_as_wanted(device, recipe));
  } catch (const Error&) {
    return false;
  }
}

LayoutChoice choose_compute_layouts(Device& device, const Node& node) {
  return at_node(node, [&] {
    if (node.is("conv")) {
      std::optional<LayoutChoice> pointwise = choose_pointwise(device, node);
      return pointwise ? *std::move(pointwise) : choose_convolution(device, node);
    }
    if (node.is("linear")) return choose_linear(device, node);
    return LayoutChoice{std::vector<Layout>(node.operands().size()), {""}};
  });
}

bool prefers_primitive(Device& device, const Node& node) {
  if (!node.is("conv") || !reads_trained_weights(node) || may_touch_slice(node)) return false;
  if (suits_winograd_training(node)) return false;
  try {
    const Recipe recipe = convolution_recipe(device.tags, request_of(node));
    for (const Argument& argument : recipe.arguments) {
      if (argument.given.get_data_type() != argument.wanted.get_data_type()) return false;
    }
    return solves_fast(solve_as_wanted(device, recipe));
  } catch (const Error&) {
    return false;
  }
}

bool computes_on_slice(Device& device, const Node& node, bool is_result, int index) {
  try {
    Request request = request_of(node);
    View& view = is_result ? request.result : request.operands.at(static_cast<std::size_t>(index));
    widen(view, node.is("conv"));
    return fast_as_given(device, request).has_value();
  } catch (const Error&) {
    return false;  // not in these layouts or dtypes; `lower` says why
  }
}

std::unique_ptr<Kernel> lower_compute(Device& device, const Node& node,
                                      std::span<const View> operands, const View& result) {
  return at_node(node, [&] {
    const Request request = request_of(node, operands, result);
    if (auto fast = fast_as_given(device, request)) {
      return build_kernel(device, fast->first, fast->second);
    }
    const Recipe recipe = main_recipe(device.tags, request);
    std::optional<Solution> solution = solve_as_wanted(device, recipe);
    if (!solves_fast(solution)) {
      if (std::optional<Solution> slow = solve_as_given(device, recipe)) solution = std::move(slow);
    }
    if (!solution) {
      throw failure(fmt::format("oneDNN has no implementation for x {} and weight {}",
                                to_string(operands[0].type), to_string(operands[1].type)));
    }
    return build_kernel(device, recipe, *solution);
  });
}

std::unique_ptr<Kernel> lower_reorder(Device& device, const Node& node, const View& operand,
                                      const View& result) {
  return at_node(node, [&]() -> std::unique_ptr<Kernel> {
    Descriptor source = describe(device.tags, operand);
    Descriptor target = describe(device.tags, result);
    // Grouped weights have five axes on their own side only.
    if (source.get_ndims() < target.get_ndims()) source = source.reshape(target.get_dims());
    if (target.get_ndims() < source.get_ndims()) target = target.reshape(source.get_dims());
    if (source.get_dims() != target.get_dims()) throw failure("the layouts are of other shapes");
    auto kernel = std::make_unique<PrimitiveKernel>(device.engine);
    append_copy(device, *kernel, {Place::Kind::operand, 0}, source, {Place::Kind::result, 0},
                target);
    kernel->set_implementation("reorder");
    return kernel;
  });
}

}  // namespace facet::cpu
