// Blocks of queries of sdpa_bwd, see SdpaBwdPlan.

#include <algorithm>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/sdpa_bwd_plan.h"
#include "backends/cpu/kernels/sdpa_bwd_store.h"

namespace facet::cpu {
namespace {

constexpr std::int64_t kBefore = kPanel - 1;

/// to[r, c] += from[r, c].
void add_matrix(const float* from, std::int64_t from_row, float* to, std::int64_t to_row,
                std::int64_t rows, std::int64_t columns) {
  for (std::int64_t r = 0; r < rows; ++r, from += from_row, to += to_row) {
#pragma omp simd
    for (std::int64_t c = 0; c < columns; ++c) to[c] += from[c];
  }
}

/// Sum of the products of two matrices' elements.
double dot_matrices(const float* a, std::int64_t a_row, const float* b, std::int64_t b_row,
                    std::int64_t rows, std::int64_t columns) {
  double sum = 0;
  for (std::int64_t r = 0; r < rows; ++r, a += a_row, b += b_row) {
    float line = 0;
#pragma omp simd reduction(+ : line)
    for (std::int64_t c = 0; c < columns; ++c) line += a[c] * b[c];
    sum += line;
  }
  return sum;
}

/// One thread, its part of the scratch, and the group it works on.
class Worker {
 public:
  Worker(const SdpaBwdPlan& plan, const Addresses& addresses, std::int64_t thread)
      : p_(plan),
        s_(plan.bwd.sdpa),
        addresses_(addresses),
        base_(reinterpret_cast<float*>(addresses.scratch)),
        own_(base_ + plan.at.threads + thread * plan.at.thread) {
    const std::int64_t matrix = 2 * kPanel + p_.loops->block_rows * p_.scores_row;
    std::fill_n(own_ + p_.at.weights, matrix, 0.0f);
    std::fill_n(own_ + p_.at.of_scores, matrix, 0.0f);
    std::fill_n(own_ + p_.at.sums, p_.loops->block_rows * p_.sums_row + kPanel, 0.0f);
  }

  void run_group(std::int64_t group) {
    group_ = base_ + p_.at.tables + group * p_.at.group;
    std::fill_n(group_, p_.at.group, 0.0f);
    const std::int64_t heads = p_.images * s_.heads;
    for (std::int64_t unit = heads * group / p_.groups; unit < heads * (group + 1) / p_.groups;
         ++unit) {
      image_ = unit / s_.heads;
      head_ = unit % s_.heads;
      begin_head();
      for (std::int64_t block = 0; block < p_.blocks; ++block) {
        run_block(s_.queries * block / p_.blocks, s_.queries * (block + 1) / p_.blocks);
      }
      end_head();
    }
  }

 private:
  float* scores() const { return own_ + p_.at.weights + kPanel; }
  float* of_scores() const { return own_ + p_.at.of_scores + kPanel; }
  float factor(std::int64_t term) const { return base_[p_.at.factors + term * s_.heads + head_]; }
  std::int64_t key_term() const { return s_.has_query_places() ? 2 : 1; }
  bool on_map() const { return s_.relative_height >= 0; }
  /// The distances of the block: those of its last query come first.
  std::int64_t window() const { return s_.queries - first_ - rows_; }
  std::int64_t window_size() const { return s_.keys + rows_ - 1; }

  void multiply(const float* a, std::int64_t a_row, const float* b, std::int64_t b_row, float* c,
                std::int64_t c_row, std::int64_t rows, std::int64_t columns,
                std::int64_t depth) const {
    p_.loops->product({a, a_row, b, b_row, c, c_row, rows, panels_of(columns), depth});
  }
  /// to[r, c] += a . b. What b has behind the columns may be anything, so that a last panel which
  /// is not whole takes a way of its own.
  void add_product(const float* a, std::int64_t a_row, const float* b, std::int64_t b_row,
                   float* to, std::int64_t to_row, std::int64_t rows, std::int64_t columns,
                   std::int64_t depth) const {
    const std::int64_t whole = columns / kPanel * kPanel;
    if (whole > 0) {
      p_.loops->product({a, a_row, b, b_row, to, to_row, rows, whole, depth, /*adds=*/true});
    }
    if (whole == columns) return;
    float* const product = own_ + p_.at.product;
    multiply(a, a_row, b + whole, b_row, product, kPanel, rows, kPanel, depth);
    add_matrix(product, kPanel, to + whole, to_row, rows, columns - whole);
  }

  PackSource head_of(const SdpaTokens& tokens, std::size_t operand) const {
    PackSource head = tokens.matrix;
    head.data =
        addresses_.operands[operand] + elements_to(tokens, image_, head_) * size_of(head.type);
    return head;
  }

  void begin_head() {
    const std::int64_t d = s_.query.size, dv = s_.value.size;
    pack_rows(head_of(p_.k, 2), 0, p_.padded_keys, own_ + p_.at.keys, p_.depth_row);
    pack_columns(head_of(p_.k, 2), 0, p_.padded_keys, own_ + p_.at.keys_turned, p_.keys_row);
    pack_columns(head_of(p_.v, 3), 0, p_.padded_keys, own_ + p_.at.values_turned, p_.keys_row);
    std::fill_n(own_ + p_.at.of_keys, d * p_.keys_row, 0.0f);
    if (s_.relative_key >= 0) {
      std::fill_n(own_ + p_.at.of_key_places, d * p_.keys_row, 0.0f);
      scale_keys();
    }
    std::fill_n(own_ + p_.at.of_values, dv * p_.keys_row, 0.0f);
    std::fill_n(scales_, 3, 0.0);
    if (head_ == 0) clear_unread(p_, addresses_, image_);
  }

  /// The keys as the gradient of their places sees them.
  void scale_keys() const {
    const float scale = factor(key_term());
    const float* const keys = own_ + p_.at.keys;
    float* const scaled = own_ + p_.at.scaled_keys;
    for (std::int64_t i = 0; i < p_.padded_keys * p_.depth_row; ++i) scaled[i] = scale * keys[i];
  }

  void run_block(std::int64_t begin, std::int64_t end) {
    first_ = begin;
    rows_ = end - begin;
    pack_block();
    weigh();
    multiply_cotangents();
    add_values();
    softmax_gradient();
    if (s_.clamp) cut();
    add_content();
    if (s_.has_query_places()) add_query_places();
    if (s_.relative_key >= 0) add_key_places();
    store_queries();
  }

  void pack_block() {
    const std::int64_t d = s_.query.size, dv = s_.value.size;
    pack_rows(head_of(p_.q, 1), first_, first_ + rows_, own_ + p_.at.queries, d);
    vector_loops().transpose32(own_ + p_.at.queries, d, own_ + p_.at.queries_turned, rows_, rows_,
                               d);
    PackSource dy = head_of(p_.dy, 0);
    for (std::int64_t part = 0; part < (s_.interleaved ? 2 : 1); ++part) {
      pack_rows(dy, first_, first_ + rows_, cotangents(part), dv);
      vector_loops().transpose32(cotangents(part), dv, cotangents_turned(part), rows_, rows_, dv);
      dy.data += p_.between_parts * size_of(dy.type);
    }
  }
  float* cotangents(std::int64_t part) const {
    return own_ + p_.at.cotangents + part * p_.loops->block_rows * s_.value.size;
  }
  float* cotangents_turned(std::int64_t part) const {
    return own_ + p_.at.cotangents_turned + part * p_.loops->block_rows * s_.value.size;
  }
  /// What comes from relative_value has a cotangent of its own only in an interleaved result.
  std::int64_t places_part() const { return s_.interleaved ? 1 : 0; }

  /// The weights of the block.
  void weigh() {
    const std::int64_t d = s_.query.size;
    multiply(own_ + p_.at.queries, d, own_ + p_.at.keys_turned, p_.keys_row, scores(),
             p_.scores_row, rows_, p_.padded_keys, d);
    if (s_.relative_key >= 0) multiply_key_places();
    sum_scores();
    if (s_.clamp) clamp();
    if (s_.bias >= 0) add_bias();
    float sums[kMostRows];
    const Exponentials rows{scores(), p_.scores_row, rows_, s_.keys, p_.padded_keys, sums};
    p_.loops->exponentials(rows);
    p_.loops->normalize(rows);
  }

  /// Where the rows of relative_key begin that the panel of keys from `j` on meets.
  std::int64_t key_row_of(std::int64_t j) const { return first_ - j + s_.keys - 1; }

  void multiply_key_places() const {
    const std::int64_t d = s_.query.size;
    for (std::int64_t j = 0; j < p_.padded_keys; j += kPanel) {
      multiply(base_ + p_.at.key + key_row_of(j) * d, d, own_ + p_.at.keys_turned + j, p_.keys_row,
               own_ + p_.at.key_sums + j / kPanel * p_.key_sums_panel, kPanel, rows_ + kBefore,
               kPanel, d);
    }
  }

  void sum_scores() {
    ScoreSum sum;
    sum.scores = scores();
    sum.scores_row = p_.scores_row;
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
    p_.loops->sum_scores(sum);
  }

  void multiply_query_places(ScoreSum& sum) const {
    const std::int64_t d = s_.query.size;
    float* const sums = own_ + p_.at.sums;
    const std::int64_t columns = on_map() ? p_.places_row : window_size();
    multiply(own_ + p_.at.queries, d, base_ + p_.at.places_turned + (on_map() ? 0 : window()),
             p_.places_row, sums, p_.sums_row, rows_, columns, d);
    if (!on_map()) {
      sum.places = sums + rows_ - 1;
      sum.places_row = p_.sums_row - 1;
      return;
    }
    sum.places = own_ + p_.at.spread;
    sum.places_row = p_.scores_row;
    p_.loops->spread_map({sums, sums + p_.rows_columns, p_.sums_row, s_.height, s_.width, first_,
                          rows_, own_ + p_.at.spread, p_.scores_row});
  }

  void clamp() const {
    const auto low = static_cast<float>(s_.clamp->first);
    const auto high = static_cast<float>(s_.clamp->second);
    for (std::int64_t r = 0; r < rows_; ++r) {
      float* const row = scores() + r * p_.scores_row;
      float* const mask = own_ + p_.at.mask + r * p_.scores_row;
      for (std::int64_t j = 0; j < s_.keys; ++j) {
        mask[j] = row[j] < low || row[j] > high ? 0.0f : 1.0f;
        row[j] = row[j] < low ? low : row[j] > high ? high : row[j];  // a NaN stays
      }
    }
  }

  void add_bias() const {
    const SdpaExtra& from = p_.extra(s_.bias);
    float* const bias = own_ + p_.at.bias;
    for (std::int64_t r = 0; r < rows_; ++r) {
      const std::int64_t offset = image_ * p_.bias_strides[0] + head_ * p_.bias_strides[1] +
                                  (first_ + r) * p_.bias_strides[2];
      load_floats(
          from.type,
          addresses_.operands[static_cast<std::size_t>(s_.bias) + 1] + offset * size_of(from.type),
          p_.bias_strides[3], bias, s_.keys);
      float* const row = scores() + r * p_.scores_row;
      for (std::int64_t j = 0; j < s_.keys; ++j) row[j] += bias[j];
    }
  }

  /// The cotangents of the weights.
  void multiply_cotangents() const {
    const std::int64_t dv = s_.value.size;
    multiply(cotangents(0), dv, own_ + p_.at.values_turned, p_.keys_row, of_scores(), p_.scores_row,
             rows_, p_.padded_keys, dv);
    if (s_.relative_value < 0) return;
    float* const sums = own_ + p_.at.sums;
    multiply(cotangents(places_part()), dv, base_ + p_.at.value_turned + window(), p_.value_row,
             sums, p_.sums_row, rows_, window_size(), dv);
    add_matrix(sums + rows_ - 1, p_.sums_row - 1, of_scores(), p_.scores_row, rows_, s_.keys);
  }

  /// The rows of `matrix`, each behind as many zeros as there are queries behind its own in the
  /// block: columns are distances then.
  const float* by_distance(const float* matrix) const { return matrix - (rows_ - 1); }

  void add_values() const {
    const std::int64_t dv = s_.value.size;
    add_product(cotangents_turned(0), rows_, scores(), p_.scores_row, own_ + p_.at.of_values,
                p_.keys_row, dv, p_.padded_keys, rows_);
    if (s_.relative_value < 0) return;
    add_product(cotangents_turned(places_part()), rows_, by_distance(scores()), p_.scores_row + 1,
                group_ + p_.at.of_value + window(), p_.value_row, dv, window_size(), rows_);
  }

  void softmax_gradient() const {
    p_.loops->softmax_gradient(
        {scores(), of_scores(), p_.scores_row, rows_, s_.keys, p_.padded_keys});
  }

  void cut() const {
    for (std::int64_t r = 0; r < rows_; ++r) {
      const float* const mask = own_ + p_.at.mask + r * p_.scores_row;
      float* const row = of_scores() + r * p_.scores_row;
      for (std::int64_t j = 0; j < s_.keys; ++j) row[j] *= mask[j];
    }
  }

  float* of_queries(std::int64_t part) const {
    return own_ + p_.at.of_queries + part * p_.loops->block_rows * p_.depth_row;
  }
  /// A part's scores are linear in the queries, so their product with the cotangents is too.
  double of_scale(std::int64_t part) const {
    return dot_matrices(own_ + p_.at.queries, s_.query.size, of_queries(part), p_.depth_row, rows_,
                        s_.query.size);
  }

  void add_content() {
    multiply(of_scores(), p_.scores_row, own_ + p_.at.keys, p_.depth_row, of_queries(0),
             p_.depth_row, rows_, p_.depth_row, s_.keys);
    scales_[0] += of_scale(0);
    add_product(own_ + p_.at.queries_turned, rows_, of_scores(), p_.scores_row,
                own_ + p_.at.of_keys, p_.keys_row, s_.query.size, p_.padded_keys, rows_);
  }

  void add_query_places() {
    const float* left = by_distance(of_scores());
    std::int64_t left_row = p_.scores_row + 1, first = window(), count = window_size();
    if (on_map()) {
      fold_map();
      left = own_ + p_.at.sums;
      left_row = p_.sums_row;
      first = 0;
      count = p_.places_row;
    }
    multiply(left, left_row, base_ + p_.at.places + first * p_.depth_row, p_.depth_row,
             of_queries(1), p_.depth_row, rows_, p_.depth_row, count);
    scales_[1] += of_scale(1);
    const float scale = factor(1);
    float* const turned = own_ + p_.at.queries_turned;
    for (std::int64_t i = 0; i < rows_ * s_.query.size; ++i) turned[i] *= scale;
    add_product(turned, rows_, left, left_row, group_ + p_.at.of_places + first, p_.places_row,
                s_.query.size, count, rows_);
  }

  /// The way of spread_map, back: sums over lines and columns of the map.
  void fold_map() const {
    for (std::int64_t r = 0; r < rows_; ++r) {
      float* const sums = own_ + p_.at.sums + r * p_.sums_row;
      std::fill_n(sums, p_.sums_row, 0.0f);
      const std::int64_t y = (first_ + r) / s_.width, x = (first_ + r) % s_.width;
      float* const lines = sums + s_.height - 1 - y;
      float* const columns = sums + p_.rows_columns + s_.width - 1 - x;
      const float* from = of_scores() + r * p_.scores_row;
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

  /// Panel by panel: row t of the diagonals belongs to one distance, as in ScoreSum.
  void add_key_places() {
    const std::int64_t d = s_.query.size, count = rows_ + kBefore;
    float* const diagonals = own_ + p_.at.diagonals;
    for (std::int64_t j = 0; j < p_.padded_keys; j += kPanel) {
      std::fill_n(diagonals, count * kPanel, 0.0f);
      for (std::int64_t r = 0; r < rows_; ++r) {
        const float* const from = of_scores() + r * p_.scores_row + j;
        float* const to = diagonals + (kBefore + r) * kPanel;
        for (std::int64_t l = 0; l < kPanel; ++l) to[l - l * kPanel] = from[l];
      }
      const std::int64_t row = key_row_of(j);
      add_product(base_ + p_.at.key_turned + row, p_.key_row, diagonals, kPanel,
                  own_ + p_.at.of_key_places + j, p_.keys_row, d, kPanel, count);
      add_product(diagonals, kPanel, own_ + p_.at.scaled_keys + j * p_.depth_row, p_.depth_row,
                  group_ + p_.at.of_key + row * p_.depth_row, p_.depth_row, count, p_.depth_row,
                  kPanel);
    }
  }

  PackSource result_head(std::size_t which) const {
    return result_head_of(p_, addresses_, which, image_, head_);
  }

  void store_queries() const {
    const std::int64_t d = s_.query.size;
    for (std::int64_t r = 0; r < rows_; ++r) {
      float* const row = of_queries(0) + r * p_.depth_row;
      const float* const places = of_queries(1) + r * p_.depth_row;
      for (std::int64_t c = 0; c < d; ++c) {
        row[c] *= factor(0);
        if (s_.has_query_places()) row[c] += factor(1) * places[c];
      }
    }
    store_rows(result_head(0), first_, {of_queries(0), p_.depth_row, rows_, d},
               own_ + p_.at.product);
  }

  void end_head() {
    const std::int64_t d = s_.query.size;
    float* const of_keys = own_ + p_.at.of_keys;
    const float* const of_places = own_ + p_.at.of_key_places;
    if (s_.relative_key >= 0) {
      scales_[key_term()] =
          dot_matrices(own_ + p_.at.keys_turned, p_.keys_row, of_places, p_.keys_row, d, s_.keys);
    }
    for (std::int64_t i = 0; i < d * p_.keys_row; ++i) {
      of_keys[i] *= factor(0);
      if (s_.relative_key >= 0) of_keys[i] += factor(key_term()) * of_places[i];
    }
    float* const room = own_ + p_.at.product;
    store_turned(result_head(1), {of_keys, p_.keys_row, d, s_.keys}, room);
    store_turned(result_head(2), {own_ + p_.at.of_values, p_.keys_row, s_.value.size, s_.keys},
                 room);
    float* const scales = base_ + p_.at.scales + 3 * (image_ * s_.heads + head_);
    for (int term = 0; term < 3; ++term)
      scales[term] = static_cast<float>(scales_[term] * s_.scale);
  }

  const SdpaBwdPlan& p_;
  const Sdpa& s_;
  const Addresses& addresses_;
  float* base_;
  float* own_;
  float* group_ = nullptr;
  std::int64_t image_ = 0, head_ = 0;
  std::int64_t first_ = 0, rows_ = 0;  ///< of the block
  double scales_[3] = {};              ///< of score_scale, of the head, without the sdpa's scale
};

}  // namespace

void run_sdpa_bwd_groups(const SdpaBwdPlan& plan, const Addresses& addresses, std::int64_t thread,
                         std::int64_t begin, std::int64_t end) {
  if (begin >= end) return;
  Worker worker(plan, addresses, thread);
  for (std::int64_t group = begin; group < end; ++group) worker.run_group(group);
}

}  // namespace facet::cpu
