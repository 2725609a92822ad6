#include "ir/sdpa.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <set>
#include <vector>

#include "ir/error.h"

namespace facet {
namespace {

constexpr std::array<std::string_view, 9> kExtras{
    "score_scale", "relative_query", "relative_key", "relative_height", "relative_width",
    "bias",        "relative_value", "output_scale", "output_shift"};

/// Channels, or tokens, of an operand. Throws Error(usage) for a symbolic extent.
std::int64_t fixed(const Dim& dim, const Type& type) {
  if (!dim.is_static()) {
    throw usage_error(fmt::format("sdpa needs fixed channels and tokens, not {}", to_string(type)));
  }
  return dim.factor;
}

std::int64_t channels_of(const Type& type, bool last) {
  return fixed(last ? type.shape.back() : type.shape[1], type);
}

std::int64_t tokens_of(const Type& type, bool last) {
  std::int64_t tokens = 1;
  const std::size_t first = last ? 1 : 2;
  const std::size_t end = type.shape.size() - (last ? 1 : 0);
  for (std::size_t axis = first; axis < end; ++axis) tokens *= fixed(type.shape[axis], type);
  return tokens;
}

HeadChannels head_channels(const Attributes& attributes, std::string_view name, const Type& operand,
                           std::int64_t heads, bool last) {
  const Ints& three = attributes.ints(name);
  if (three.size() != 3) {
    throw usage_error(fmt::format("{} takes first channel, step from head to head and size", name));
  }
  const HeadChannels place{three[0], three[1], three[2]};
  const std::int64_t channels = channels_of(operand, last);
  if (place.first < 0 || place.size < 1 || place.step < place.size ||
      heads * place.step > channels ||
      place.first + (heads - 1) * place.step + place.size > channels) {
    throw usage_error(
        fmt::format("{} heads of {} channels from channel {} on in steps of {} do not "
                    "lie in {}",
                    heads, place.size, place.first, place.step, to_string(operand)));
  }
  return place;
}

void check_ranks(std::span<const Type> qkv, bool last) {
  for (const Type& type : qkv) {
    if (type.rank() < 3 || (last && type.rank() != 3) || !(type.shape[0] == qkv[0].shape[0])) {
      throw usage_error(fmt::format("sdpa takes operands {} of one batch size, not {}",
                                    last ? "[N, K, C]" : "[N, C, K] or [N, C, H, W]",
                                    to_string(type)));
    }
  }
}

/// Numbers the operands that `extras` names.
void number_extras(Sdpa& sdpa, const Strings& extras, std::size_t operand_count) {
  const std::array<int*, 9> places{&sdpa.score_scale,     &sdpa.relative_query, &sdpa.relative_key,
                                   &sdpa.relative_height, &sdpa.relative_width, &sdpa.bias,
                                   &sdpa.relative_value,  &sdpa.output_scale,   &sdpa.output_shift};
  std::size_t known = 0;
  int operand = 3;
  for (const std::string& extra : extras) {
    while (known < kExtras.size() && kExtras[known] != extra) ++known;
    if (known == kExtras.size()) {
      throw usage_error(fmt::format("extras of sdpa are {}, in this order, not [{}]",
                                    fmt::join(kExtras, ", "), fmt::join(extras, ", ")));
    }
    *places[known++] = operand++;
  }
  if (operand_count != static_cast<std::size_t>(operand)) {
    throw usage_error(fmt::format("sdpa has {} operands, but q, k, v and {} extras are {}",
                                  operand_count, extras.size(), operand));
  }
}

void check_shape(std::span<const Type> operands, int operand, std::string_view name,
                 const Shape& shape) {
  if (operand < 0) return;
  const Type& type = operands[static_cast<std::size_t>(operand)];
  if (!(type.shape == shape) || !is_float(type.dtype)) {
    throw usage_error(
        fmt::format("{} has to be {}, not {}", name, to_string(shape), to_string(type)));
  }
}

void check_extras(const Sdpa& sdpa, std::span<const Type> operands) {
  const std::int64_t distances = sdpa.distances();
  const auto check = [&](int operand, std::string_view name, const Shape& shape) {
    check_shape(operands, operand, name, shape);
  };
  check(sdpa.score_scale, "score_scale", {sdpa.terms(), sdpa.heads});
  check(sdpa.relative_query, "relative_query", {distances, sdpa.query.size});
  check(sdpa.relative_key, "relative_key", {distances, sdpa.query.size});
  check(sdpa.relative_height, "relative_height", {2 * sdpa.height - 1, sdpa.query.size});
  check(sdpa.relative_width, "relative_width", {2 * sdpa.width - 1, sdpa.query.size});
  check(sdpa.relative_value, "relative_value", {distances, sdpa.value.size});
  check(sdpa.output_scale, "output_scale", {sdpa.relative_value >= 0 ? 2 : 1, sdpa.channels()});
  check(sdpa.output_shift, "output_shift", {sdpa.channels()});
  if (sdpa.bias < 0) return;
  const Shape scores{operands[0].shape[0], sdpa.heads, sdpa.queries, sdpa.keys};
  const Type& bias = operands[static_cast<std::size_t>(sdpa.bias)];
  if (bias.rank() > 4 || !(broadcast(scores, bias.shape) == scores)) {
    throw usage_error(fmt::format("bias {} does not broadcast to the scores {}", to_string(bias),
                                  to_string(scores)));
  }
}

void read_map(Sdpa& sdpa, const Ints& map) {
  const bool both = sdpa.relative_height >= 0 && sdpa.relative_width >= 0;
  if ((sdpa.relative_height >= 0 || sdpa.relative_width >= 0) != both ||
      (both && sdpa.relative_query >= 0)) {
    throw usage_error(
        "places of the query are relative_query, or relative_height and "
        "relative_width together");
  }
  if (map.size() != (both ? 2U : 0U)) {
    throw usage_error("map is [height, width] with relative_height and relative_width, else []");
  }
  if (!both) return;
  sdpa.height = map[0];
  sdpa.width = map[1];
  if (map[0] < 1 || map[1] < 1 || map[0] * map[1] != sdpa.queries || sdpa.queries != sdpa.keys) {
    throw usage_error(fmt::format("a map of {} x {} has not {} queries and {} keys", map[0], map[1],
                                  sdpa.queries, sdpa.keys));
  }
}

void check_interleaved(const Sdpa& sdpa) {
  if (!sdpa.interleaved) return;
  if (sdpa.relative_value < 0 || sdpa.output_scale >= 0 || sdpa.output_shift >= 0) {
    throw usage_error(
        "an interleaved result takes relative_value, and neither output_scale nor output_shift");
  }
}

/// Whether no channel lies in two of the places of any head.
bool read_once(std::initializer_list<HeadChannels> places, std::int64_t heads) {
  std::set<std::int64_t> read;
  for (const HeadChannels& place : places) {
    for (std::int64_t head = 0; head < heads; ++head) {
      for (std::int64_t c = 0; c < place.size; ++c) {
        if (!read.insert(place.first + head * place.step + c).second) return false;
      }
    }
  }
  return true;
}

/// Gives the results behind the operands' gradients their numbers.
void number_results(SdpaBwd& bwd, int next, bool has_bias) {
  const Sdpa& s = bwd.sdpa;
  for (const auto& [present, number] :
       std::initializer_list<std::pair<bool, int*>>{{s.score_scale >= 0, &bwd.score_scale},
                                                    {s.relative_query >= 0, &bwd.relative_query},
                                                    {s.relative_key >= 0, &bwd.relative_key},
                                                    {s.relative_height >= 0, &bwd.relative_height},
                                                    {s.relative_width >= 0, &bwd.relative_width},
                                                    {has_bias, &bwd.bias},
                                                    {s.relative_value >= 0, &bwd.relative_value}}) {
    if (present) *number = next++;
  }
}

std::vector<Type> operand_types(const Node& node) {
  std::vector<Type> types;
  for (const Value& value : node.operands()) types.push_back(value.type());
  return types;
}

}  // namespace

std::span<const std::string_view> sdpa_extras() { return kExtras; }

Sdpa parse_sdpa(const Attributes& attributes, std::span<const Type> operands) {
  Sdpa sdpa;
  sdpa.heads = attributes.integer("heads");
  const std::int64_t axis = attributes.integer("channel_axis");
  if (sdpa.heads < 1 || (axis != 1 && axis != -1)) {
    throw usage_error("sdpa takes 1 head or more, and a channel_axis of 1 or -1");
  }
  sdpa.channels_last = axis == -1;
  const bool last = sdpa.channels_last;
  check_ranks(operands.first(3), last);
  sdpa.query = head_channels(attributes, "query", operands[0], sdpa.heads, last);
  sdpa.key = head_channels(attributes, "key", operands[1], sdpa.heads, last);
  sdpa.value = head_channels(attributes, "value", operands[2], sdpa.heads, last);
  sdpa.queries = tokens_of(operands[0], last);
  sdpa.keys = tokens_of(operands[1], last);
  if (sdpa.query.size != sdpa.key.size || sdpa.keys != tokens_of(operands[2], last)) {
    throw usage_error(
        fmt::format("queries and keys must be as wide, keys and values as many: {}, "
                    "{}, {}",
                    to_string(operands[0]), to_string(operands[1]), to_string(operands[2])));
  }
  sdpa.scale = attributes.number("scale");
  const Doubles& clamp = attributes.doubles("clamp");
  if (!clamp.empty()) {
    if (clamp.size() != 2 || clamp[0] > clamp[1]) {
      throw usage_error("clamp is [], or its lower and upper bound");
    }
    sdpa.clamp = {clamp[0], clamp[1]};
  }
  number_extras(sdpa, attributes.strings("extras"), operands.size());
  sdpa.interleaved = attributes.boolean("interleaved");
  sdpa.keeps_weights = attributes.boolean("weights");
  check_interleaved(sdpa);
  read_map(sdpa, attributes.ints("map"));
  check_extras(sdpa, operands);
  return sdpa;
}

Sdpa sdpa_of(const Node& node) { return parse_sdpa(node.attributes(), operand_types(node)); }

bool are_disjoint(const Sdpa& sdpa) {
  return read_once({sdpa.query, sdpa.key, sdpa.value}, sdpa.heads);
}

bool are_scores_disjoint(const Sdpa& sdpa) { return read_once({sdpa.query, sdpa.key}, sdpa.heads); }

SdpaBwd parse_sdpa_bwd(const Attributes& attributes, std::span<const Type> operands) {
  SdpaBwd result;
  const bool has_weights = attributes.boolean("weights") && operands.size() > 4;
  result.sdpa =
      parse_sdpa(attributes, operands.subspan(1, operands.size() - (has_weights ? 2 : 1)));
  const Sdpa& s = result.sdpa;
  if (has_weights) {
    result.weights = static_cast<int>(operands.size()) - 1;
    check_shape(operands, result.weights, "the weights",
                {operands[1].shape[0], s.heads, s.queries, s.keys});
    if (s.clamp) throw usage_error("weights do not tell where a clamp cut");
  }
  if (s.output_scale >= 0 || s.output_shift >= 0) {
    throw usage_error("sdpa_bwd takes neither output_scale nor output_shift");
  }
  Shape y = operands[1].shape;
  (s.channels_last ? y.back() : y[1]) = s.result_channels();
  if (!(operands[0].shape == y) || !is_float(operands[0].dtype)) {
    throw usage_error(fmt::format("the cotangent {} does not fit the result {} of sdpa",
                                  to_string(operands[0]), to_string(y)));
  }
  result.packed = attributes.boolean("packed");
  const auto has_shape_of_q = [&](std::size_t i) { return operands[i].shape == operands[1].shape; };
  if (result.packed && (!has_shape_of_q(2) || !has_shape_of_q(3) || !are_disjoint(s))) {
    throw usage_error("a packed gradient takes queries, keys and values of disjoint channels");
  }
  if (!result.packed) {
    result.key = 1;
    result.value = 2;
  }
  number_results(result, result.value + 1, s.bias >= 0 && attributes.boolean("bias_gradient"));
  return result;
}

SdpaBwd sdpa_bwd_of(const Node& node) {
  return parse_sdpa_bwd(node.attributes(), operand_types(node));
}

Sdpa parse_score_moments(const Attributes& attributes, std::span<const Type> operands) {
  if (operands.size() < 2) throw usage_error("score_moments takes q and k");
  for (const std::string& extra : attributes.strings("extras")) {
    if (!extra.starts_with("relative_") || extra == "relative_value") {
      throw usage_error(fmt::format("score_moments takes tables of places, not '{}'", extra));
    }
  }
  // An sdpa whose values are its keys; they are not read.
  Attributes whole = attributes;
  whole.set("value", attributes.ints("key"));
  whole.set("scale", 1.0);
  whole.set("clamp", Doubles{});
  whole.set("interleaved", false);
  whole.set("weights", false);
  std::vector<Type> types(operands.begin(), operands.end());
  types.insert(types.begin() + 2, operands[1]);
  Sdpa sdpa = parse_sdpa(whole, types);
  for (int* const table :
       {&sdpa.relative_query, &sdpa.relative_key, &sdpa.relative_height, &sdpa.relative_width}) {
    if (*table >= 0) --*table;
  }
  return sdpa;
}

Sdpa score_moments_of(const Node& node) {
  return parse_score_moments(node.attributes(), operand_types(node));
}

SdpaBwd parse_score_moments_bwd(const Attributes& attributes, std::span<const Type> operands) {
  if (operands.size() < 5) throw usage_error("score_moments_bwd takes three operands, q and k");
  SdpaBwd result;
  result.sdpa = parse_score_moments(attributes, operands.subspan(3));
  const Sdpa& s = result.sdpa;
  for (const int i : {0, 1, 2}) check_shape(operands, i, "a moment", {s.terms(), s.heads});
  result.packed = attributes.boolean("packed");
  if (result.packed && (!(operands[3].shape == operands[4].shape) || !are_scores_disjoint(s))) {
    throw usage_error("a packed gradient takes queries and keys of disjoint channels");
  }
  result.key = result.packed ? 0 : 1;
  result.value = -1;
  number_results(result, result.key + 1, /*has_bias=*/false);
  return result;
}

SdpaBwd score_moments_bwd_of(const Node& node) {
  return parse_score_moments_bwd(node.attributes(), operand_types(node));
}

}  // namespace facet
