// Lowering of sdpa_bwd. Its tables are packed and its groups added up by sdpa_bwd_tables.cpp, its
// heads and sections run by sdpa_bwd_section.cpp, their blocks by sdpa_bwd_block.cpp.

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
/// Of a section's scores: a few such matrices stay in the second-level cache.
constexpr std::int64_t kSectionWords = 48 * 1024;

/// Hands out places in the scratch, in words.
class Room {
 public:
  explicit Room(std::int64_t begin = 0) : end_(begin) {}
  void take(std::int64_t& place, std::int64_t words) {
    place = end_;
    end_ += panels_of(words);
  }
  std::int64_t end() const { return end_; }

 private:
  std::int64_t end_;
};

void take_kept(const SdpaBwdPlan& p, Room& room, SdpaKept& kept, bool left, bool shifted) {
  const auto rows = [&](std::int64_t count) { return kStrip + count * kept.row + kStrip; };
  room.take(kept.right, rows(p.factors.words(p.section)));
  if (!p.factors.pairs) {
    kept.block = kept.left = kept.shifted = kept.right;
    return;
  }
  room.take(kept.block, rows(p.block_rows()));
  if (left) room.take(kept.left, p.factors.words(rows(p.block_rows())));
  if (shifted) room.take(kept.shifted, rows(p.factors.words(p.section)));
}

void lay_out_tables(SdpaBwdPlan& p) {
  const Sdpa& s = p.bwd.sdpa;
  const SdpaFactors& f = p.factors;
  const std::int64_t d = s.query.size, dv = s.value.size;
  Room tables;
  tables.take(p.at.factors, 3 * s.heads);
  if (s.has_query_places()) {
    tables.take(p.at.places_turned, f.words(d) * p.places_row);
    tables.take(p.at.places, f.words(p.places_row) * p.depth_row);
  }
  if (s.relative_key >= 0) {
    tables.take(p.at.key, p.key_row * f.words(d));
    tables.take(p.at.key_places, f.words(p.key_row) * p.depth_row);
  }
  if (s.relative_value >= 0) tables.take(p.at.value_turned, f.words(dv) * p.value_row);
  p.at.tables = tables.end();

  Room group;
  if (s.has_query_places()) group.take(p.at.of_places, d * p.places_row);
  if (s.relative_key >= 0) group.take(p.at.of_key, d * p.key_row);
  if (s.relative_value >= 0) group.take(p.at.of_value, dv * p.value_row);
  p.at.group = group.end();
  p.at.scales = p.at.tables + p.groups * p.at.group;
  p.at.threads = p.at.scales + panels_of(3 * p.images * s.heads);
}

void lay_out_thread(SdpaBwdPlan& p) {
  const Sdpa& s = p.bwd.sdpa;
  const SdpaFactors& f = p.factors;
  SdpaBwdScratch& at = p.at;
  const std::int64_t rows = p.block_rows(), d = s.query.size, dv = s.value.size;
  const bool on_map = s.relative_height >= 0;
  Room own;
  // What has zeros between rows comes first: a thread writes them once.
  at.weights.row = at.of_scores.row = p.padded_keys + kStrip;
  take_kept(p, own, at.weights, /*left=*/false, s.relative_value >= 0);
  take_kept(p, own, at.of_scores, /*left=*/true, s.relative_query >= 0);
  if (on_map) {
    at.map_sums.row = p.places_row;
    take_kept(p, own, at.map_sums, /*left=*/true, /*shifted=*/false);
  }
  if (s.relative_key >= 0) {
    own.take(at.turned, f.words(kStrip + p.padded_keys * p.turned_row + kStrip));
    at.turned_shifted = at.turned;
    if (f.pairs) {
      own.take(at.turned_shifted, kStrip + f.words(p.padded_keys) * p.turned_row + kStrip);
    }
  }
  own.take(at.sums, rows * p.sums_row + kPanel);
  own.take(at.keys, f.words(s.keys) * p.depth_row);
  own.take(at.keys_turned, f.words(d) * p.keys_row);
  own.take(at.values_turned, f.words(dv) * p.keys_row);
  own.take(at.of_keys, d * p.keys_row);
  if (s.relative_key >= 0) {
    own.take(at.keys_left, d * f.words(s.keys));
    own.take(at.of_key_places, p.padded_keys * p.depth_row);
    own.take(at.key_sums, p.padded_keys / kPanel * p.key_sums_panel);
  }
  own.take(at.of_values, dv * p.keys_row);
  own.take(at.queries_left, d * f.words(p.section));
  own.take(at.cotangents_left, 2 * dv * f.words(p.section));
  own.take(at.queries, rows * d);
  at.queries_rows = at.queries;
  if (f.pairs) own.take(at.queries_rows, rows * f.words(d));
  own.take(at.cotangents, rows * f.words(dv));
  if (s.clamp) own.take(at.mask, rows * p.padded_keys);
  if (on_map) own.take(at.spread, rows * at.weights.row + kPanel);
  if (s.bias >= 0) own.take(at.bias, s.keys);
  own.take(at.of_queries, 2 * rows * p.depth_row);
  own.take(at.product, std::max({d * p.keys_row, p.padded_keys * p.depth_row,
                                 std::max(d, dv) * kStrip, on_map ? d * p.places_row : 0}));
  at.thread = own.end();
}

/// Decides sizes and places of everything in the scratch.
void lay_out(SdpaBwdPlan& p) {
  const Sdpa& s = p.bwd.sdpa;
  const std::int64_t rows = p.block_rows();
  const bool on_map = s.relative_height >= 0;
  p.padded_keys = panels_of(s.keys);
  p.keys_row = spread_row(s.keys);
  p.depth_row = panels_of(s.query.size);
  p.key_sums_panel = (kMostRows + kPanel - 1) * kPanel;
  p.section = std::max<std::int64_t>(kSectionWords / (p.padded_keys + kStrip) / rows, 1) * rows;
  p.section = std::min(p.section, (s.queries + rows - 1) / rows * rows);
  p.turned_row = p.section + kStrip;
  p.rows_columns = on_map ? panels_of(2 * s.height - 1) : 0;
  const std::int64_t map_row = p.rows_columns + panels_of(2 * s.width - 1 + kPanel);
  p.sums_row = std::max(p.padded_keys + kPanel, on_map ? map_row : 0);
  // A strip, and a window of distances that is read in whole panels, end behind a table.
  const std::int64_t distances_row = spread_row(s.distances() + kStrip);
  p.places_row = on_map ? map_row : distances_row;
  p.key_row = p.value_row = distances_row;
  lay_out_tables(p);
  lay_out_thread(p);
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
  plan.factors.loops = &loops;
  plan.factors.pairs = loops.pair_product != nullptr;
  for (std::size_t i = 0; i < 4; ++i) {
    plan.factors.pairs = plan.factors.pairs && operands[i].type.dtype == DType::bf16;
  }
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
  const std::size_t extras = operands.size() - (plan.bwd.weights >= 0 ? 1 : 0);
  for (std::size_t i = 4; i < extras; ++i) {
    plan.extras.push_back(sdpa_extra(node, operands[i]));
  }
  if (plan.bwd.weights >= 0) {
    plan.weights = {float_type(node, operands.back().type.dtype), operands.back().strides};
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
