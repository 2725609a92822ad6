#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "backends/backend.h"
#include "ir/sdpa.h"

/// How kernels of attention read tokens, as text. A lane of a warp takes four neighbouring channels
/// of a token for a product of tensor cores (`multiply` of the prelude), 16 * m + 4 * t and on.
namespace facet::cuda {

inline std::int64_t rounded_up(std::int64_t x, std::int64_t to) { return (x + to - 1) / to * to; }

/// Where the tokens of one operand or result lie.
struct Tokens {
  DType dtype = DType::f32;
  std::int64_t image = 0, token = 0;  ///< strides in elements; channels are side by side
};

/// Throws Error(failure) for a view whose channels are not side by side.
Tokens tokens_of(const Sdpa& sdpa, const View& view);

/// The layout of such a type [N, C, K] or [N, C, H, W], or of one [N, K, C].
Layout tokens_first(const Sdpa& sdpa, const Type& type);

/// Four elements from `at` on, of which `left` are there, converted to `type` where they are of
/// another. `step` and `first` are what `at` moves in steps of and begins with.
std::string four_text(std::string_view type, DType dtype, std::int64_t step, std::int64_t first,
                      std::string_view at, std::string_view left);

/// Four channels of row `row` of a dense table of `columns`, zeros where `is_there` does not hold.
std::string table_four_text(std::string_view type, DType dtype, std::int64_t columns,
                            std::string_view name, std::string_view row, std::string_view is_there);

/// Four channels of token number `token` of `tokens`; `name` points at the head's first channel of
/// the image.
std::string token_four_text(std::string_view type, const Tokens& lie, const HeadChannels& head,
                            std::string_view name, std::string_view token, std::string_view tokens);

}  // namespace facet::cuda
