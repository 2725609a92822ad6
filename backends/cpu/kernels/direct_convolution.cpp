#include "backends/cpu/kernels/direct_convolution.h"

#include <algorithm>
#include <optional>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/direct_plan.h"
#include "backends/cpu/kernels/winograd.h"
#include "ir/epilogue.h"
#include "ir/layout.h"
#include "passes/pass.h"
#include "passes/prepared.h"

namespace facet::cpu {
namespace {

/// Fewer input channels spend their time on finding pixels, not on arithmetic.
constexpr std::int64_t kFewestChannels = 8;

bool is_direct_float(DType dtype) { return dtype == DType::f32 || dtype == DType::bf16; }

std::optional<Function> function_of(std::string_view entry) {
  if (entry == "relu") return Function::relu;
  if (entry == "sigmoid") return Function::sigmoid;
  if (entry == "prelu") return Function::prelu;
  if (entry == "add") return Function::add;
  if (entry == "mul") return Function::mul;
  return std::nullopt;
}

/// What an epilogue entry reads must be a row for all pixels, or an image like the result.
bool suits_entry(const Node& node, std::string_view entry, const Type* extra) {
  if (!is_epilogue_entry(entry) || epilogue_reads_operand(entry) != (extra != nullptr)) {
    return false;
  }
  if (extra == nullptr) return true;
  if (entry == "bias" || entry == "prelu") {
    const bool is_row = extra->shape == Shape{node.operand(1).shape()[0]};
    return extra->dtype == DType::f32 && (is_row || (entry == "prelu" && extra->shape == Shape{1}));
  }
  return node.result_count() == 1 && extra->shape == node.result_types()[0].shape &&
         is_direct_float(extra->dtype);
}

bool suits_epilogue(const Node& node) {
  const std::vector<EpilogueEntry> entries = epilogue_of(node);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].name == "bias" && i > 0) return false;
    const bool reads = entries[i].operand >= 0;
    const Type* const extra = reads ? &node.operand(entries[i].operand).type() : nullptr;
    if (!suits_entry(node, entries[i].name, extra)) return false;
  }
  return true;
}

bool set_image(DirectPlan& plan, const Node& node, const View& x) {
  const std::optional<PixelRows> rows = pixel_rows(x);
  if (!rows) return false;
  plan.x = *rows;
  const std::vector<std::int64_t> extents = static_extents(x.type.shape);
  plan.images = extents[0];
  plan.channels = extents[1];
  plan.height = extents[2];
  plan.width = extents[3];
  const Attributes& a = node.attributes();
  for (const std::size_t axis : {0, 1}) {
    plan.kernel[axis] = node.operand(1).shape()[2 + axis].factor;
    plan.stride[axis] = a.ints("strides")[axis];
    plan.dilation[axis] = a.ints("dilations")[axis];
    plan.pad[axis] = a.ints("pads")[axis];
  }
  return true;
}

bool set_results(DirectPlan& plan, std::span<const View> results) {
  for (const View& view : results) {
    const std::optional<PixelRows> rows = pixel_rows(view);
    if (!rows || (rows->type == Float::bf16 && plan.x.type == Float::f32)) return false;
    const std::vector<std::int64_t> extents = static_extents(view.type.shape);
    plan.results.push_back({plan.out_channels, plan.out_channels + extents[1], *rows});
    plan.out_channels += extents[1];
    plan.out_height = extents[2];
    plan.out_width = extents[3];
  }
  return true;
}

bool set_epilogue(DirectPlan& plan, const Node& node, std::span<const View> operands) {
  for (const EpilogueEntry& entry : epilogue_of(node)) {
    if (entry.name == "bias") {
      plan.bias = entry.operand;
      continue;
    }
    DirectEntry added;
    added.function = *function_of(entry.name);
    added.operand = entry.operand;
    if (entry.operand >= 0) {
      const View& view = operands[static_cast<std::size_t>(entry.operand)];
      added.scalar = view.type.shape == Shape{1};
      added.per_channel = !added.scalar && view.type.rank() == 1;
      if (!added.scalar && !added.per_channel) {
        const std::optional<PixelRows> rows = pixel_rows(view);
        if (!rows) return false;
        added.rows = *rows;
      }
    }
    plan.entries.push_back(added);
  }
  return true;
}

/// Winograd's algorithm transforms weights that change with every run from where they lie, so that
/// nothing packs them ahead of it.
bool takes_row_weights(const Node& node) {
  return node.is("conv") && reads_trained_weights(node) && suits_winograd_training(node) &&
         node.attributes().strings("epilogue").empty() &&
         node.result_types()[0].dtype == node.operand(0).dtype();
}

/// Everything but what depends on the layout of the weights. None where a view is not as
/// lower_direct wants it.
std::optional<DirectPlan> plan_direct(const Node& node, std::span<const View> operands,
                                      std::span<const View> results) {
  DirectPlan plan;
  plan.tiles = direct_tiles_for(node.operand(0).dtype());
  plan.vectors = direct_vectors(*plan.tiles, node.operand(1).shape()[0].factor);
  if (!set_image(plan, node, operands[0]) || !set_results(plan, results) ||
      !set_epilogue(plan, node, operands)) {
    return std::nullopt;
  }
  plan.trained_weights = reads_trained_weights(node);
  cut_direct(plan);
  return plan;
}

/// The plan on dense images in NHWC.
std::optional<DirectPlan> plan_direct(const Node& node) {
  const auto views = [](std::span<const Type> types) {
    std::vector<View> dense;
    for (Type type : types) {
      type.layout = type.rank() == 4 ? "acdb" : "";
      dense.push_back(dense_view(type));
    }
    return dense;
  };
  std::vector<Type> operands;
  for (const Value& operand : node.operands()) operands.push_back(operand.type());
  return plan_direct(node, views(operands), views(node.result_types()));
}

/// Weights that are known ahead of all runs are transformed once: their layout, or none where
/// Winograd's algorithm does not take them so.
Layout transformed_layout(const Node& node) {
  if (!node.is("conv") || !is_prepared(node.operand(1))) return {};
  const std::optional<DirectPlan> plan = plan_direct(node);
  return plan && suits_winograd_once(*plan) ? winograd_weights_layout(*plan) : Layout{};
}

}  // namespace

int direct_vectors(const DirectTiles& tiles, std::int64_t out_channels) {
  const std::int64_t vectors = (out_channels + kDirectLanes - 1) / kDirectLanes;
  if (vectors <= tiles.vectors) return static_cast<int>(vectors);
  return tiles.vectors > 3 && vectors % 3 == 0 ? 3 : tiles.vectors;
}

const DirectTiles* direct_tiles_for(DType dtype) {
  static const CpuFeatures features = cpu_features();
  if (dtype == DType::f32) {
    if (features.avx512) return direct_tiles_avx512();
    return features.avx2 ? direct_tiles_avx2() : nullptr;
  }
  const bool suits = features.avx512_bf16 && !features.amx_bf16;
  return dtype == DType::bf16 && suits ? direct_tiles_avx512_bf16() : nullptr;
}

std::optional<PixelRows> pixel_rows(const View& view) {
  if (view.type.rank() != 4 || !is_direct_float(view.type.dtype)) return std::nullopt;
  if (view.strides.size() != 4) return std::nullopt;
  const std::vector<std::int64_t> extents = static_extents(view.type.shape);
  if (extents[1] > 1 && view.strides[1] != 1) return std::nullopt;
  PixelRows rows;
  rows.type = view.type.dtype == DType::f32 ? Float::f32 : Float::bf16;
  rows.pitch = 0;
  std::int64_t count = 1;  // pixels inside of one step of the axis
  for (const std::size_t axis : {3, 2, 0}) {
    if (extents[axis] > 1) {
      if (rows.pitch == 0) rows.pitch = view.strides[axis] / count;
      if (view.strides[axis] != rows.pitch * count) return std::nullopt;
    }
    count *= extents[axis];
  }
  if (rows.pitch == 0) rows.pitch = extents[1];
  return rows;
}

bool is_row_major(const View& view) {
  return !is_blocked(view.type.layout) &&
         same_strides(static_extents(view.type.shape), view.strides,
                      dense_strides({view.type.dtype, view.type.shape, {}}));
}

bool takes_direct(const Node& node) {
  if (!node.is("conv") && !node.is("conv_branches")) return false;
  const Value x = node.operand(0);
  const Value weight = node.operand(1);
  const std::int64_t channels = weight.shape()[1].factor;
  return direct_tiles_for(x.dtype()) != nullptr && weight.dtype() == x.dtype() &&
         node.attributes().integer("groups") == 1 && channels >= kFewestChannels &&
         (x.dtype() == DType::f32 || channels % 2 == 0) && suits_epilogue(node);
}

bool reads_trained_weights(const Node& node) {
  const Node* source = node.operand(1).node;
  while (source->is("cast") || source->is("reorder") || source->is("concat")) {
    source = source->operand(0).node;
  }
  return is_state(*source);
}

bool takes_direct_epilogue(const Node& node, std::string_view added, const Type* extra) {
  return takes_direct(node) && suits_entry(node, added, extra) &&
         (added != "bias" || node.attributes().strings("epilogue").empty());
}

Layout direct_weights_layout(const Node& node) {
  const Type& weight = node.operand(1).type();
  const std::int64_t lanes =
      direct_vectors(*direct_tiles_for(weight.dtype), weight.shape[0].factor) * kDirectLanes;
  return weight.dtype == DType::f32 ? "Acdb" + std::to_string(lanes) + "a"
                                    : "AcdB" + std::to_string(lanes) + "a2b";
}

LayoutChoice direct_layouts(const Node& node) {
  LayoutChoice choice;
  for (const Value& operand : node.operands()) {
    choice.operands.emplace_back(operand.type().rank() == 4 ? "acdb" : "");
  }
  if (Layout layout = transformed_layout(node); !layout.empty()) {
    choice.operands[1] = std::move(layout);
  } else {
    choice.operands[1] = takes_row_weights(node) ? Layout("") : direct_weights_layout(node);
  }
  choice.results.assign(static_cast<std::size_t>(node.result_count()), "acdb");
  return choice;
}

std::unique_ptr<Kernel> lower_direct(const Node& node, std::span<const View> operands,
                                     std::span<const View> results) {
  if (!takes_direct(node)) return nullptr;
  std::optional<DirectPlan> plan = plan_direct(node, operands, results);
  if (!plan) return nullptr;
  const View& weights = operands[1];
  if (node.is("conv") && weights.type.layout == winograd_weights_layout(*plan)) {
    plan->transformed_weights = true;
    return make_winograd_kernel(*plan);
  }
  plan->row_weights = !is_blocked(weights.type.layout) && takes_row_weights(node);
  const bool is_expected = plan->row_weights ? is_row_major(weights)
                                             : weights.type.layout == direct_weights_layout(node);
  if (!is_expected) return nullptr;
  if (suits_winograd(*plan)) return make_winograd_kernel(*plan);
  if (plan->row_weights) return nullptr;
  return make_kernel(*std::move(plan));
}

}  // namespace facet::cpu
