#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/sdpa_loops.h"
#include "backends/cpu/kernels/sdpa_pack.h"

namespace facet::cpu {

/// What the products of sdpa_loops.h multiply: f32, or bf16 in pairs. A left factor has rows of
/// elements, each with zeros up to whole pairs; a right factor has rows of words, one for each
/// element of the depth, or for each pair. Buffers count 4-byte words.
struct SdpaFactors {
  const SdpaLoops* loops = nullptr;
  bool pairs = false;

  std::int64_t pair() const { return pairs ? 2 : 1; }
  /// Words of `elements` in a row of a left factor, and rows of a right one for that depth.
  std::int64_t words(std::int64_t elements) const { return (elements + pair() - 1) / pair(); }
  /// `elements` rounded up to whole words.
  std::int64_t whole(std::int64_t elements) const { return words(elements) * pair(); }
  /// Element `i` of a left factor.
  void* element(float* left, std::int64_t i) const {
    return reinterpret_cast<std::byte*>(left) + i * (pairs ? 2 : 4);
  }

  /// As Product, the depth in elements, the columns up to whole panels.
  struct Matrices {
    const void* left = nullptr;
    std::int64_t left_row = 0;  ///< elements
    const float* right = nullptr;
    std::int64_t right_row = 0;  ///< words
    float* to = nullptr;
    std::int64_t to_row = 0;
  };
  void multiply(const Matrices& m, std::int64_t rows, std::int64_t columns, std::int64_t depth,
                bool adds = false) const {
    const std::int64_t whole_columns = (columns + kPanel - 1) / kPanel * kPanel;
    (pairs ? loops->pair_product
           : loops->product)({m.left, m.left_row, m.right, m.right_row, m.to, m.to_row, rows,
                              whole_columns, words(depth), adds});
  }

  /// Rows begin..end of the source as rows of a left factor, `to_row` elements apart.
  void left_rows(const PackSource& from, std::int64_t begin, std::int64_t end, float* to,
                 std::int64_t to_row) const {
    if (!pairs) return pack_rows(from, begin, end, to, to_row);
    pack_bf16_rows(from, begin, end, reinterpret_cast<std::uint16_t*>(to), to_row);
  }
  /// The same turned: the channels are the rows of the left factor.
  void left_columns(const PackSource& from, std::int64_t begin, std::int64_t end, float* to,
                    std::int64_t to_row) const {
    if (!pairs) return pack_columns(from, begin, end, to, to_row);
    pack_bf16_columns(from, begin, end, reinterpret_cast<std::uint32_t*>(to), to_row / 2);
  }
  /// Rows begin..end as the depth of a right factor, `to_row` words apart.
  void right_rows(const PackSource& from, std::int64_t begin, std::int64_t end, float* to,
                  std::int64_t to_row) const {
    if (!pairs) return pack_rows(from, begin, end, to, to_row);
    pack_pair_rows(from, begin, end, reinterpret_cast<std::uint32_t*>(to), to_row);
  }
  /// The same turned: the channels are the depth.
  void right_columns(const PackSource& from, std::int64_t begin, std::int64_t end, float* to,
                     std::int64_t to_row) const {
    if (!pairs) return pack_columns(from, begin, end, to, to_row);
    pack_pair_columns(from, begin, end, reinterpret_cast<std::uint32_t*>(to), to_row);
  }
};

}  // namespace facet::cpu
