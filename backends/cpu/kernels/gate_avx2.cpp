#include <utility>

#include "backends/cpu/kernels/gate_loops.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

namespace facet::cpu {
namespace {

constexpr int kLanes = 8;
#include "backends/cpu/kernels/vector_math.inc"
// The functions above come first: the loops are made of them.
#include "backends/cpu/kernels/vector_loops.inc"
// And the gate's of those.
#include "backends/cpu/kernels/gate_loops.inc"

constexpr GateLoops kTable = make_gate_table("avx2");

}  // namespace

const GateLoops* avx2_gate_loops() { return &kTable; }

}  // namespace facet::cpu
#else
namespace facet::cpu {

const GateLoops* avx2_gate_loops() { return nullptr; }

}  // namespace facet::cpu
#endif
