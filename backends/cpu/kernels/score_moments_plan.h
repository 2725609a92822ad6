#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/sdpa_loops.h"
#include "backends/cpu/kernels/sdpa_plan.h"
#include "ir/sdpa.h"

namespace facet::cpu {

/// Queries or keys, and the rows that they see of a table of places: token t sees `others` rows
/// from first(t) on.
struct MomentSide {
  SdpaTokens tokens, result;  ///< result: their gradient
  int operand = 0;            ///< of the node, the tokens
  std::int64_t cleared = 0;   ///< bytes of the result, where no head reads some of its channels
  std::int64_t count = 0;
  std::int64_t others = 0;  ///< tokens of the other side
  bool backwards = false;   ///< keys: rows count query minus key
  int part = -1;            ///< row of the moments; -1: without a table
  SdpaExtra table, table_result;
  int table_operand = -1, table_number = -1;  ///< of the node

  bool has_table() const { return part >= 0; }
  std::int64_t rows() const { return count + others - 1; }
  std::int64_t first(std::int64_t token) const { return backwards ? count - 1 - token : token; }
  /// Tokens begin..end that see a row.
  std::int64_t begin(std::int64_t row) const {
    return std::max<std::int64_t>(backwards ? count - 1 - row : row - others + 1, 0);
  }
  std::int64_t end(std::int64_t row) const {
    return std::min(backwards ? count - 1 - row + others : row + 1, count);
  }
};

/// Where the parts of the scratch lie, in floats.
struct MomentsScratch {
  std::int64_t content = 0;  ///< doubles [images * heads][2]: sums and sums of squares
  // Of each side with a table:
  struct Side {
    std::int64_t sums = 0;    ///< doubles [chunks of tokens][2][heads]
    std::int64_t table = 0;   ///< [rows][depth_row]
    std::int64_t turned = 0;  ///< [d][turned_row]
    std::int64_t turned_row = 0;
    // Of a gradient:
    std::int64_t own =
        0;  ///< what tokens get from their places, [images * heads][count][depth_row]
    std::int64_t squares = 0;  ///< A [count][d][depth_row]
    std::int64_t totals = 0;   ///< [count][depth_row]: sum of b t
  };
  std::array<Side, 2> sides;
  std::int64_t factors = 0;  ///< of a gradient: a and b, [terms][heads] each
  std::int64_t threads = 0;  ///< where the threads' parts begin
  // From the beginning of a thread's part: of a head, for both sides
  std::array<std::int64_t, 2> rows{}, turned{}, turned_row{}, gram{}, total{};
  std::int64_t product = 0;  ///< what tokens get, where they have no table; room to turn a row
  // Of a token:
  std::int64_t tokens = 0, products = 0, scaled = 0;  ///< [images * heads][depth_row]
  std::int64_t scaled_turned = 0;                     ///< [d][pairs_row]
  std::int64_t matrix = 0, seen = 0;                  ///< W [d][depth_row], w [depth_row]
  std::int64_t step = 0;    ///< the rows that come and go, and their turned form
  std::int64_t lanes = 0;   ///< sums by channel, [2][heads][depth_row]
  std::int64_t thread = 0;  ///< end of the part
};

/// One score_moments or score_moments_bwd for fixed views, without relative_height and _width. The
/// formulas are at the top of ir/ops/score_moments_plain.cpp.
///
/// Images' heads are units of the content; tokens in chunks, for all images and heads at once, are
/// units of the places, as the matrix W of a token is the one before with one row of the table more
/// and one less. Units do not depend on the number of threads, and what they give is added in
/// their order, so that threads change no bit.
struct ScoreMomentsPlan {
  Sdpa parts;  ///< operand numbers are not the node's where it is a gradient
  SdpaBwd gradient;
  bool is_gradient = false;
  const SdpaLoops* loops = nullptr;
  std::int64_t images = 0;
  std::int64_t threads = 1;  ///< the scratch has room for
  std::array<MomentSide, 2> sides;
  std::vector<SdpaExtra> moments;  ///< results, or of a gradient the first operands
  std::int64_t depth_row = 0;      ///< channels of a head, to whole panels
  std::int64_t pairs_row = 0;
  MomentsScratch at;

  std::int64_t depth() const { return parts.query.size; }
  std::int64_t heads() const { return images * parts.heads; }  ///< of all images
  std::int64_t chunks(std::size_t side) const;
  std::string implementation() const {
    return std::string(is_gradient ? "score_moments_bwd:" : "score_moments:") + loops->name;
  }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(4 * (at.threads + threads * at.thread));
  }
  void run(const Addresses& addresses) const;
};

/// Tokens of a chunk, each of which begins with a W of its own.
inline constexpr std::int64_t kMomentTokens = 28;
/// Rows of a table whose gradient is made together, likewise.
inline constexpr std::int64_t kMomentRows = 56;

/// lower_score_moments with the loops of one instruction set, which must run here.
std::unique_ptr<Kernel> lower_score_moments(const Node& node, std::span<const View> operands,
                                            std::span<const View> results, const SdpaLoops& loops);

}  // namespace facet::cpu
