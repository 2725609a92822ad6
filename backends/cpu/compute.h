#pragma once

#include <memory>

#include "backends/cpu/primitive_kernel.h"
#include "backends/cpu/recipe.h"

/// conv, linear, matmul and reorder on oneDNN. All functions are safe from several threads.
namespace facet::cpu {

/// What all kernels of a backend share.
struct Device {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  TagTable tags;
  PrimitiveCache cache;
};

bool is_compute(const Node& node);

/// Whether oneDNN multiplies matrices of this dtype on this processor.
bool multiplies(const Device& device, DType dtype);
/// Whether some oneDNN primitive runs the node in some layout; with an epilogue, a fast one.
bool supports_compute(Device& device, const Node& node);
bool accepts_epilogue(Device& device, const Node& node, std::string_view entry, const Type* extra);
LayoutChoice choose_compute_layouts(Device& device, const Node& node);
/// Whether a conv that could run direct is faster as a primitive: its weights are trained, so
/// batches are large, and oneDNN skips the padding, which the direct convolution multiplies; no
/// slice may come of it, which only the direct one reads and writes, and no window that Winograd's
/// algorithm makes cheaper.
bool prefers_primitive(Device& device, const Node& node);
/// Whether the node in its present layouts is as fast when operand (or result) `index` has gaps
/// between its rows of channels.
bool computes_on_slice(Device& device, const Node& node, bool is_result, int index);

/// In the given layouts where oneDNN is fast in them; else operands and results are copied to and
/// from the layouts it wants on every run. Throws Error(failure).
std::unique_ptr<Kernel> lower_compute(Device& device, const Node& node,
                                      std::span<const View> operands, const View& result);
/// A copy into another layout, dtype or stride. Throws Error(failure).
std::unique_ptr<Kernel> lower_reorder(Device& device, const Node& node, const View& operand,
                                      const View& result);

}  // namespace facet::cpu
