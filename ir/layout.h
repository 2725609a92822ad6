#pragma once

#include <cstdint>
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

/// Whether two stride vectors address the same elements: axes of extent 1 do not count.
bool same_strides(const std::vector<std::int64_t>& extents, const std::vector<std::int64_t>& a,
                  const std::vector<std::int64_t>& b);

}  // namespace facet
