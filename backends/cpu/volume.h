#pragma once

#include "backends/cpu/compute.h"

/// conv3d and its gradients on oneDNN, row-major in and out: what oneDNN wants in blocks is copied
/// there on every run. All functions are safe from several threads.
namespace facet::cpu {

bool is_volume(const Node& node);
/// Null where oneDNN has no implementation. Throws Error(failure).
std::unique_ptr<Kernel> lower_volume(Device& device, const Node& node,
                                     std::span<const View> operands, const View& result);

}  // namespace facet::cpu
