// Lowering of sdpa. Its tables are packed by sdpa_tables.cpp, its blocks run by sdpa_block.cpp.

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/sdpa_plan.h"
#include "ir/error.h"

namespace facet::cpu {
std::int64_t panels_of(std::int64_t n) { return (n + kPanel - 1) / kPanel * kPanel; }

std::int64_t spread_row(std::int64_t n) {
  const std::int64_t panels = panels_of(n) / kPanel;
  return (panels + 1 - panels % 2) * kPanel;
}

SdpaTokens sdpa_tokens(const Node& node, const View& view, bool channels_last, HeadChannels heads) {
  SdpaTokens tokens;
  tokens.heads = heads;
  tokens.image = view.strides[0];
  PackSource& matrix = tokens.matrix;
  matrix.type = float_type(node, view.type.dtype);
  matrix.channels = heads.size;
  matrix.channel = channels_last ? view.strides.back() : view.strides[1];
  const std::vector<std::int64_t> extents = static_extents(view.type.shape);
  const std::size_t first = channels_last ? 1 : 2;
  std::size_t axis = extents.size() - (channels_last ? 1 : 0) - 1;
  matrix.row = view.strides[axis];
  matrix.line_rows = extents[axis];
  // Axes that continue each other are one line; one more may stand outside.
  while (axis > first && view.strides[axis - 1] == matrix.line_rows * matrix.row) {
    matrix.line_rows *= extents[--axis];
  }
  matrix.rows = matrix.line_rows;
  if (axis > first) {
    matrix.line = view.strides[--axis];
    matrix.rows *= extents[axis];
  }
  if (axis > first) {
    throw failure(
        fmt::format("the CPU kernel of '{}' ({}) takes maps of two axes, or without "
                    "gaps; {} has them",
                    node.kind(), node.provenance().scope, to_string(view.type)));
  }
  return tokens;
}

SdpaExtra sdpa_extra(const Node& node, const View& view) {
  SdpaExtra extra{float_type(node, view.type.dtype), 0, 1};
  if (view.strides.size() > 1) extra.row = view.strides[view.strides.size() - 2];
  if (!view.strides.empty()) extra.column = view.strides.back();
  return extra;
}

namespace {

/// Decides sizes and places of everything in the scratch.
void lay_out(SdpaPlan& p) {
  const Sdpa& s = p.sdpa;
  const std::int64_t rows = p.loops->block_rows;
  const bool on_map = s.relative_height >= 0;
  p.blocks = (s.queries + rows - 1) / rows;
  p.score_depth = p.pairs ? (s.query.size + 1) / 2 : s.query.size;
  p.padded_keys = panels_of(s.keys);
  p.keys_row = spread_row(s.keys);
  p.values_row = panels_of(s.value.size);
  p.scores_row = p.padded_keys + kPanel;
  p.key_sums_panel = (kMostRows + kPanel - 1) * kPanel;
  p.rows_columns = on_map ? panels_of(2 * s.height - 1) : 0;
  // A window of distances ends behind the table; a line of a map is read in whole vectors.
  p.query_sums_row =
      on_map ? p.rows_columns + panels_of(2 * s.width - 1 + kPanel) : p.padded_keys + kPanel;
  p.places_row = on_map ? p.query_sums_row : spread_row(s.distances() + kPanel);

  std::int64_t end = 0;
  const auto take = [&end](std::int64_t& place, std::int64_t words) {
    place = end;
    end += panels_of(words);
  };
  take(p.at.factors, 3 * s.heads);
  take(p.at.outputs, 3 * s.channels());
  if (s.has_query_places()) take(p.at.places, p.score_depth * p.places_row);
  if (s.relative_key >= 0) take(p.at.key, (s.distances() + kPanel - 1) * p.score_depth);
  if (s.relative_value >= 0) {
    take(p.at.value, (p.pairs ? s.distances() / 2 + 1 : s.distances()) * p.values_row);
  }
  p.at.tables = end;
  end = 0;
  take(p.at.queries, rows * p.score_depth);
  take(p.at.keys, p.score_depth * p.keys_row);
  take(p.at.values, (p.pairs ? (s.keys + 1) / 2 : s.keys) * p.values_row);
  take(p.at.scores, kPanel + rows * p.scores_row);
  p.at.weights = p.at.scores;
  if (p.pairs) take(p.at.weights, (kPanel + rows * p.scores_row) / 2);
  if (s.has_query_places()) take(p.at.query_sums, rows * p.query_sums_row);
  if (on_map) take(p.at.spread, rows * p.scores_row + kPanel);
  if (s.relative_key >= 0) take(p.at.key_sums, p.padded_keys / kPanel * p.key_sums_panel);
  if (s.bias >= 0) take(p.at.bias, s.keys);
  take(p.at.output, (s.interleaved ? 3 : 2) * rows * p.values_row);
  p.at.thread = end;
}

/// Work of a run, in products.
std::int64_t work_of(const SdpaPlan& p) {
  return p.images * p.sdpa.heads * p.sdpa.queries * p.sdpa.keys *
         (p.sdpa.query.size + p.sdpa.value.size);
}

}  // namespace

void SdpaPlan::run(const Addresses& addresses) const {
  const std::int64_t units = images * sdpa.heads * blocks;
  const auto team = static_cast<int>(
      std::min<std::int64_t>({threads, static_cast<std::int64_t>(omp_get_max_threads()), units}));
  if (team < 2 || work_of(*this) < 8 * kSerialBelow) {
    pack_sdpa_tables(*this, addresses, 0, 1);
    return run_sdpa_blocks(*this, addresses, 0, 0, units);
  }
#pragma omp parallel num_threads(team)
  {
    const std::int64_t count = omp_get_num_threads();
    const std::int64_t thread = omp_get_thread_num();
    pack_sdpa_tables(*this, addresses, thread, count);
#pragma omp barrier
    run_sdpa_blocks(*this, addresses, thread, units * thread / count, units * (thread + 1) / count);
  }
}

std::unique_ptr<Kernel> lower_sdpa(const Node& node, std::span<const View> operands,
                                   std::span<const View> results, const SdpaLoops& loops) {
  check_unblocked(node, operands, results);
  SdpaPlan plan;
  plan.sdpa = sdpa_of(node);
  const Sdpa& s = plan.sdpa;
  plan.loops = &loops;
  plan.threads = std::max(1, omp_get_max_threads());
  plan.images = static_extents(operands[0].type.shape)[0];
  plan.q = sdpa_tokens(node, operands[0], s.channels_last, s.query);
  plan.k = sdpa_tokens(node, operands[1], s.channels_last, s.key);
  plan.v = sdpa_tokens(node, operands[2], s.channels_last, s.value);
  plan.y = sdpa_tokens(node, results[0], s.channels_last, {0, s.value.size, s.value.size});
  if (s.interleaved) {
    plan.between_parts = plan.y.matrix.channel;
    plan.y.matrix.channel *= 2;
  }
  if (s.keeps_weights) {
    plan.weights = SdpaWeights{float_type(node, results[1].type.dtype), results[1].strides};
  }
  plan.pairs = loops.pair_product != nullptr;
  for (std::size_t i = 0; i < 3; ++i) {
    plan.pairs = plan.pairs && operands[i].type.dtype == DType::bf16;
  }
  for (std::size_t i = 3; i < operands.size(); ++i) {
    plan.extras.push_back(sdpa_extra(node, operands[i]));
  }
  if (s.bias >= 0) {
    plan.bias_strides = broadcast_strides(operands[static_cast<std::size_t>(s.bias)],
                                          {plan.images, s.heads, s.queries, s.keys});
  }
  lay_out(plan);
  return make_kernel(std::move(plan));
}

std::unique_ptr<Kernel> lower_sdpa(const Node& node, std::span<const View> operands,
                                   std::span<const View> results) {
  return lower_sdpa(node, operands, results, sdpa_loops(vector_loops()));
}

}  // namespace facet::cpu
