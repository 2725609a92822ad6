#include <utility>

#include "backends/cpu/kernels/gate_loops.h"

namespace facet::cpu {
namespace {

constexpr int kLanes = 4;
#include "backends/cpu/kernels/vector_math.inc"
// The functions above come first: the loops are made of them.
#include "backends/cpu/kernels/vector_loops.inc"
// And the gate's of those.
#include "backends/cpu/kernels/gate_loops.inc"

constexpr GateLoops kTable = make_gate_table("baseline");

}  // namespace

const GateLoops* baseline_gate_loops() { return &kTable; }

}  // namespace facet::cpu
