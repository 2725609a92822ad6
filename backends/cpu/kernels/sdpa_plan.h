#pragma once

#include <optional>
#include <string>
#include <vector>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/sdpa_loops.h"
#include "backends/cpu/kernels/sdpa_pack.h"
#include "ir/sdpa.h"

namespace facet::cpu {

/// The tokens of q, k, v or y: element [n, token, c] of head g is image * n + the place that
/// PackSource gives to row `token` and channel heads.first + g * heads.step + c.
struct SdpaTokens {
  HeadChannels heads;
  std::int64_t image = 0;
  PackSource matrix;  ///< of one head; `data` is set when it is read
};

/// An operand behind v: a matrix, or a vector as one row.
struct SdpaExtra {
  Float type = Float::f32;
  std::int64_t row = 0;
  std::int64_t column = 0;
};

/// Kept weights, [N, heads, queries, keys].
struct SdpaWeights {
  Float type = Float::f32;
  std::vector<std::int64_t> strides;  ///< elements

  /// Bytes to the row of a query.
  std::int64_t row(std::int64_t image, std::int64_t head, std::int64_t query) const {
    return (image * strides[0] + head * strides[1] + query * strides[2]) * size_of(type);
  }
};

/// `n` rounded up to whole panels.
std::int64_t panels_of(std::int64_t n);
/// A row of whole panels whose number is odd, so that a column does not fall on few cache sets.
std::int64_t spread_row(std::int64_t n);
/// The tokens of a view. Throws Error(failure) where no PackSource describes them.
SdpaTokens sdpa_tokens(const Node& node, const View& view, bool channels_last, HeadChannels heads);
SdpaExtra sdpa_extra(const Node& node, const View& view);

/// Where the parts of the scratch lie, in 4-byte words. All threads read the tables; behind them
/// each thread has its own part.
struct SdpaScratch {
  // Tables: filled at the beginning of a run, divided among the threads.
  std::int64_t factors = 0;  ///< scale * score_scale, f32 [3, heads]
  std::int64_t outputs = 0;  ///< scale, scale of the places and shift of y, f32 [3, channels]
  std::int64_t places = 0;   ///< relative_query, or relative_height and relative_width, turned
  std::int64_t key = 0;      ///< relative_key behind kPanel - 1 rows of zeros
  std::int64_t value = 0;    ///< relative_value
  std::int64_t tables = 0;   ///< end of the tables
  // From the beginning of a thread's part.
  std::int64_t queries = 0;     ///< of the block
  std::int64_t keys = 0;        ///< of the head, turned
  std::int64_t values = 0;      ///< of the head
  std::int64_t scores = 0;      ///< of the block, see scores_row
  std::int64_t weights = 0;     ///< the same in bf16; equal to `scores` without pairs
  std::int64_t query_sums = 0;  ///< products of the queries and the places
  std::int64_t spread = 0;      ///< the same for every key of a map
  std::int64_t key_sums = 0;    ///< products of the keys and their places, panel by panel
  std::int64_t bias = 0;        ///< one row
  std::int64_t output = 0;  ///< of the block: content, places and, interleaved, room to turn one
  std::int64_t thread = 0;  ///< end of the part
};

/// One sdpa for fixed views.
///
/// Work is cut into blocks of queries of one head of one image. Every matrix of a block stays in
/// the thread's scratch. Distances run backwards, j - i, so that for one query neighbouring keys
/// need neighbouring columns of q . relative_query and each query's row is the one before, shifted
/// by one; likewise the weights of a row, shifted, are the factors of relative_value. With
/// `pairs`, products read bf16.
struct SdpaPlan {
  Sdpa sdpa;
  const SdpaLoops* loops = nullptr;
  bool pairs = false;
  std::int64_t images = 0;
  std::int64_t threads = 1;  ///< the scratch has room for
  SdpaTokens q, k, v, y;
  std::int64_t between_parts = 0;  ///< elements of an interleaved y, whose channels are 2 apart
  std::optional<SdpaWeights> weights;  ///< where they are kept
  std::vector<SdpaExtra> extras;   ///< by operand number - 3
  std::vector<std::int64_t> bias_strides;  ///< over [N, heads, queries, keys]

  std::int64_t blocks = 0;          ///< of a head
  std::int64_t score_depth = 0;     ///< words of a query or key
  std::int64_t padded_keys = 0;     ///< to whole panels
  std::int64_t keys_row = 0;        ///< words
  std::int64_t values_row = 0;      ///< words
  std::int64_t places_row = 0;      ///< words of the places table
  std::int64_t rows_columns = 0;    ///< of it that belong to relative_height
  std::int64_t query_sums_row = 0;  ///< floats
  std::int64_t key_sums_panel = 0;  ///< floats
  /// Elements from row to row of scores and weights: kPanel zeros stand before each row and behind
  /// the last.
  std::int64_t scores_row = 0;
  SdpaScratch at;

  std::string implementation() const { return std::string("sdpa:") + loops->name; }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(4 * (at.tables + threads * at.thread));
  }
  void run(const Addresses& addresses) const;
  const SdpaExtra& extra(int operand) const {
    return extras[static_cast<std::size_t>(operand - 3)];
  }
};

/// Thread `part` of `parts` fills its share of the tables.
void pack_sdpa_tables(const SdpaPlan& plan, const Addresses& addresses, std::int64_t part,
                      std::int64_t parts);

/// Thread `thread`'s share of a run, when the tables are filled: blocks begin..end, counted over
/// images and heads.
void run_sdpa_blocks(const SdpaPlan& plan, const Addresses& addresses, std::int64_t thread,
                     std::int64_t begin, std::int64_t end);

/// lower_sdpa with the loops of one instruction set, which must run here.
std::unique_ptr<Kernel> lower_sdpa(const Node& node, std::span<const View> operands,
                                   std::span<const View> results, const SdpaLoops& loops);

}  // namespace facet::cpu
