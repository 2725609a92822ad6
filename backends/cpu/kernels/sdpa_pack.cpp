#include "backends/cpu/kernels/sdpa_pack.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/kernels/convert.h"

namespace facet::cpu {
namespace {

/// Rows and channels of the piece that is worked on at once.
constexpr std::int64_t kRows = 16;
constexpr std::int64_t kChannels = 64;

bool is_inside(const PackSource& from, std::int64_t row) { return row >= 0 && row < from.rows; }

/// Whether rows are neighbours in memory, so that columns are read and turned.
bool reads_columns(const PackSource& from) {
  return from.row == 1 && from.channel != 1 && from.line_rows >= from.rows;
}

/// tile[r * tile_row + c] for `rows` rows from `row` on, no more than kRows, and channels
/// first..end, no more than kChannels where rows are neighbours.
void load_tile(const PackSource& from, std::int64_t row, std::int64_t rows, std::int64_t first,
               std::int64_t end, float* tile, std::int64_t tile_row) {
  if (reads_columns(from) && is_inside(from, row) && is_inside(from, row + rows - 1)) {
    float columns[kChannels * kRows];
    for (std::int64_t c = first; c < end; ++c) {
      load_floats(from.type, from.at(row, c), 1, columns + (c - first) * kRows, rows);
    }
    return vector_loops().transpose32(columns, kRows, tile, tile_row, end - first, rows);
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    float* const to = tile + r * tile_row;
    if (is_inside(from, row + r)) {
      load_floats(from.type, from.at(row + r, first), from.channel, to, end - first);
    } else {
      std::fill(to, to + (end - first), 0.0f);
    }
  }
}

void copy_channels(const std::uint16_t* from, std::int64_t step, std::uint16_t* to,
                   std::int64_t count) {
  if (step == 1) {
    std::memcpy(to, from, static_cast<std::size_t>(2 * count));
  } else if (step == 2) {  // of an interleaved value, for the compiler's vectors
    for (std::int64_t c = 0; c < count; ++c) to[c] = from[2 * c];
  } else {
    for (std::int64_t c = 0; c < count; ++c) to[c] = from[step * c];
  }
}

/// load_tile in bf16; channels behind `end` up to `padded` are zeros. No more than kChannels.
void load_bf16_tile(const PackSource& from, std::int64_t row, std::int64_t rows, std::int64_t first,
                    std::int64_t end, std::uint16_t* tile, std::int64_t tile_row,
                    std::int64_t padded) {
  const bool copies = from.type == Float::bf16 && !reads_columns(from);
  float floats[kRows * kChannels];
  if (!copies) load_tile(from, row, rows, first, end, floats, kChannels);
  for (std::int64_t r = 0; r < rows; ++r) {
    std::uint16_t* const to = tile + r * tile_row;
    if (!copies) {
      store_floats(Float::bf16, floats + r * kChannels, reinterpret_cast<std::byte*>(to), 1,
                   end - first);
    } else if (is_inside(from, row + r)) {
      copy_channels(reinterpret_cast<const std::uint16_t*>(from.at(row + r, first)), from.channel,
                    to, end - first);
    } else {
      std::fill(to, to + (end - first), std::uint16_t{0});
    }
    std::fill(to + (end - first), to + padded, std::uint16_t{0});
  }
}

/// pairs[p * pairs_row + c] = rows `row` + 2p and `row` + 2p + 1 of channel first + c; behind an
/// odd last row stand zeros. No more than kRows and kChannels.
void load_pairs(const PackSource& from, std::int64_t row, std::int64_t rows, std::int64_t first,
                std::int64_t end, std::uint32_t* pairs, std::int64_t pairs_row) {
  std::uint16_t tile[kRows * kChannels];
  load_bf16_tile(from, row, rows, first, end, tile, kChannels, end - first);
  if (rows % 2 != 0) std::fill_n(tile + rows * kChannels, end - first, std::uint16_t{0});
  for (std::int64_t r = 0; r < rows; r += 2, pairs += pairs_row) {
    const std::uint16_t* const low = tile + r * kChannels;
    const std::uint16_t* const high = low + kChannels;
    for (std::int64_t c = 0; c < end - first; ++c) {
      pairs[c] = low[c] | static_cast<std::uint32_t>(high[c]) << 16;
    }
  }
}

/// Calls act(row, rows, first channel, end channel) for every piece.
template <class Act>
void for_each_tile(const PackSource& from, std::int64_t begin, std::int64_t end, const Act& act) {
  for (std::int64_t row = begin; row < end; row += kRows) {
    for (std::int64_t c = 0; c < from.channels; c += kChannels) {
      act(row, std::min(kRows, end - row), c, std::min(c + kChannels, from.channels));
    }
  }
}

}  // namespace

const std::byte* PackSource::at(std::int64_t r, std::int64_t c) const {
  const std::int64_t lines = r < line_rows ? 0 : r / line_rows;
  return data + (lines * (line - line_rows * row) + r * row + c * channel) * size_of(type);
}

void pack_rows(const PackSource& from, std::int64_t begin, std::int64_t end, float* to,
               std::int64_t to_row) {
  if (reads_columns(from)) {
    for_each_tile(from, begin, end, [&](auto row, auto rows, auto first, auto last) {
      load_tile(from, row, rows, first, last, to + (row - begin) * to_row + first, to_row);
    });
  } else {
    for (std::int64_t row = begin; row < end; row += kRows) {
      load_tile(from, row, std::min(kRows, end - row), 0, from.channels,
                to + (row - begin) * to_row, to_row);
    }
  }
  for (std::int64_t r = 0; r < end - begin; ++r) {
    std::fill(to + r * to_row + from.channels, to + (r + 1) * to_row, 0.0f);
  }
}

void pack_bf16_rows(const PackSource& from, std::int64_t begin, std::int64_t end, std::uint16_t* to,
                    std::int64_t to_row) {
  for_each_tile(from, begin, end, [&](auto row, auto rows, auto first, auto last) {
    const std::int64_t padded = last == from.channels ? to_row - first : last - first;
    load_bf16_tile(from, row, rows, first, last, to + (row - begin) * to_row + first, to_row,
                   padded);
  });
}

void pack_columns(const PackSource& from, std::int64_t begin, std::int64_t end, float* to,
                  std::int64_t to_row) {
  if (reads_columns(from) && begin >= 0) {
    const std::int64_t count = std::max<std::int64_t>(std::min(end, from.rows) - begin, 0);
    for (std::int64_t c = 0; c < from.channels; ++c) {
      float* const column = to + c * to_row;
      if (count > 0) load_floats(from.type, from.at(begin, c), 1, column, count);
      std::fill(column + count, column + end - begin, 0.0f);
    }
    return;
  }
  float tile[kRows * kChannels];
  for_each_tile(from, begin, end, [&](auto row, auto rows, auto first, auto last) {
    load_tile(from, row, rows, first, last, tile, kChannels);
    vector_loops().transpose32(tile, kChannels, to + first * to_row + row - begin, to_row, rows,
                               last - first);
  });
}

void pack_pair_columns(const PackSource& from, std::int64_t begin, std::int64_t end,
                       std::uint32_t* to, std::int64_t to_row) {
  alignas(4) std::uint16_t tile[kRows * kChannels];
  for_each_tile(from, begin, end, [&](auto row, auto rows, auto first, auto last) {
    const std::int64_t pairs = (last - first + 1) / 2;
    load_bf16_tile(from, row, rows, first, last, tile, kChannels, 2 * pairs);
    vector_loops().transpose32(tile, kChannels / 2, to + first / 2 * to_row + row - begin, to_row,
                               rows, pairs);
  });
}

void pack_bf16_columns(const PackSource& from, std::int64_t begin, std::int64_t end,
                       std::uint32_t* to, std::int64_t to_row) {
  std::uint32_t pairs[kRows / 2 * kChannels];
  for_each_tile(from, begin, end, [&](auto row, auto rows, auto first, auto last) {
    load_pairs(from, row, rows, first, last, pairs, kChannels);
    vector_loops().transpose32(pairs, kChannels, to + first * to_row + (row - begin) / 2, to_row,
                               (rows + 1) / 2, last - first);
  });
}

void pack_pair_rows(const PackSource& from, std::int64_t begin, std::int64_t end, std::uint32_t* to,
                    std::int64_t to_row) {
  for_each_tile(from, begin, end, [&](auto row, auto rows, auto first, auto last) {
    std::uint32_t* const pairs = to + (row - begin) / 2 * to_row;
    load_pairs(from, row, rows, first, last, pairs + first, to_row);
    if (last != from.channels) return;
    for (std::int64_t p = 0; p < (rows + 1) / 2; ++p) {
      std::fill(pairs + p * to_row + last, pairs + (p + 1) * to_row, 0u);
    }
  });
}

}  // namespace facet::cpu
