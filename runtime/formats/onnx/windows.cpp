#include "runtime/formats/onnx/windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace facet::onnx_import {
namespace {

Ints per_axis(const NodeReader& node, std::string_view attribute, std::size_t axes,
              std::int64_t least) {
  const Ints values = node.ints(attribute, Ints(axes, 1));
  const bool fits = values.size() == axes && std::ranges::all_of(values, [&](std::int64_t v) {
                      return v >= least && v <= std::numeric_limits<std::int32_t>::max();
                    });
  if (!fits) {
    node.unsupported(fmt::format("{} must be {} numbers from {} to 2^31", attribute, axes, least));
  }
  return values;
}

/// SAME padding: as many windows as strides fit into the extent; an odd cell goes behind (UPPER) or
/// ahead (LOWER).
void pad_same(const NodeReader& node, bool upper, Windows& windows) {
  const Shape shape = node.shape(0);
  for (std::size_t i = 0; i < windows.kernel.size(); ++i) {
    const Dim& extent = shape[i + 2];
    if (!extent.is_static())
      node.unsupported("auto_pad with the dynamic extent " + to_string(extent));
    const std::int64_t count = (extent.factor + windows.strides[i] - 1) / windows.strides[i];
    const std::int64_t reach = windows.dilations[i] * (windows.kernel[i] - 1) + 1;
    const std::int64_t pad =
        std::max<std::int64_t>((count - 1) * windows.strides[i] + reach - extent.factor, 0);
    windows.before[i] = upper ? pad / 2 : pad - pad / 2;
    windows.after[i] = pad - windows.before[i];
  }
}

}  // namespace

Ints Windows::pads() const {
  Ints all = before;
  all.insert(all.end(), after.begin(), after.end());
  return all;
}

bool Windows::is_padded() const {
  return std::ranges::any_of(pads(), [](std::int64_t pad) { return pad != 0; });
}

Windows read_windows(const NodeReader& node, Ints kernel) {
  if (node.rank(0) < 3)
    node.unsupported("its input must be [N, C, ...], not " + to_string(node.type(0)));
  const auto axes = static_cast<std::size_t>(node.rank(0) - 2);
  Windows windows;
  windows.kernel =
      kernel.empty() || node.has("kernel_shape") ? per_axis(node, "kernel_shape", axes, 1) : kernel;
  if (!kernel.empty() && kernel != windows.kernel)
    node.unsupported("kernel_shape differs from the weight");
  windows.strides = per_axis(node, "strides", axes, 1);
  windows.dilations = per_axis(node, "dilations", axes, 1);
  windows.before = windows.after = Ints(axes, 0);
  const std::string automatic = node.text("auto_pad", "NOTSET");
  if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    pad_same(node, automatic == "SAME_UPPER", windows);
  } else if (automatic == "NOTSET") {
    const Ints pads = node.ints("pads", Ints(2 * axes, 0));
    if (pads.size() != 2 * axes) node.unsupported(fmt::format("pads must be {} numbers", 2 * axes));
    std::copy_n(pads.begin(), axes, windows.before.begin());
    std::copy_n(pads.end() - static_cast<std::ptrdiff_t>(axes), axes, windows.after.begin());
  } else if (automatic != "VALID") {
    node.unsupported(fmt::format("auto_pad '{}'", automatic));
  }
  return windows;
}

}  // namespace facet::onnx_import
