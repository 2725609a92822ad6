#pragma once

#include <cstdint>
#include <string>

#include "runtime/formats/onnx/node_reader.h"

/// Compositions along one axis, counted from the front. An extent they change must not be a symbol.
namespace facet::onnx_import {

/// The extent of an axis. Throws Unsupported, saying `what`, for a symbol.
std::int64_t fixed_extent(const NodeReader& node, Value x, std::int64_t axis, std::string_view what);
/// Elements ahead and behind: `value`, or what another mode of the op `pad` takes of x; negative counts
/// cut off, ahead of the padding. `x` itself for none.
Value pad_axis(NodeReader& node, Value x, std::int64_t axis, std::int64_t before, std::int64_t after,
               const std::string& mode = "constant", double value = 0);
/// Elements start, start + step, ... of an axis, `count` >= 1 of them, all within it; `step` may be
/// negative. `x` itself for the whole axis.
Value slice_axis(NodeReader& node, Value x, std::int64_t axis, std::int64_t start,
                 std::int64_t count, std::int64_t step = 1);
Value reverse_axis(NodeReader& node, Value x, std::int64_t axis);
/// `parts` side by side; the only one itself.
Value concat_axis(NodeReader& node, std::vector<Value> parts, std::int64_t axis);

}  // namespace facet::onnx_import
