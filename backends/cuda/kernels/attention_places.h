#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/sdpa.h"

/// Which rows of tables the kernels of attention's gradient meet, and the shared memory that this
/// takes. A block has 16 tokens of one side of the scores, its own, and meets all of the other: at
/// once, or a stretch of them after the other where shared memory has no room for all.
namespace facet::cuda {

inline constexpr std::int64_t kOwnTokens = 16;
inline constexpr std::int64_t kGradientWarps = 4;
/// Channels of a token that the lanes hold in registers.
inline constexpr std::int64_t kHeldChannels = 128;

enum class AttentionSide { queries, keys };

/// Rows of a table of places that pairs of tokens meet, numbered from 0 within a block's own tokens
/// and a stretch of others, or within these and 16 others. In the texts `other` and `j` count from
/// token `start`, where the stretch begins.
struct PlaceTable {
  enum class Kind { distance, height, width } kind = Kind::distance;
  int operand = -1;
  int result = -1;
  std::string name;
  std::int64_t columns = 0;
  std::int64_t rows = 0;    ///< of the table
  std::int64_t places = 0;  ///< of them, those that are met at once
  std::int64_t at = 0;      ///< where the places begin in a row of shared memory
  std::string first_row;    ///< text: the row of place 0
  std::string place;        ///< text: the place of own token `a` and token `other`
};

using PlaceTables = std::vector<PlaceTable>;

/// The tables of the scores that tokens of `of` meet, where blocks own tokens of `own` and meet so
/// many others at once.
PlaceTables score_tables(const Sdpa& sdpa, AttentionSide of, AttentionSide own, std::int64_t met);
/// relative_value, which cotangents meet, as a table of the queries.
PlaceTables value_tables(const Sdpa& sdpa, AttentionSide own, std::int64_t met);

/// What a block keeps in shared memory, in floats.
class GradientRoom {
 public:
  /// For all others at once where `shared_bytes` are enough, else for as many as they are for.
  GradientRoom(const Sdpa& sdpa, AttentionSide side, std::int64_t shared_bytes);

  std::int64_t met = 0;        ///< others that are met at once; 0 where there is no room
  bool is_whole = true;        ///< these are all
  std::int64_t all = 0;        ///< others, with those that fill up the last stretch
  std::int64_t others = 0;     ///< the same, with those that fill up a tile
  std::int64_t row = 0;        ///< from row to row of scores, and of their gradients
  std::int64_t place_row = 0;  ///< from row to row of places of own tokens
  std::int64_t other_row = 0;  ///< from row to row of places of 16 others, for each warp
  std::int64_t places = 0;     ///< room for either
  std::int64_t bytes = 0;      ///< of all
  // For stretches.
  std::int64_t row_sums = 0;  ///< of queries: the largest score, and the two sums
  std::int64_t totals = 0;    ///< gradients of own tokens

 private:
  /// Fills all in for `met`; returns the bytes.
  std::int64_t measure(const Sdpa& sdpa, AttentionSide side);
};

}  // namespace facet::cuda
