// Heads and sections of sdpa_bwd, see SdpaBwdPlan: what is summed over queries.

#include <algorithm>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/sdpa_bwd_store.h"
#include "backends/cpu/kernels/sdpa_bwd_worker.h"

namespace facet::cpu {

void SdpaBwdWorker::add_matrix(const float* from, std::int64_t from_row, float factor, float* to,
                               std::int64_t to_row, std::int64_t rows, std::int64_t columns) const {
  for (std::int64_t r = 0; r < rows; ++r, from += from_row, to += to_row) {
    f_.loops->add_scaled(from, factor, to, columns);
  }
}

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

/// to[c, T] += factor * sum over rows r of left[c, r] * right[r, T - offset + r], where columns of
/// the right factor that are not there are zeros: row r has column j at the distance offset - r +
/// j.
struct SdpaBwdWorker::ByDistance {
  float* left = nullptr;
  std::int64_t left_row = 0;     ///< elements
  const float* right = nullptr;  ///< [rows][right_row], shifted: see SdpaKept
  std::int64_t right_row = 0;
  std::int64_t rows = 0, columns = 0;
  std::int64_t offset = 0;
  float factor = 1;
  float* to = nullptr;
  std::int64_t to_row = 0;
  std::int64_t channels = 0;
};

SdpaBwdWorker::SdpaBwdWorker(const SdpaBwdPlan& plan, const Addresses& addresses,
                             std::int64_t thread)
    : p_(plan),
      s_(plan.bwd.sdpa),
      f_(plan.factors),
      addresses_(addresses),
      base_(reinterpret_cast<float*>(addresses.scratch)),
      own_(base_ + plan.at.threads + thread * plan.at.thread) {
  std::fill(own_, own_ + p_.at.keys, 0.0f);
}

void SdpaBwdWorker::run_group(std::int64_t group) {
  group_ = base_ + p_.at.tables + group * p_.at.group;
  std::fill_n(group_, p_.at.group, 0.0f);
  const std::int64_t heads = p_.images * s_.heads;
  for (std::int64_t unit = heads * group / p_.groups; unit < heads * (group + 1) / p_.groups;
       ++unit) {
    image_ = unit / s_.heads;
    head_ = unit % s_.heads;
    begin_head();
    for (std::int64_t begin = 0; begin < s_.queries; begin += p_.section) {
      run_section(begin, std::min(begin + p_.section, s_.queries));
    }
    end_head();
  }
}

PackSource SdpaBwdWorker::head_of(const SdpaTokens& tokens, std::size_t operand) const {
  PackSource head = tokens.matrix;
  head.data =
      addresses_.operands[operand] + elements_to(tokens, image_, head_) * size_of(head.type);
  return head;
}

PackSource SdpaBwdWorker::cotangents_of(std::int64_t part) const {
  PackSource dy = head_of(p_.dy, 0);
  dy.data += part * p_.between_parts * size_of(dy.type);
  return dy;
}

PackSource SdpaBwdWorker::result_head(std::size_t which) const {
  return result_head_of(p_, addresses_, which, image_, head_);
}

void SdpaBwdWorker::begin_head() {
  const std::int64_t d = s_.query.size, dv = s_.value.size;
  const PackSource keys = head_of(p_.k, 2);
  f_.right_rows(keys, 0, s_.keys, own_ + p_.at.keys, p_.depth_row);
  if (p_.bwd.weights < 0) {
    f_.right_columns(keys, 0, p_.padded_keys, own_ + p_.at.keys_turned, p_.keys_row);
  }
  f_.right_columns(head_of(p_.v, 3), 0, p_.padded_keys, own_ + p_.at.values_turned, p_.keys_row);
  std::fill_n(own_ + p_.at.of_keys, d * p_.keys_row, 0.0f);
  if (s_.relative_key >= 0) {
    f_.left_columns(keys, 0, s_.keys, own_ + p_.at.keys_left, f_.whole(s_.keys));
    std::fill_n(own_ + p_.at.of_key_places, p_.padded_keys * p_.depth_row, 0.0f);
  }
  std::fill_n(own_ + p_.at.of_values, dv * p_.keys_row, 0.0f);
  std::fill_n(scales_, 3, 0.0);
  before_ = 0;
  if (head_ == 0) clear_unread(p_, addresses_, image_);
}

void SdpaBwdWorker::run_section(std::int64_t begin, std::int64_t end) {
  section_ = begin;
  section_rows_ = end - begin;
  const std::int64_t row = f_.whole(p_.section);
  f_.left_columns(head_of(p_.q, 1), begin, end, own_ + p_.at.queries_left, row);
  for (std::int64_t part = 0; part <= places_part(); ++part) {
    f_.left_columns(cotangents_of(part), begin, end, cotangents_left(part), row);
  }
  for (std::int64_t first = begin; first < end; first += p_.block_rows()) {
    run_block(first, std::min(first + p_.block_rows(), end));
  }
  add_section();
}

void SdpaBwdWorker::add_section() {
  const SdpaBwdScratch& at = p_.at;
  const std::int64_t d = s_.query.size, dv = s_.value.size, row = f_.whole(p_.section);
  float* const queries = own_ + at.queries_left;
  ByDistance sum;
  sum.left_row = row;
  sum.rows = section_rows_;
  sum.columns = s_.keys;
  sum.offset = s_.queries - 1 - section_;
  f_.multiply({cotangents_left(0), row, right_of(at.weights), at.weights.row, own_ + at.of_values,
               p_.keys_row},
              dv, p_.padded_keys, section_rows_, /*adds=*/true);
  if (s_.relative_value >= 0) {
    sum.left = cotangents_left(places_part());
    sum.right = shifted_of(at.weights);
    sum.right_row = at.weights.row;
    sum.to = group_ + at.of_value;
    sum.to_row = p_.value_row;
    sum.channels = dv;
    add_by_distance(sum);
  }
  f_.multiply(
      {queries, row, right_of(at.of_scores), at.of_scores.row, own_ + at.of_keys, p_.keys_row}, d,
      p_.padded_keys, section_rows_, /*adds=*/true);
  if (s_.relative_query >= 0) {
    sum.left = queries;
    sum.right = shifted_of(at.of_scores);
    sum.right_row = at.of_scores.row;
    sum.factor = factor(1);
    sum.to = group_ + at.of_places;
    sum.to_row = p_.places_row;
    sum.channels = d;
    add_by_distance(sum);
  }
  if (on_map()) {
    float* const product = own_ + at.product;
    f_.multiply({queries, row, right_of(at.map_sums), at.map_sums.row, product, p_.places_row}, d,
                p_.places_row, section_rows_);
    add_matrix(product, p_.places_row, factor(1), group_ + at.of_places, p_.places_row, d,
               p_.places_row);
  }
  if (s_.relative_key >= 0) {
    turn_scores();
    add_key_places();
  }
}

/// The scores' cotangents by key and query.
void SdpaBwdWorker::turn_scores() const {
  const SdpaBwdScratch& at = p_.at;
  const std::int64_t row = f_.words(p_.turned_row);
  if (p_.section < s_.queries) std::fill(own_ + at.turned, own_ + at.sums, 0.0f);
  vector_loops().transpose32(right_of(at.of_scores), at.of_scores.row,
                             own_ + at.turned + f_.words(kStrip), row, f_.words(section_rows_),
                             p_.padded_keys);
  if (!f_.pairs) return;
  const auto* low = static_cast<const std::uint16_t*>(f_.element(own_ + at.turned, kStrip));
  auto* to = reinterpret_cast<std::uint32_t*>(own_ + at.turned_shifted + kStrip);
  for (std::int64_t j = 0; j < p_.padded_keys; j += 2, low += 2 * p_.turned_row) {
    f_.loops->join_bf16(low - 1, low + p_.turned_row, to - 1, panels_of(section_rows_) + kPanel);
    to += p_.turned_row;
  }
}

void SdpaBwdWorker::add_key_places() {
  const SdpaBwdScratch& at = p_.at;
  const std::int64_t offset = s_.keys - 1 + section_;
  for (std::int64_t j = 0; j < s_.keys; j += p_.block_rows()) {
    const std::int64_t keys = std::min(p_.block_rows(), s_.keys - j);
    // The last key's distances come first; those of a pair begin with an even one.
    const std::int64_t window = offset - j - (keys - 1);
    const std::int64_t first = window / f_.pair() * f_.pair();
    const void* const left =
        f_.element(own_ + at.turned, kStrip + j * p_.turned_row - (keys - 1) - (window - first));
    f_.multiply({left, p_.turned_row + 1, base_ + at.key_places + f_.words(first) * p_.depth_row,
                 p_.depth_row, own_ + at.of_key_places + j * p_.depth_row, p_.depth_row},
                keys, p_.depth_row, section_rows_ + keys - 1 + (window - first), /*adds=*/true);
  }
  ByDistance sum;
  sum.left = own_ + at.keys_left;
  sum.left_row = f_.whole(s_.keys);
  sum.right = own_ + at.turned_shifted + kStrip;
  sum.right_row = p_.turned_row;
  sum.rows = s_.keys;
  sum.columns = section_rows_;
  sum.offset = offset;
  sum.factor = factor(key_term());
  sum.to = group_ + at.of_key;
  sum.to_row = p_.key_row;
  sum.channels = s_.query.size;
  add_by_distance(sum);
}

/// Strip by strip of distances, each as deep as there are rows that have one of them.
void SdpaBwdWorker::add_by_distance(const ByDistance& s) const {
  float* const product = own_ + p_.at.product;
  const std::int64_t end = s.offset + s.columns;
  for (std::int64_t at = (s.offset - s.rows + 1) / kStrip * kStrip; at < end; at += kStrip) {
    const std::int64_t begin =
        std::max<std::int64_t>(s.offset - at - (kStrip - 1), 0) / f_.pair() * f_.pair();
    const std::int64_t rows = std::min(end - at, s.rows) - begin;
    if (rows <= 0) continue;
    f_.multiply({f_.element(s.left, begin), s.left_row,
                 s.right + begin / f_.pair() * s.right_row + at - s.offset + begin,
                 s.right_row + f_.pair(), product, kStrip},
                s.channels, kStrip, rows);
    add_matrix(product, kStrip, s.factor, s.to + at, s.to_row, s.channels, kStrip);
  }
}

void SdpaBwdWorker::end_head() {
  const SdpaBwdScratch& at = p_.at;
  const std::int64_t d = s_.query.size;
  float* const of_keys = own_ + at.of_keys;
  float* const room = own_ + at.product;
  for (std::int64_t i = 0; i < d * p_.keys_row; ++i) of_keys[i] *= factor(0);
  if (s_.relative_key >= 0) {
    const float* const of_places = own_ + at.of_key_places;
    pack_rows(head_of(p_.k, 2), 0, s_.keys, room, p_.depth_row);
    scales_[key_term()] = dot_matrices(room, p_.depth_row, of_places, p_.depth_row, s_.keys, d);
    vector_loops().transpose32(of_places, p_.depth_row, room, p_.keys_row, s_.keys, d);
    add_matrix(room, p_.keys_row, factor(key_term()), of_keys, p_.keys_row, d, p_.padded_keys);
  }
  store_turned(result_head(1), {of_keys, p_.keys_row, d, s_.keys}, room);
  store_turned(result_head(2), {own_ + at.of_values, p_.keys_row, s_.value.size, s_.keys}, room);
  float* const scales = base_ + at.scales + 3 * (image_ * s_.heads + head_);
  for (int term = 0; term < 3; ++term) scales[term] = static_cast<float>(scales_[term] * s_.scale);
}

void run_sdpa_bwd_groups(const SdpaBwdPlan& plan, const Addresses& addresses, std::int64_t thread,
                         std::int64_t begin, std::int64_t end) {
  if (begin >= end) return;
  SdpaBwdWorker worker(plan, addresses, thread);
  for (std::int64_t group = begin; group < end; ++group) worker.run_group(group);
}

}  // namespace facet::cpu
