#pragma once

#include "backends/cpu/kernels/sdpa_bwd_plan.h"

namespace facet::cpu {

/// One thread of an sdpa_bwd, its part of the scratch, and what it works on.
class SdpaBwdWorker {
 public:
  SdpaBwdWorker(const SdpaBwdPlan& plan, const Addresses& addresses, std::int64_t thread);
  void run_group(std::int64_t group);

 private:
  // Heads and sections, sdpa_bwd_section.cpp.
  void begin_head();
  void run_section(std::int64_t begin, std::int64_t end);
  void add_section();
  void turn_scores() const;
  void add_key_places();
  struct ByDistance;
  void add_by_distance(const ByDistance& sum) const;
  void end_head();
  /// to[r, c] += factor * from[r, c], whole panels of columns.
  void add_matrix(const float* from, std::int64_t from_row, float factor, float* to,
                  std::int64_t to_row, std::int64_t rows, std::int64_t columns) const;

  // Blocks, sdpa_bwd_block.cpp.
  void run_block(std::int64_t begin, std::int64_t end);
  void load_weights() const;
  void weigh();
  void multiply_key_places() const;
  void sum_scores();
  void multiply_query_places(ScoreSum& sum) const;
  void clamp() const;
  void add_bias() const;
  void multiply_cotangents() const;
  void cut() const;
  void keep(const SdpaKept& kept, std::int64_t columns) const;
  void add_content();
  void add_query_places();
  void fold_map() const;
  double of_scale(std::int64_t part) const;
  void store_queries() const;

  float factor(std::int64_t term) const { return base_[p_.at.factors + term * s_.heads + head_]; }
  std::int64_t key_term() const { return s_.has_query_places() ? 2 : 1; }
  bool on_map() const { return s_.relative_height >= 0; }
  /// What comes from relative_value has a cotangent of its own only in an interleaved result.
  std::int64_t places_part() const { return s_.interleaved ? 1 : 0; }
  /// The distances of the block: those of its last query come first.
  std::int64_t window() const { return s_.queries - first_ - rows_; }
  std::int64_t window_size() const { return s_.keys + rows_ - 1; }

  PackSource head_of(const SdpaTokens& tokens, std::size_t operand) const;
  PackSource cotangents_of(std::int64_t part) const;
  PackSource result_head(std::size_t which) const;

  /// Row 0 of what is kept: of the block in f32 and as a left factor, of the section.
  float* block_of(const SdpaKept& kept) const {
    return own_ + kept.block + kStrip + (f_.pairs ? 0 : (first_ - section_) * kept.row);
  }
  const void* left_of(const SdpaKept& kept) const {
    return f_.pairs ? f_.element(own_ + kept.left, kStrip) : block_of(kept);
  }
  const float* right_of(const SdpaKept& kept) const { return own_ + kept.right + kStrip; }
  const float* shifted_of(const SdpaKept& kept) const { return own_ + kept.shifted + kStrip; }
  float* scores() const { return block_of(p_.at.weights); }
  float* of_scores() const { return block_of(p_.at.of_scores); }
  float* of_queries(std::int64_t part) const {
    return own_ + p_.at.of_queries + part * p_.block_rows() * p_.depth_row;
  }
  float* cotangents_left(std::int64_t part) const {
    return own_ + p_.at.cotangents_left + part * s_.value.size * f_.words(p_.section);
  }

  const SdpaBwdPlan& p_;
  const Sdpa& s_;
  const SdpaFactors& f_;
  const Addresses& addresses_;
  float* base_;
  float* own_;
  float* group_ = nullptr;
  std::int64_t image_ = 0, head_ = 0;
  std::int64_t section_ = 0, section_rows_ = 0;  ///< the first query and the number of them
  std::int64_t first_ = 0, rows_ = 0;            ///< likewise of the block
  std::int64_t before_ = 0;                      ///< queries of the head's block before, or 0
  double scales_[3] = {};  ///< of score_scale, of the head, without the sdpa's scale
};

/// Sum of the products of two matrices' elements.
double dot_matrices(const float* a, std::int64_t a_row, const float* b, std::int64_t b_row,
                    std::int64_t rows, std::int64_t columns);

}  // namespace facet::cpu
