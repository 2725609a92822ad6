#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/vector.h"

/// Brings tokens and tables into the shapes that the products of sdpa_loops.h read: f32, or pairs
/// of bf16 in 32-bit words. Rows of the source before 0 and from `rows` on count as zeros.
namespace facet::cpu {

/// A matrix rows x channels in memory, steps in elements. Rows may lie in lines: row r is element r
/// % line_rows of line r / line_rows.
struct PackSource {
  Float type = Float::f32;
  const std::byte* data = nullptr;  ///< element [0, 0]
  std::int64_t rows = 0;
  std::int64_t channels = 0;
  std::int64_t channel = 1;
  std::int64_t row = 0;
  std::int64_t line = 0;
  std::int64_t line_rows = 1;

  const std::byte* at(std::int64_t r, std::int64_t c) const;
};

/// to[r * to_row + c] for rows begin..end of the source; channels up to to_row are zeros.
void pack_rows(const PackSource& from, std::int64_t begin, std::int64_t end, float* to,
               std::int64_t to_row);
/// The same in bf16.
void pack_bf16_rows(const PackSource& from, std::int64_t begin, std::int64_t end, std::uint16_t* to,
                    std::int64_t to_row);
/// to[c * to_row + r - begin], c < channels.
void pack_columns(const PackSource& from, std::int64_t begin, std::int64_t end, float* to,
                  std::int64_t to_row);
/// to[c * to_row + r - begin] = channels 2c and 2c + 1 of the row, 2c < channels; behind an odd
/// last channel stands a zero.
void pack_pair_columns(const PackSource& from, std::int64_t begin, std::int64_t end,
                       std::uint32_t* to, std::int64_t to_row);
/// to[c * to_row + p] = rows begin + 2p and begin + 2p + 1 of the channel, up to `end`: turned rows
/// of bf16.
void pack_bf16_columns(const PackSource& from, std::int64_t begin, std::int64_t end,
                       std::uint32_t* to, std::int64_t to_row);
/// to[p * to_row + c] = rows begin + 2p and begin + 2p + 1 of the channel, up to `end`; channels up
/// to to_row are zeros.
void pack_pair_rows(const PackSource& from, std::int64_t begin, std::int64_t end, std::uint32_t* to,
                    std::int64_t to_row);

}  // namespace facet::cpu
