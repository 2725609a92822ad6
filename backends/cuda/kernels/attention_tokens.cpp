#include "backends/cuda/kernels/attention_tokens.h"

#include <fmt/format.h>

#include <numeric>

#include "backends/cuda/kernels/loops.h"
#include "ir/error.h"

namespace facet::cuda {

Tokens tokens_of(const Sdpa& s, const View& view) {
  const std::vector<std::int64_t>& strides = view.strides;
  const std::vector<std::int64_t> extents = static_extents(view.type.shape);
  const auto refuse = [&] {
    return failure(fmt::format("the GPU attends to tokens whose channels are side by side, not {}",
                               to_string(view.type)));
  };
  if (strides.size() != extents.size()) throw refuse();
  const std::size_t channel = s.channels_last ? extents.size() - 1 : 1;
  if (extents[channel] > 1 && strides[channel] != 1) throw refuse();
  if (s.channels_last) return {view.type.dtype, strides[0], strides[1]};
  if (extents.size() == 3) return {view.type.dtype, strides[0], strides[2]};
  const std::int64_t token = extents[3] > 1 ? strides[3] : strides[2];
  if (extents[2] > 1 && extents[3] > 1 && strides[2] != token * extents[3]) throw refuse();
  return {view.type.dtype, strides[0], token};
}

Layout tokens_first(const Sdpa& s, const Type& type) {
  return s.channels_last ? Layout{} : type.rank() == 4 ? Layout{"acdb"} : Layout{"acb"};
}

std::string four_text(std::string_view type, DType dtype, std::int64_t step, std::int64_t first,
                      std::string_view at, std::string_view left) {
  if (type_name(dtype) != type) {
    return fmt::format("facet::convert_four<{}>({}, {})", type, at, left);
  }
  return fmt::format("facet::load_four<{}>({}, {})", step % 4 == 0 && first % 4 == 0, at, left);
}

std::string table_four_text(std::string_view type, DType dtype, std::int64_t columns,
                            std::string_view name, std::string_view row,
                            std::string_view is_there) {
  return four_text(type, dtype, columns, 0,
                   fmt::format("{} + {} * ({}) + 16 * m + 4 * t", name, columns, row),
                   fmt::format("{} ? {} - 16 * m - 4 * t : 0", is_there, columns));
}

std::string token_four_text(std::string_view type, const Tokens& lie, const HeadChannels& head,
                            std::string_view name, std::string_view token,
                            std::string_view tokens) {
  const std::int64_t step = std::gcd(std::gcd(lie.token, lie.image), head.step);
  return four_text(type, lie.dtype, step, head.first,
                   fmt::format("{} + {}LL * ({}) + 16 * m + 4 * t", name, lie.token, token),
                   fmt::format("{} < {} ? {} - 16 * m - 4 * t : 0", token, tokens, head.size));
}

}  // namespace facet::cuda
