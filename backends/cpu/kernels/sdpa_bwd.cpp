// Lowering of sdpa_bwd. Its tables are packed and its groups added up by sdpa_bwd_tables.cpp, its
// blocks run by sdpa_bwd_block.cpp.

#include <omp.h>

#include <algorithm>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/sdpa_bwd_plan.h"

namespace facet::cpu {
namespace {

/// As many threads as this share the work; each group has room for the gradients of all tables.
constexpr std::int64_t kMostGroups = 32;

/// Decides sizes and places of everything in the scratch.
void lay_out(SdpaBwdPlan& p) {
  const Sdpa& s = p.bwd.sdpa;
  const std::int64_t rows = p.loops->block_rows, d = s.query.size, dv = s.value.size;
  const bool on_map = s.relative_height >= 0;
  p.blocks = (s.queries + rows - 1) / rows;
  p.padded_keys = panels_of(s.keys);
  p.keys_row = spread_row(s.keys);
  p.scores_row = p.padded_keys + kPanel;
  p.depth_row = panels_of(d);
  p.key_sums_panel = (kMostRows + kPanel - 1) * kPanel;
  p.rows_columns = on_map ? panels_of(2 * s.height - 1) : 0;
  const std::int64_t window_row = p.padded_keys + kPanel;
  const std::int64_t map_row = p.rows_columns + panels_of(2 * s.width - 1 + kPanel);
  p.sums_row = std::max(window_row, on_map ? map_row : 0);
  p.places_row = on_map ? map_row : spread_row(s.distances() + 2 * kPanel);
  p.key_rows = panels_of(s.distances() + kPanel);
  p.key_row = p.key_rows;
  p.value_row = spread_row(s.distances() + 2 * kPanel);
  p.product_row = std::max(p.keys_row, p.sums_row);

  std::int64_t end = 0;
  const auto take = [&end](std::int64_t& place, std::int64_t floats) {
    place = end;
    end += panels_of(floats);
  };
  take(p.at.factors, 3 * s.heads);
  if (s.has_query_places()) {
    take(p.at.places_turned, d * p.places_row);
    take(p.at.places, p.places_row * p.depth_row);
  }
  if (s.relative_key >= 0) {
    take(p.at.key, p.key_rows * d);
    take(p.at.key_turned, d * p.key_row);
  }
  if (s.relative_value >= 0) take(p.at.value_turned, dv * p.value_row);
  p.at.tables = end;
  end = 0;
  if (s.has_query_places()) take(p.at.of_places, d * p.places_row);
  if (s.relative_key >= 0) take(p.at.of_key, p.key_rows * p.depth_row);
  if (s.relative_value >= 0) take(p.at.of_value, dv * p.value_row);
  p.at.group = end;
  p.at.scales = p.at.tables + p.groups * p.at.group;
  p.at.threads = p.at.scales + panels_of(3 * p.images * s.heads);
  end = 0;
  take(p.at.keys, p.padded_keys * p.depth_row);
  take(p.at.keys_turned, d * p.keys_row);
  take(p.at.values_turned, dv * p.keys_row);
  take(p.at.of_keys, d * p.keys_row);
  if (s.relative_key >= 0) {
    take(p.at.of_key_places, d * p.keys_row);
    take(p.at.scaled_keys, p.padded_keys * p.depth_row);
  }
  take(p.at.of_values, dv * p.keys_row);
  take(p.at.queries, rows * d);
  take(p.at.queries_turned, d * rows);
  take(p.at.cotangents, 2 * rows * dv);
  take(p.at.cotangents_turned, 2 * dv * rows);
  take(p.at.weights, kPanel + rows * p.scores_row + kPanel);
  take(p.at.of_scores, kPanel + rows * p.scores_row + kPanel);
  if (s.clamp) take(p.at.mask, rows * p.scores_row);
  take(p.at.sums, rows * p.sums_row + kPanel);
  if (on_map) take(p.at.spread, rows * p.scores_row + kPanel);
  if (s.relative_key >= 0) {
    take(p.at.key_sums, p.padded_keys / kPanel * p.key_sums_panel);
    take(p.at.diagonals, p.key_sums_panel);
  }
  if (s.bias >= 0) take(p.at.bias, s.keys);
  take(p.at.of_queries, 2 * rows * p.depth_row);
  take(p.at.product, std::max(std::max(d, dv) * p.product_row, (kMostRows + kPanel) * p.depth_row));
  p.at.thread = end;
}

/// Channels of an operand of `channels` that none of `places` covers.
Ints unread_channels(std::int64_t channels, std::int64_t heads,
                     const std::vector<HeadChannels>& places) {
  std::vector<bool> read(static_cast<std::size_t>(channels), false);
  for (const HeadChannels& place : places) {
    for (std::int64_t head = 0; head < heads; ++head) {
      const auto first = read.begin() + place.first + head * place.step;
      std::fill(first, first + place.size, true);
    }
  }
  Ints unread;
  for (std::int64_t c = 0; c < channels; ++c) {
    if (!read[static_cast<std::size_t>(c)]) unread.push_back(c);
  }
  return unread;
}

/// Work of a run, in products.
std::int64_t work_of(const SdpaBwdPlan& p) {
  const Sdpa& s = p.bwd.sdpa;
  return 3 * p.images * s.heads * s.queries * s.keys * (s.query.size + s.value.size);
}

}  // namespace

void SdpaBwdPlan::run(const Addresses& addresses) const {
  const auto team = static_cast<int>(
      std::min<std::int64_t>({threads, static_cast<std::int64_t>(omp_get_max_threads()), groups}));
  if (team < 2 || work_of(*this) < 8 * kSerialBelow) {
    pack_sdpa_bwd_tables(*this, addresses, 0, 1);
    run_sdpa_bwd_groups(*this, addresses, 0, 0, groups);
    return add_sdpa_bwd_groups(*this, addresses, 0, 1);
  }
#pragma omp parallel num_threads(team)
  {
    const std::int64_t count = omp_get_num_threads();
    const std::int64_t thread = omp_get_thread_num();
    pack_sdpa_bwd_tables(*this, addresses, thread, count);
#pragma omp barrier
    run_sdpa_bwd_groups(*this, addresses, thread, groups * thread / count,
                        groups * (thread + 1) / count);
#pragma omp barrier
    add_sdpa_bwd_groups(*this, addresses, thread, count);
  }
}

bool takes_sdpa_bwd(const Node& node) { return sdpa_bwd_of(node).bias < 0; }

std::unique_ptr<Kernel> lower_sdpa_bwd(const Node& node, std::span<const View> operands,
                                       std::span<const View> results, const SdpaLoops& loops) {
  check_unblocked(node, operands, results);
  SdpaBwdPlan plan;
  plan.bwd = sdpa_bwd_of(node);
  const Sdpa& s = plan.bwd.sdpa;
  const bool last = s.channels_last;
  plan.loops = &loops;
  plan.threads = std::max(1, omp_get_max_threads());
  plan.images = static_extents(operands[0].type.shape)[0];
  plan.groups = std::min(kMostGroups, plan.images * s.heads);
  plan.dy = sdpa_tokens(node, operands[0], last, {0, s.value.size, s.value.size});
  if (s.interleaved) {
    plan.between_parts = plan.dy.matrix.channel;
    plan.dy.matrix.channel *= 2;
  }
  plan.q = sdpa_tokens(node, operands[1], last, s.query);
  plan.k = sdpa_tokens(node, operands[2], last, s.key);
  plan.v = sdpa_tokens(node, operands[3], last, s.value);
  const int numbers[] = {plan.bwd.query, plan.bwd.key, plan.bwd.value};
  const std::vector<HeadChannels> places{s.query, s.key, s.value};
  for (std::size_t i = 0; i < 3; ++i) {
    const View& view = results[static_cast<std::size_t>(numbers[i])];
    plan.results.push_back(sdpa_tokens(node, view, last, places[i]));
    const Dim& channels = last ? view.type.shape.back() : view.type.shape[1];
    if (plan.bwd.packed && i > 0) {
      plan.unread.emplace_back();
    } else {
      plan.unread.push_back(
          unread_channels(channels.factor, s.heads,
                          plan.bwd.packed ? places : std::vector<HeadChannels>{places[i]}));
    }
  }
  for (std::size_t i = 4; i < operands.size(); ++i) {
    plan.extras.push_back(sdpa_extra(node, operands[i]));
  }
  for (auto i = static_cast<std::size_t>(plan.bwd.value) + 1; i < results.size(); ++i) {
    plan.extra_results.push_back(sdpa_extra(node, results[i]));
  }
  if (s.bias >= 0) {
    plan.bias_strides = broadcast_strides(operands[static_cast<std::size_t>(s.bias) + 1],
                                          {plan.images, s.heads, s.queries, s.keys});
  }
  lay_out(plan);
  return make_kernel(std::move(plan));
}

std::unique_ptr<Kernel> lower_sdpa_bwd(const Node& node, std::span<const View> operands,
                                       std::span<const View> results) {
  return lower_sdpa_bwd(node, operands, results, sdpa_loops(vector_loops()));
}

}  // namespace facet::cpu
