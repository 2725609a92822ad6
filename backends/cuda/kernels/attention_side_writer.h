#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "backends/cuda/kernels/attention_gradient_side.h"
#include "backends/cuda/kernels/attention_tokens.h"

namespace facet::cuda {

/// Operands, in front of those of sdpa_extras.
enum : int { kCotangent, kQuery, kKey, kValue };

/// Tokens of one operand; in the kernel, `name` points at the head's first channel in the image, of
/// the first of the others that are met.
struct TokenVectors {
  int operand = -1;
  std::string name;
  Tokens lie;
  HeadChannels head;
  bool is_own = true;
  std::string tokens;     ///< text: how many there are, from where `name` points
  std::int64_t step = 1;  ///< from channel to channel: 2 in an interleaved cotangent,
  std::int64_t part = 0;  ///< of which it is this half

  /// Text: channel `c` of token `token`.
  std::string at(std::string_view token, std::string_view c) const {
    if (step == 1) return fmt::format("{}[{}LL * {} + {}]", name, lie.token, token, c);
    return fmt::format("{}[{}LL * {} + {} * {} + {}]", name, lie.token, token, step, c, part);
  }
};

/// Writes the text of one side's kernel, phase by phase.
class SideWriter {
 public:
  SideWriter(const SdpaBwd& gradient, std::span<const View> operands, std::span<const View> results,
             const GradientPlan& plan, AttentionSide side, SideSums& sums);

  KernelSource run(Scratch& scratch);

 private:
  const View& view(int operand) const { return operands_[static_cast<std::size_t>(operand)]; }
  TokenVectors vectors(int operand, std::string name, HeadChannels head, bool is_own) const {
    return {operand,
            std::move(name),
            tokens_of(s_, view(operand)),
            head,
            is_own,
            is_own ? std::to_string(own_) : "left",
            1,
            0};
  }
  std::int64_t tiles() const { return rounded_up(own_, kOwnTokens) / kOwnTokens; }
  std::int64_t blocks() const { return plan_.slices * s_.heads * tiles(); }
  static std::int64_t chunks(const TokenVectors& x) { return rounded_up(x.head.size, 16) / 16; }
  static bool is_wide(const TokenVectors& x) { return x.head.size > kHeldChannels; }
  std::string factor(int term) const {
    return s_.score_scale < 0 ? std::string() : fmt::format("a{} * ", term);
  }
  int term_of(const PlaceTable& table) const {
    return table.operand == s_.relative_key ? s_.terms() - 1 : 1;
  }

  void add_parameters(Parameters& parameters) const;
  void plan_sums(Scratch& scratch);
  std::string begin() const;
  std::string image() const;
  std::string pointers(bool is_own) const;
  std::string stretches(const std::string& body) const;
  std::string gradients() const;
  std::string four(const TokenVectors& x, std::string_view token) const;
  std::string fragments(const TokenVectors& x, std::string_view letter, std::string_view token,
                        std::string_view indent) const;
  /// `to`[own, other] = own x . other x, plus places of the own, plus places of the others.
  std::string pairs(std::string_view to, const TokenVectors& own, const TokenVectors& other,
                    const TokenVectors& own_places, const PlaceTables& own_tables,
                    const TokenVectors& other_places, const PlaceTables& other_tables,
                    bool has_factors) const;
  /// Texts for the pair `a`, `j`: its score, and whether the clamp cuts it (empty: never).
  struct ScoreText {
    std::string value, is_cut;
  };
  ScoreText score() const;
  std::string of_queries(std::int64_t scratch) const;
  std::string row_sums() const;
  std::string weights() const;
  std::string spread(std::string_view from, const PlaceTables& tables) const;
  std::string product(std::string_view to, std::string_view from, std::int64_t row,
                      std::int64_t count, std::int64_t columns, DType dtype, std::string_view at,
                      std::string_view is_there) const;
  /// The gradient of own vectors `x`: rows of `from` times `other`, and spread rows times tables;
  /// where there are several stretches the sums so far are totals `first_total` and on.
  std::string outcome(std::string_view name, int result, const TokenVectors& x,
                      std::string_view from, const TokenVectors& other, const PlaceTables& tables,
                      bool has_factors, std::int64_t first_total) const;
  std::string table_sums(const TableSums& sums, const TokenVectors& x) const;
  std::string end() const;

  const SdpaBwd& d_;
  const Sdpa& s_;
  std::span<const View> operands_, results_;
  const GradientPlan& plan_;
  AttentionSide side_;
  bool is_queries_;
  SideSums& sums_;
  GradientRoom room_;
  std::string_view type_;
  std::int64_t own_, others_;
  TokenVectors q_, k_, v_, dy_, dplaces_;
};

}  // namespace facet::cuda
