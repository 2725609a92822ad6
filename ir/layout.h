#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ir/type.h"

/// Bytes and strides of dense values, from type and layout tag alone. All functions need a static
/// shape and throw Error(usage) for a symbol that is left and for a tag that does not fit the
/// shape.
namespace facet {

/// Whether the layout has no strides: a block splits an axis ("aBcd16b"), or it is one of the two
/// that backends give to weights, "g4Abcde16a" (a tag over [groups, O/groups, C/groups, kh, kw]) and
/// "opaque4096x..." (4096 bytes that only the backend reads).
bool is_blocked(const Layout& layout);

/// Distance in elements between neighbours along each logical axis of a dense value: [C*H*W, 1,
/// W*C, C] for "acdb". Empty for a blocked layout, which is always dense.
std::vector<std::int64_t> dense_strides(const Type& type);

/// Bytes a dense value takes: the product of the extents, those with blocks rounded up to whole
/// blocks.
std::int64_t byte_size(const Type& type);

/// The strides along the axes of `to` that address the elements which `strides` address along those
/// of `from`, in row-major order of the axes: what a reshape reads where it moves nothing. 0 along
/// extents of 1. None where an axis of `to` would cross elements that do not lie in one row. A
/// symbolic extent must be an axis of both; all others are static.
std::optional<std::vector<std::int64_t>> reshaped_strides(const Shape& from,
                                                          const std::vector<std::int64_t>& strides,
                                                          const Shape& to);

/// The layout in which a dense value of shape `to` has the bytes of a dense value of type `from`:
/// "adbc" for [N, C, 2, H * W] from [N, 2 * C, H, W] in "acdb", "" (row-major) from any row-major
/// type. None where there is no such order of the axes, and for a blocked layout.
std::optional<Layout> reshaped_layout(const Type& from, const Shape& to);

/// Whether two stride vectors address the same elements: axes of extent 1 do not count.
bool same_strides(const std::vector<std::int64_t>& extents, const std::vector<std::int64_t>& a,
                  const std::vector<std::int64_t>& b);

}  // namespace facet
