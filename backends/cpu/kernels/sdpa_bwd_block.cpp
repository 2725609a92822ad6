// Blocks of queries of sdpa_bwd, see SdpaBwdPlan: weights, cotangents of the scores, and what the
// block's queries get.

#include <algorithm>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/sdpa_bwd_store.h"
#include "backends/cpu/kernels/sdpa_bwd_worker.h"

namespace facet::cpu {
namespace {

constexpr std::int64_t kBefore = kPanel - 1;
/// Bytes a prefetch asks for.
constexpr std::int64_t kLine = 64;

}  // namespace

void SdpaBwdWorker::run_block(std::int64_t begin, std::int64_t end) {
  first_ = begin;
  rows_ = end - begin;
  pack_rows(head_of(p_.q, 1), begin, end, own_ + p_.at.queries, s_.query.size);
  if (p_.bwd.weights >= 0) {
    load_weights();
  } else {
    if (f_.pairs) {
      f_.left_rows(head_of(p_.q, 1), begin, end, own_ + p_.at.queries_rows,
                   f_.whole(s_.query.size));
    }
    weigh();
  }
  multiply_cotangents();
  p_.factors.loops->softmax_gradient(
      {scores(), of_scores(), p_.at.weights.row, rows_, s_.keys, p_.padded_keys});
  if (s_.clamp) cut();
  keep(p_.at.weights, p_.padded_keys);
  keep(p_.at.of_scores, p_.padded_keys);
  add_content();
  if (s_.has_query_places()) add_query_places();
  store_queries();
  before_ = rows_;
}

/// The weights of the block, which the sdpa has kept; zeros up to whole panels. Asks for those of
/// the block behind it: between two blocks memory forgets where this one was.
void SdpaBwdWorker::load_weights() const {
  const std::byte* const from = addresses_.operands[static_cast<std::size_t>(p_.bwd.weights)];
  const std::byte* const next = from + p_.weights.row(image_, head_, first_ + rows_);
  const std::int64_t bytes = rows_ * p_.weights.strides[2] * size_of(p_.weights.type);
  for (std::int64_t at = 0; at < bytes; at += kLine) __builtin_prefetch(next + at);
  for (std::int64_t r = 0; r < rows_; ++r) {
    float* const row = scores() + r * p_.at.weights.row;
    load_floats(p_.weights.type, from + p_.weights.row(image_, head_, first_ + r),
                p_.weights.strides[3], row, s_.keys);
    std::fill(row + s_.keys, row + p_.padded_keys, 0.0f);
  }
}

/// The weights of the block.
void SdpaBwdWorker::weigh() {
  const std::int64_t d = s_.query.size, row = p_.at.weights.row;
  f_.multiply({own_ + p_.at.queries_rows, f_.whole(d), own_ + p_.at.keys_turned, p_.keys_row,
               scores(), row},
              rows_, p_.padded_keys, d);
  if (s_.relative_key >= 0) multiply_key_places();
  sum_scores();
  if (s_.clamp) clamp();
  if (s_.bias >= 0) add_bias();
  float sums[kMostRows];
  const Exponentials rows{scores(), row, rows_, s_.keys, p_.padded_keys, sums};
  f_.loops->exponentials(rows);
  f_.loops->normalize(rows);
}

/// relative_key . k for all keys and the distances of the block, of which the last ones of the
/// block before are the first of this one.
void SdpaBwdWorker::multiply_key_places() const {
  const std::int64_t d = s_.query.size, skip = before_ > 0 ? kBefore : 0;
  for (std::int64_t j = 0; j < p_.padded_keys; j += kPanel) {
    float* const sums = own_ + p_.at.key_sums + j / kPanel * p_.key_sums_panel;
    if (before_ > 0) std::copy_n(sums + before_ * kPanel, kBefore * kPanel, sums);
    const std::int64_t row = first_ - j + s_.keys - 1 + skip;
    f_.multiply({f_.element(base_ + p_.at.key, row * f_.whole(d)), f_.whole(d),
                 own_ + p_.at.keys_turned + j, p_.keys_row, sums + skip * kPanel, kPanel},
                rows_ + kBefore - skip, kPanel, d);
  }
}

void SdpaBwdWorker::sum_scores() {
  ScoreSum sum;
  sum.scores = scores();
  sum.scores_row = p_.at.weights.row;
  sum.rows = rows_;
  sum.panels = p_.padded_keys / kPanel;
  sum.content = factor(0);
  if (s_.has_query_places()) {
    sum.place = factor(1);
    multiply_query_places(sum);
  }
  if (s_.relative_key >= 0) {
    sum.key = factor(key_term());
    sum.keys = own_ + p_.at.key_sums;
    sum.keys_panel = p_.key_sums_panel;
  }
  f_.loops->sum_scores(sum);
}

void SdpaBwdWorker::multiply_query_places(ScoreSum& sum) const {
  const std::int64_t d = s_.query.size;
  float* const sums = own_ + p_.at.sums;
  f_.multiply(
      {own_ + p_.at.queries_rows, f_.whole(d),
       base_ + p_.at.places_turned + (on_map() ? 0 : window()), p_.places_row, sums, p_.sums_row},
      rows_, on_map() ? p_.places_row : window_size(), d);
  if (!on_map()) {
    sum.places = sums + rows_ - 1;
    sum.places_row = p_.sums_row - 1;
    return;
  }
  sum.places = own_ + p_.at.spread;
  sum.places_row = p_.at.weights.row;
  f_.loops->spread_map({sums, sums + p_.rows_columns, p_.sums_row, s_.height, s_.width, first_,
                        rows_, own_ + p_.at.spread, p_.at.weights.row});
}

void SdpaBwdWorker::clamp() const {
  const auto low = static_cast<float>(s_.clamp->first);
  const auto high = static_cast<float>(s_.clamp->second);
  for (std::int64_t r = 0; r < rows_; ++r) {
    float* const row = scores() + r * p_.at.weights.row;
    float* const mask = own_ + p_.at.mask + r * p_.padded_keys;
    for (std::int64_t j = 0; j < s_.keys; ++j) {
      mask[j] = row[j] < low || row[j] > high ? 0.0f : 1.0f;
      row[j] = row[j] < low ? low : row[j] > high ? high : row[j];  // a NaN stays
    }
  }
}

void SdpaBwdWorker::add_bias() const {
  const SdpaExtra& from = p_.extra(s_.bias);
  float* const bias = own_ + p_.at.bias;
  for (std::int64_t r = 0; r < rows_; ++r) {
    const std::int64_t offset = image_ * p_.bias_strides[0] + head_ * p_.bias_strides[1] +
                                (first_ + r) * p_.bias_strides[2];
    load_floats(
        from.type,
        addresses_.operands[static_cast<std::size_t>(s_.bias) + 1] + offset * size_of(from.type),
        p_.bias_strides[3], bias, s_.keys);
    float* const row = scores() + r * p_.at.weights.row;
    for (std::int64_t j = 0; j < s_.keys; ++j) row[j] += bias[j];
  }
}

/// The cotangents of the weights.
void SdpaBwdWorker::multiply_cotangents() const {
  const std::int64_t dv = s_.value.size, row = p_.at.of_scores.row;
  float* const left = own_ + p_.at.cotangents;
  f_.left_rows(cotangents_of(0), first_, first_ + rows_, left, f_.whole(dv));
  f_.multiply({left, f_.whole(dv), own_ + p_.at.values_turned, p_.keys_row, of_scores(), row},
              rows_, p_.padded_keys, dv);
  if (s_.relative_value < 0) return;
  if (s_.interleaved) {
    f_.left_rows(cotangents_of(places_part()), first_, first_ + rows_, left, f_.whole(dv));
  }
  float* const sums = own_ + p_.at.sums;
  f_.multiply(
      {left, f_.whole(dv), base_ + p_.at.value_turned + window(), p_.value_row, sums, p_.sums_row},
      rows_, window_size(), dv);
  // What lies behind the keys is overwritten.
  add_matrix(sums + rows_ - 1, p_.sums_row - 1, 1, of_scores(), row, rows_, p_.padded_keys);
}

void SdpaBwdWorker::cut() const {
  for (std::int64_t r = 0; r < rows_; ++r) {
    const float* const mask = own_ + p_.at.mask + r * p_.padded_keys;
    float* const row = of_scores() + r * p_.at.of_scores.row;
    for (std::int64_t j = 0; j < s_.keys; ++j) row[j] *= mask[j];
  }
}

/// Rounds the block's rows and puts them where products read them; f32 is there already.
void SdpaBwdWorker::keep(const SdpaKept& kept, std::int64_t columns) const {
  if (!f_.pairs) return;
  const float* const block = block_of(kept);
  for (std::int64_t r = 0; r < rows_; ++r) {
    const float* const low = block + r * kept.row;
    if (kept.left >= 0) {
      auto* const left =
          static_cast<std::byte*>(f_.element(own_ + kept.left, kStrip + r * kept.row));
      store_floats(Float::bf16, low, left, 1, columns);
    }
    if (r % 2 != 0) continue;
    const float* const high = r + 1 < rows_ ? low + kept.row : nullptr;
    const std::int64_t to = kStrip + (first_ - section_ + r) / 2 * kept.row;
    f_.loops->join_floats(low, high, reinterpret_cast<std::uint32_t*>(own_ + kept.right + to),
                          columns);
    if (kept.shifted < 0) continue;
    f_.loops->join_floats(low - 1, high,
                          reinterpret_cast<std::uint32_t*>(own_ + kept.shifted + to - 1),
                          columns + kPanel);
  }
}

/// A part's scores are linear in the queries, so their product with the cotangents is too.
double SdpaBwdWorker::of_scale(std::int64_t part) const {
  return dot_matrices(own_ + p_.at.queries, s_.query.size, of_queries(part), p_.depth_row, rows_,
                      s_.query.size);
}

void SdpaBwdWorker::add_content() {
  const SdpaKept& kept = p_.at.of_scores;
  f_.multiply(
      {left_of(kept), kept.row, own_ + p_.at.keys, p_.depth_row, of_queries(0), p_.depth_row},
      rows_, p_.depth_row, s_.keys);
  scales_[0] += of_scale(0);
}

void SdpaBwdWorker::add_query_places() {
  if (on_map()) {
    fold_map();
    keep(p_.at.map_sums, p_.places_row);
    f_.multiply({left_of(p_.at.map_sums), p_.places_row, base_ + p_.at.places, p_.depth_row,
                 of_queries(1), p_.depth_row},
                rows_, p_.depth_row, p_.places_row);
  } else {
    // Columns are distances, those of the last query first; those of a pair begin with an even one.
    const std::int64_t first = window() / f_.pair() * f_.pair(), more = window() - first;
    const std::byte* const left = static_cast<const std::byte*>(left_of(p_.at.of_scores)) -
                                  (rows_ - 1 + more) * (f_.pairs ? 2 : 4);
    f_.multiply(
        {left, p_.at.of_scores.row + 1, base_ + p_.at.places + f_.words(first) * p_.depth_row,
         p_.depth_row, of_queries(1), p_.depth_row},
        rows_, p_.depth_row, window_size() + more);
  }
  scales_[1] += of_scale(1);
}

/// The way of spread_map, back: sums over lines and columns of the map.
void SdpaBwdWorker::fold_map() const {
  for (std::int64_t r = 0; r < rows_; ++r) {
    float* const sums = block_of(p_.at.map_sums) + r * p_.places_row;
    std::fill_n(sums, p_.places_row, 0.0f);
    const std::int64_t y = (first_ + r) / s_.width, x = (first_ + r) % s_.width;
    float* const lines = sums + s_.height - 1 - y;
    float* const columns = sums + p_.rows_columns + s_.width - 1 - x;
    const float* from = of_scores() + r * p_.at.of_scores.row;
    for (std::int64_t line = 0; line < s_.height; ++line, from += s_.width) {
      float sum = 0;
      for (std::int64_t i = 0; i < s_.width; ++i) {
        sum += from[i];
        columns[i] += from[i];
      }
      lines[line] = sum;
    }
  }
}

void SdpaBwdWorker::store_queries() const {
  const std::int64_t d = s_.query.size;
  for (std::int64_t r = 0; r < rows_; ++r) {
    float* const row = of_queries(0) + r * p_.depth_row;
    const float* const places = of_queries(1) + r * p_.depth_row;
    for (std::int64_t c = 0; c < d; ++c) {
      row[c] *= factor(0);
      if (s_.has_query_places()) row[c] += factor(1) * places[c];
    }
  }
  store_rows(result_head(0), first_, {of_queries(0), p_.depth_row, rows_, d}, own_ + p_.at.product);
}

}  // namespace facet::cpu
