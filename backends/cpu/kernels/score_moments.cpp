// Lowering of score_moments and score_moments_bwd; score_moments_run.cpp runs them.

#include <omp.h>

#include <algorithm>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/score_moments_plan.h"
#include "ir/layout.h"

namespace facet::cpu {
namespace {

/// Hands out places in the scratch, in floats.
class Room {
 public:
  void take(std::int64_t& place, std::int64_t floats) {
    place = end_;
    end_ += panels_of(floats);
  }
  std::int64_t end() const { return end_; }

 private:
  std::int64_t end_ = 0;
};

void lay_out(ScoreMomentsPlan& p) {
  const std::int64_t d = p.depth(), row = p.depth_row = panels_of(d), heads = p.parts.heads;
  p.pairs_row = spread_row(p.heads());
  Room all;
  all.take(p.at.content, 2 * 2 * p.heads());
  for (std::size_t i = 0; i < 2; ++i) {
    const MomentSide& side = p.sides[i];
    MomentsScratch::Side& at = p.at.sides[i];
    if (!side.has_table()) continue;
    at.turned_row = spread_row(side.rows());
    all.take(at.sums, 2 * 2 * heads * p.chunks(i));
    all.take(at.table, side.rows() * row);
    all.take(at.turned, d * at.turned_row);
    if (!p.is_gradient) continue;
    all.take(at.own, p.heads() * side.count * row);
    all.take(at.squares, side.count * d * row);
    all.take(at.totals, side.count * row);
  }
  if (p.is_gradient) all.take(p.at.factors, 2 * p.parts.terms() * heads);
  p.at.threads = all.end();

  Room own;
  std::int64_t most = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t count = p.sides[i].count;
    most = std::max(most, count);
    p.at.turned_row[i] = spread_row(count);
    own.take(p.at.rows[i], count * row);
    own.take(p.at.turned[i], d * p.at.turned_row[i]);
    own.take(p.at.gram[i], d * row);
    own.take(p.at.total[i], row);
  }
  own.take(p.at.product, most * row);
  own.take(p.at.tokens, p.heads() * row);
  own.take(p.at.products, p.heads() * row);
  if (p.is_gradient) {
    own.take(p.at.scaled, p.heads() * row);
    own.take(p.at.scaled_turned, d * p.pairs_row);
  }
  own.take(p.at.matrix, d * row);
  own.take(p.at.seen, row);
  own.take(p.at.step, 2 * row + 2 * d);
  own.take(p.at.lanes, 2 * heads * row);
  p.at.thread = own.end();
}

/// Queries (0) or keys (1) and their table.
MomentSide side_of(const Node& node, const Sdpa& s, std::size_t i, std::span<const View> operands) {
  const bool is_key = i == 1;
  MomentSide side;
  side.tokens = sdpa_tokens(node, operands[i], s.channels_last, is_key ? s.key : s.query);
  side.count = is_key ? s.keys : s.queries;
  side.others = is_key ? s.queries : s.keys;
  side.backwards = is_key;
  const int table = is_key ? s.relative_key : s.relative_query;
  if (table < 0) return side;
  side.part = is_key && s.has_query_places() ? 2 : 1;
  side.table = sdpa_extra(node, operands[static_cast<std::size_t>(table)]);
  side.table_operand = table;
  return side;
}

/// The gradients' places in the results.
void add_results(ScoreMomentsPlan& p, const Node& node, std::span<const View> results) {
  const Sdpa& s = p.parts;
  const std::array<int, 2> tokens{p.gradient.query, p.gradient.key};
  const std::array<int, 2> tables{p.gradient.relative_query, p.gradient.relative_key};
  for (std::size_t i = 0; i < 2; ++i) {
    MomentSide& side = p.sides[i];
    const View& view = results[static_cast<std::size_t>(tokens[i])];
    side.result = sdpa_tokens(node, view, s.channels_last, side.tokens.heads);
    const std::int64_t channels =
        (s.channels_last ? view.type.shape.back() : view.type.shape[1]).factor;
    const std::int64_t read = s.heads * s.query.size * (p.gradient.packed ? 2 : 1);
    if (read < channels) side.cleared = byte_size(view.type);
    if (tables[i] < 0) continue;
    side.table_number = tables[i];
    side.table_result = sdpa_extra(node, results[static_cast<std::size_t>(tables[i])]);
  }
  if (p.gradient.packed) p.sides[1].cleared = 0;  // it is the first one
}

}  // namespace

std::int64_t ScoreMomentsPlan::chunks(std::size_t side) const {
  return (sides[side].count + kMomentTokens - 1) / kMomentTokens;
}

bool takes_score_moments(const Node& node) {
  const Sdpa s =
      node.is("score_moments") ? score_moments_of(node) : score_moments_bwd_of(node).sdpa;
  return s.relative_height < 0;
}

std::unique_ptr<Kernel> lower_score_moments(const Node& node, std::span<const View> operands,
                                            std::span<const View> results, const SdpaLoops& loops) {
  check_unblocked(node, operands, results);
  ScoreMomentsPlan plan;
  plan.is_gradient = node.is("score_moments_bwd");
  if (plan.is_gradient) plan.gradient = score_moments_bwd_of(node);
  plan.parts = plan.is_gradient ? plan.gradient.sdpa : score_moments_of(node);
  plan.loops = &loops;
  plan.threads = std::max(1, omp_get_max_threads());
  const std::size_t first = plan.is_gradient ? 3 : 0;
  plan.images = static_extents(operands[first].type.shape)[0];
  for (std::size_t i = 0; i < 2; ++i) {
    plan.sides[i] = side_of(node, plan.parts, i, operands.subspan(first));
    plan.sides[i].operand = static_cast<int>(first + i);
    if (plan.sides[i].has_table()) plan.sides[i].table_operand += static_cast<int>(first);
  }
  for (std::size_t i = 0; i < (plan.is_gradient ? 3 : 2); ++i) {
    plan.moments.push_back(sdpa_extra(node, plan.is_gradient ? operands[i] : results[i]));
  }
  if (plan.is_gradient) add_results(plan, node, results);
  lay_out(plan);
  return make_kernel(std::move(plan));
}

std::unique_ptr<Kernel> lower_score_moments(const Node& node, std::span<const View> operands,
                                            std::span<const View> results) {
  return lower_score_moments(node, operands, results, sdpa_loops(vector_loops()));
}

}  // namespace facet::cpu
