#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/sdpa.h"

/// Which rows of tables the kernels of attention's gradient meet, and the shared memory that this
/// takes. A block has 16 tokens of one side of the scores, its own, and meets all of the other.
namespace facet::cuda {

inline constexpr std::int64_t kOwnTokens = 16;
inline constexpr std::int64_t kGradientWarps = 4;

enum class AttentionSide { queries, keys };

/// Rows of a table of places that pairs of tokens meet, numbered from 0 within a block's own tokens
/// and all others, or within these and 16 others.
struct PlaceTable {
  enum class Kind { distance, height, width } kind = Kind::distance;
  int operand = -1;
  int result = -1;
  std::string name;
  std::int64_t columns = 0;
  std::int64_t rows = 0;    ///< of the table
  std::int64_t places = 0;  ///< of them, those that one block meets
  std::int64_t at = 0;      ///< where the places begin in a row of shared memory
  std::string first_row;    ///< text: the row of place 0
  std::string place;        ///< text: the place of own token `a` and token `other`
};

using PlaceTables = std::vector<PlaceTable>;

/// The tables of the scores that tokens of `of` meet, where blocks own tokens of `own`.
PlaceTables score_tables(const Sdpa& sdpa, AttentionSide of, AttentionSide own);
/// relative_value, which cotangents meet, as a table of the queries.
PlaceTables value_tables(const Sdpa& sdpa, AttentionSide own);

/// What a block keeps in shared memory, in floats.
struct GradientRoom {
  GradientRoom(const Sdpa& sdpa, AttentionSide side);

  std::int64_t others = 0;     ///< tokens of the other side, with those that fill up a tile
  std::int64_t row = 0;        ///< from row to row of scores, and of their gradients
  std::int64_t place_row = 0;  ///< from row to row of places of own tokens
  std::int64_t other_row = 0;  ///< from row to row of places of 16 others, for each warp
  std::int64_t places = 0;     ///< room for either
  std::int64_t bytes = 0;
};

}  // namespace facet::cuda
