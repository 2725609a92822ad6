#include "ir/gate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "ir/error.h"

namespace facet {
namespace {

constexpr std::array<std::string_view, 12> kExtras{
    "pixel_w1",   "pixel_b1",   "pixel_w2", "pixel_b2", "channel_w1", "channel_b1",
    "channel_w2", "channel_b2", "gamma",    "window_w", "window_b",   "residual"};

constexpr std::array<GateStage, 3> kStages{GateStage::pixels, GateStage::channels,
                                           GateStage::window};

void read_stages(Gate& gate, const Strings& names) {
  for (const std::string& name : names) {
    const auto found = std::find_if(kStages.begin(), kStages.end(),
                                    [&](GateStage stage) { return to_string(stage) == name; });
    if (found == kStages.end() || gate.has(*found) || gate.stages.size() == 2) {
      gate.stages.clear();
      break;
    }
    gate.stages.push_back(*found);
  }
  if (gate.stages.empty()) {
    throw usage_error(
        fmt::format("stages of gate are one or two different ones of pixels, "
                    "channels and window, not [{}]",
                    fmt::join(names, ", ")));
  }
}

void read_map(Gate& gate, const Type& x) {
  if (x.rank() != 4 || !is_float(x.dtype)) {
    throw usage_error(fmt::format("gate takes x [N, C, H, W] of floats, not {}", to_string(x)));
  }
  for (std::size_t axis = 1; axis < 4; ++axis) {
    if (!x.shape[axis].is_static() || x.shape[axis].factor < 1) {
      throw usage_error(
          fmt::format("gate needs fixed channels, height and width, not {}", to_string(x)));
    }
  }
  gate.channels = x.shape[1].factor;
  gate.height = x.shape[2].factor;
  gate.width = x.shape[3].factor;
}

/// Numbers the operands that `extras` names.
void number_extras(Gate& gate, const Strings& extras, std::size_t operand_count) {
  const std::array<int*, 12> places{&gate.pixel_w1,   &gate.pixel_b1,   &gate.pixel_w2,
                                    &gate.pixel_b2,   &gate.channel_w1, &gate.channel_b1,
                                    &gate.channel_w2, &gate.channel_b2, &gate.gamma,
                                    &gate.window_w,   &gate.window_b,   &gate.residual};
  std::size_t known = 0;
  int operand = 1;
  for (const std::string& extra : extras) {
    while (known < kExtras.size() && kExtras[known] != extra) ++known;
    if (known == kExtras.size()) {
      throw usage_error(fmt::format("extras of gate are {}, in this order, not [{}]",
                                    fmt::join(kExtras, ", "), fmt::join(extras, ", ")));
    }
    *places[known++] = operand++;
  }
  if (operand_count != static_cast<std::size_t>(operand)) {
    throw usage_error(fmt::format("gate has {} operands, but x and {} extras are {}", operand_count,
                                  extras.size(), operand));
  }
}

/// Weights stand exactly where their stage does.
void check_weights(const Gate& gate) {
  const auto check = [&](GateStage stage, std::initializer_list<int> needed,
                         std::initializer_list<int> optional) {
    const auto is_there = [](int operand) { return operand >= 0; };
    const bool all = std::all_of(needed.begin(), needed.end(), is_there);
    const bool any = std::any_of(needed.begin(), needed.end(), is_there) ||
                     std::any_of(optional.begin(), optional.end(), is_there);
    if (gate.has(stage) ? all : !any) return;
    throw usage_error(fmt::format("gate {} the stage {}, but {}",
                                  gate.has(stage) ? "has" : "does not have", to_string(stage),
                                  gate.has(stage) ? "misses weights of it" : "weights of it"));
  };
  check(GateStage::pixels, {gate.pixel_w1, gate.pixel_w2}, {gate.pixel_b1, gate.pixel_b2});
  check(GateStage::channels, {gate.channel_w1, gate.channel_w2},
        {gate.channel_b1, gate.channel_b2, gate.gamma});
  check(GateStage::window, {gate.window_w}, {gate.window_b});
  if (gate.max_too && !gate.has(GateStage::channels)) {
    throw usage_error("pooling is for the stage channels");
  }
  if (gate.gamma >= 0 && !gate.max_too) {
    throw usage_error("gamma weighs the maximum: it takes the pooling mean_max");
  }
}

/// Extent `axis` of an operand of this rank, which the others are checked against.
std::int64_t extent(std::span<const Type> operands, int operand, std::string_view name,
                    std::size_t rank, std::size_t axis) {
  if (operand < 0) return 0;
  const Type& type = operands[static_cast<std::size_t>(operand)];
  if (type.shape.size() != rank || !type.shape[axis].is_static() || type.shape[axis].factor < 1) {
    throw usage_error(
        fmt::format("{} has to have {} fixed extents, not {}", name, rank, to_string(type)));
  }
  return type.shape[axis].factor;
}

void check_shapes(const Gate& gate, std::span<const Type> operands) {
  const auto check = [&](int operand, std::string_view name, const Shape& shape) {
    if (operand < 0) return;
    const Type& type = operands[static_cast<std::size_t>(operand)];
    if (type.shape == shape && is_float(type.dtype)) return;
    throw usage_error(
        fmt::format("{} has to be {}, not {}", name, to_string(shape), to_string(type)));
  };
  const std::int64_t c = gate.channels;
  check(gate.pixel_w1, "pixel_w1", {c, gate.pixel_hidden});
  check(gate.pixel_b1, "pixel_b1", {gate.pixel_hidden});
  check(gate.pixel_w2, "pixel_w2", {gate.pixel_hidden});
  check(gate.pixel_b2, "pixel_b2", {1});
  check(gate.channel_w1, "channel_w1", {gate.channel_hidden, c});
  check(gate.channel_b1, "channel_b1", {gate.channel_hidden});
  check(gate.channel_w2, "channel_w2", {gate.channel_hidden, c});
  check(gate.channel_b2, "channel_b2", {c});
  check(gate.gamma, "gamma", {1});
  check(gate.window_w, "window_w", {2, gate.kernel, gate.kernel});
  check(gate.window_b, "window_b", {1});
  check(gate.residual, "residual", operands[0].shape);
}

}  // namespace

std::string_view to_string(GateStage stage) {
  switch (stage) {
    case GateStage::pixels:
      return "pixels";
    case GateStage::channels:
      return "channels";
    default:
      return "window";
  }
}

bool Gate::has(GateStage stage) const {
  return std::find(stages.begin(), stages.end(), stage) != stages.end();
}

std::span<const std::string_view> gate_extras() { return kExtras; }

Gate parse_gate(const Attributes& attributes, std::span<const Type> operands) {
  Gate gate;
  read_stages(gate, attributes.strings("stages"));
  read_map(gate, operands[0]);
  const std::string& pooling = attributes.text("pooling");
  if (pooling != "mean" && pooling != "mean_max") {
    throw usage_error(fmt::format("pooling of gate is mean or mean_max, not '{}'", pooling));
  }
  gate.max_too = pooling == "mean_max";
  gate.relu = attributes.boolean("relu");
  number_extras(gate, attributes.strings("extras"), operands.size());
  check_weights(gate);
  gate.pixel_hidden = extent(operands, gate.pixel_w1, "pixel_w1", 2, 1);
  gate.channel_hidden = extent(operands, gate.channel_w1, "channel_w1", 2, 0);
  gate.kernel = extent(operands, gate.window_w, "window_w", 3, 1);
  if (gate.has(GateStage::window) && gate.kernel % 2 == 0) {
    throw usage_error("the window of gate is odd, so that it has a middle");
  }
  check_shapes(gate, operands);
  return gate;
}

Gate gate_of(const Node& node) {
  std::vector<Type> types;
  for (const Value& value : node.operands()) types.push_back(value.type());
  return parse_gate(node.attributes(), types);
}

}  // namespace facet
