#include "backends/cuda/kernels/attention_gradient.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "backends/cuda/kernels/attention_gradient_side.h"
#include "backends/cuda/kernels/attention_tokens.h"
#include "backends/cuda/kernels/loops.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr int kSumThreads = 128;

/// Whether anything is summed over images.
bool has_sums(const SdpaBwd& r) {
  return std::max({r.score_scale, r.relative_query, r.relative_key, r.relative_height,
                   r.relative_width, r.relative_value, r.bias}) >= 0;
}

/// Lines that add up one kind of sums: thread number i has element i of a result.
class SumsWriter {
 public:
  SumsWriter(const SdpaBwd& gradient, std::span<const View> operands, std::span<const View> results,
             const GradientPlan& plan)
      : s_(gradient.sdpa), d_(gradient), operands_(operands), results_(results), plan_(plan) {}

  KernelSource run(std::span<const SideSums> sides) {
    if (s_.score_scale >= 0) {
      const View& scale = operands_[static_cast<std::size_t>(s_.score_scale)];
      parameters_.operand(s_.score_scale, type_name(scale.type.dtype), "score_scale");
    }
    for (const SideSums& side : sides) {
      for (const TableSums& sums : side.tables) table(side, sums);
      scales(side);
    }
    if (d_.bias >= 0) bias();
    if (d_.packed) {
      zeros(d_.query, {s_.query, s_.key, s_.value});
    } else {
      zeros(d_.query, {s_.query});
      zeros(d_.key, {s_.key});
      zeros(d_.value, {s_.value});
    }
    if (threads_ > std::numeric_limits<std::int32_t>::max()) {
      throw failure("the results are too large for one gradient of attention");
    }
    parameters_.scratch();
    KernelSource kernel = parameters_.begin("facet_attention_sums", kSumThreads,
                                            (threads_ + kSumThreads - 1) / kSumThreads);
    kernel.text +=
        fmt::format("  int i = blockIdx.x * {} + threadIdx.x;\n{}}}\n", kSumThreads, text_);
    return kernel;
  }

 private:
  /// Adds the lines for `count` elements of a result, which make `sum`.
  void part(std::int64_t count, int result, const std::string& lines, std::string_view at = "i") {
    const std::string name = fmt::format("to{}", parts_++);
    parameters_.result(result, type_name(results_[static_cast<std::size_t>(result)].type.dtype),
                       name);
    const std::string scaled =
        s_.scale == 1 || !is_scaled_ ? "sum" : fmt::format("{} * sum", float_literal(s_.scale));
    text_ += fmt::format(
        "  if (i < {0}) {{\n    float sum = 0.0f;\n{1}    facet::from_float({2}, {3}[{4}]);\n"
        "    return;\n  }}\n  i -= {0};\n",
        count, lines, scaled, name, at);
    threads_ += count;
  }

  void table(const SideSums& side, const TableSums& sums) {
    const std::int64_t columns = sums.table.columns;
    const std::int64_t tiles = (columns + 7) / 8;
    const std::int64_t places = sums.size / (8 * tiles);
    const std::string factor = sums.term < 0
                                   ? std::string()
                                   : fmt::format("facet::to_float(score_scale[{} + b % {}]) * ",
                                                 sums.term * s_.heads, s_.heads);
    is_scaled_ = sums.table.operand != s_.relative_value;
    part(sums.table.rows * columns, sums.table.result,
         fmt::format(
             R"(    const int row = i / {columns}, c = i % {columns};
    for (int tile = 0; tile < {own_tiles}; ++tile) {{
      const int p = row - ({row_first} + {row_step} * tile);
      if (p < 0 || p >= {places}) continue;
      const float* const from = scratch + {scratch}LL + {size}LL * tile + {m} * (p / 16) + c / 8 * 128 + p % 8 * 16 + c % 8 / 2 * 4 + p % 16 / 8 * 2 + c % 2;
      for (int b = 0; b < {blocks}; ++b) sum += {factor}from[{step}LL * b];
    }}
)",
             fmt::arg("columns", columns), fmt::arg("own_tiles", side.tiles),
             fmt::arg("row_first", sums.row_first), fmt::arg("row_step", sums.row_step),
             fmt::arg("places", places), fmt::arg("scratch", sums.scratch),
             fmt::arg("size", sums.size), fmt::arg("m", 128 * tiles),
             fmt::arg("blocks", plan_.slices * s_.heads), fmt::arg("factor", factor),
             fmt::arg("step", sums.size * side.tiles)));
  }

  void scales(const SideSums& side) {
    for (std::size_t n = 0; n < side.scale_terms.size(); ++n) {
      is_scaled_ = true;
      part(s_.heads, d_.score_scale,
           fmt::format(
               R"(    for (int slice = 0; slice < {slices}; ++slice) {{
      for (int tile = 0; tile < {tiles}; ++tile) {{
        sum += scratch[{scratch}LL + {terms} * (({heads} * slice + i) * {tiles} + tile) + {n}];
      }}
    }}
)",
               fmt::arg("slices", plan_.slices), fmt::arg("tiles", side.tiles),
               fmt::arg("scratch", side.scales), fmt::arg("terms", side.scale_terms.size()),
               fmt::arg("heads", s_.heads), fmt::arg("n", n)),
           fmt::format("{} + i", side.scale_terms[n] * s_.heads));
    }
  }

  /// Of a bias: over the axes along which it repeats.
  void bias() {
    const View& to = results_[static_cast<std::size_t>(d_.bias)];
    const std::vector<std::int64_t> extents = static_extents(to.type.shape);
    const std::int64_t all[] = {plan_.bias_slots, s_.heads, s_.queries, s_.keys};
    const char* const names[] = {"n", "h", "q", "k"};
    std::string coordinates = "    int rest = i;\n", loops, offset = "0";
    std::int64_t count = 1;
    for (std::size_t axis = 4; axis-- > 0;) {
      const std::size_t missing = 4 - extents.size();
      const std::int64_t extent = axis < missing ? 1 : extents[axis - missing];
      count *= extent;
      if (extent > 1) {
        coordinates +=
            fmt::format("    const int {0} = rest % {1};\n    rest /= {1};\n", names[axis], extent);
        offset += fmt::format(" + {}LL * {}", to.strides[axis - missing], names[axis]);
      }
    }
    for (std::size_t axis = 0; axis < 4; ++axis) {
      const std::size_t missing = 4 - extents.size();
      if (axis >= missing && extents[axis - missing] > 1) continue;
      loops += fmt::format("    for (int {0} = 0; {0} < {1}; ++{0})\n", names[axis], all[axis]);
    }
    is_scaled_ = false;
    part(count, d_.bias,
         fmt::format("{}{}      sum += scratch[{}LL + (({} * n + h) * {}LL + q) * {} + k];\n",
                     coordinates, loops, plan_.bias_sums, s_.heads, s_.queries, s_.keys),
         offset);
  }

  /// Channels that no head reads.
  void zeros(int result, const std::vector<HeadChannels>& heads) {
    const View& to = results_[static_cast<std::size_t>(result)];
    const std::vector<std::int64_t> extents = static_extents(to.type.shape);
    const std::int64_t channels = s_.channels_last ? extents.back() : extents[1];
    std::int64_t count = 1, read = 0;
    for (const std::int64_t extent : extents) count *= extent;
    std::string is_read;
    for (const HeadChannels& head : heads) {
      read += s_.heads * head.size;
      is_read += fmt::format("{0}(c >= {1} && c < {2} && (c - {1}) % {3} < {4})",
                             is_read.empty() ? "" : " || ", head.first,
                             head.first + s_.heads * head.step, head.step, head.size);
    }
    if (read == channels) return;
    const std::string name = fmt::format("to{}", parts_++);
    parameters_.result(result, type_name(to.type.dtype), name);
    text_ += fmt::format(
        "  if (i < {0}) {{\n    const int c = i % {1};\n"
        "    if (!({2})) facet::from_float(0.0f, {3}[i]);\n    return;\n  }}\n  i -= {0};\n",
        count, channels, is_read, name);
    threads_ += count;
  }

  const Sdpa& s_;
  const SdpaBwd& d_;
  std::span<const View> operands_, results_;
  const GradientPlan& plan_;
  Parameters parameters_;
  std::string text_;
  std::int64_t threads_ = 0;
  int parts_ = 0;
  bool is_scaled_ = true;  ///< the sums lack the scale of all scores
};

}  // namespace

KernelSource attention_gradient_sums(const SdpaBwd& gradient, std::span<const View> operands,
                                     std::span<const View> results, const GradientPlan& plan,
                                     std::span<const SideSums> sides) {
  return SumsWriter(gradient, operands, results, plan).run(sides);
}

namespace {

/// Two images in a block halve what sums of tables pass through memory.
std::int64_t teams_of(const SdpaBwd& r, std::int64_t images, const GradientLimits& limits) {
  const Sdpa& s = r.sdpa;
  const bool has_table_sums = std::max({r.relative_query, r.relative_key, r.relative_height,
                                        r.relative_width, r.relative_value}) >= 0;
  if (!has_table_sums || r.bias >= 0 || images % 2 != 0) return 1;
  // Of wider heads a multiprocessor has three blocks of one team.
  if (2 * std::max(s.query.size, s.value.size) > kHeldChannels) return 1;
  for (const AttentionSide side : {AttentionSide::queries, AttentionSide::keys}) {
    const GradientRoom room(s, side, limits.shared_bytes);
    if (!room.is_whole || 2 * room.bytes > limits.two_images_bytes) return 1;
  }
  return 2;
}

/// What the node computes, with the operand numbers of the node: the cotangent is 0.
SdpaBwd description_of(const Node& node) {
  SdpaBwd gradient = sdpa_bwd_of(node);
  Sdpa& s = gradient.sdpa;
  for (int* const operand : {&s.score_scale, &s.relative_query, &s.relative_key, &s.relative_height,
                             &s.relative_width, &s.bias, &s.relative_value}) {
    if (*operand >= 0) ++*operand;
  }
  return gradient;
}

}  // namespace

bool is_attention_gradient(const Node& node) {
  if (!node.is("sdpa_bwd")) return false;
  const Sdpa s = sdpa_bwd_of(node).sdpa;
  if (s.keeps_weights) return false;
  // Sums of a table have a lane's part of all its columns in registers.
  if ((s.terms() > 1 && s.query.size > kHeldChannels) ||
      (s.relative_value >= 0 && s.value.size > kHeldChannels)) {
    return false;
  }
  return std::ranges::all_of(std::array{AttentionSide::queries, AttentionSide::keys},
                             [&](AttentionSide side) {
                               return GradientRoom(s, side, GradientLimits().shared_bytes).met > 0;
                             });
}

LayoutChoice attention_gradient_layouts(const Node& node) {
  const SdpaBwd gradient = sdpa_bwd_of(node);
  LayoutChoice choice{std::vector<Layout>(static_cast<std::size_t>(node.operand_count())),
                      std::vector<Layout>(static_cast<std::size_t>(node.result_count()))};
  for (std::size_t i = 0; i < 4; ++i) {
    choice.operands[i] = tokens_first(gradient.sdpa, node.operand(static_cast<int>(i)).type());
  }
  for (std::size_t i = 0; i < (gradient.packed ? 1U : 3U); ++i) {
    choice.results[i] = tokens_first(gradient.sdpa, node.result_types()[i]);
  }
  return choice;
}

KernelSequence attention_gradient_kernels(const Node& node, std::span<const View> operands,
                                          std::span<const View> results,
                                          const GradientLimits& limits) {
  if (!is_attention_gradient(node)) {
    throw failure(fmt::format("'{}' is no gradient of attention that kernels of the GPU compute",
                              node.kind()));
  }
  const SdpaBwd gradient = description_of(node);
  const Sdpa& s = gradient.sdpa;
  GradientPlan plan;
  plan.images = static_extents(operands[0].type.shape)[0];
  if (plan.images < 1) throw failure("the GPU attends to one image at least");
  plan.teams = teams_of(gradient, plan.images, limits);
  plan.shared_bytes = limits.shared_bytes;
  const std::int64_t heads_and_tiles =
      s.heads * ((std::max(s.queries, s.keys) + kOwnTokens - 1) / kOwnTokens);
  plan.slices = has_sums(gradient) ? std::clamp<std::int64_t>(limits.blocks / heads_and_tiles, 1,
                                                              plan.images / plan.teams)
                                   : plan.images;
  Scratch scratch;
  plan.logarithms = scratch.take(plan.images * s.heads * s.queries);
  plan.dots = scratch.take(plan.images * s.heads * s.queries);
  if (gradient.bias >= 0) {
    const std::vector<std::int64_t> bias =
        static_extents(operands[static_cast<std::size_t>(s.bias)].type.shape);
    plan.bias_slots = bias.size() == 4 && bias[0] > 1 ? plan.images : plan.slices;
    plan.bias_sums = scratch.take(plan.bias_slots * s.heads * s.queries * s.keys);
  }
  KernelSequence sequence;
  SideSums sides[2];
  sequence.kernels.push_back(attention_gradient_side(gradient, operands, results, plan,
                                                     AttentionSide::queries, scratch, sides[0]));
  sequence.kernels.push_back(attention_gradient_side(gradient, operands, results, plan,
                                                     AttentionSide::keys, scratch, sides[1]));
  KernelSource sums = attention_gradient_sums(gradient, operands, results, plan, sides);
  if (sums.blocks > 0) sequence.kernels.push_back(std::move(sums));
  sequence.scratch_bytes = scratch.bytes();
  return sequence;
}

}  // namespace facet::cuda
