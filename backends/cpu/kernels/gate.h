#pragma once

#include <memory>
#include <span>

#include "backends/backend.h"
#include "backends/cpu/kernels/gate_loops.h"
#include "ir/gate.h"

namespace facet::cpu {

/// lower_gate with the loops of one instruction set, for tests.
std::unique_ptr<Kernel> lower_gate(const Node& node, std::span<const View> operands,
                                   std::span<const View> results, const GateLoops& loops);

/// Work of all images below which a second thread costs more than it gives.
inline constexpr std::int64_t kAloneBelow = 48 * 1024;

/// Extents of the padded maps of the stage window; no addresses.
GateWindow gate_window_shape(const Gate& gate);

}  // namespace facet::cpu
