#include <utility>

#include "backends/cpu/kernels/vector.h"

namespace facet::cpu {
namespace {

constexpr int kLanes = 4;
#include "backends/cpu/kernels/vector_math.inc"
// The functions above come first: the loops are made of them.
#include "backends/cpu/kernels/vector_loops.inc"
#include "backends/cpu/kernels/vector_transpose.inc"
// The table comes last.
#include "backends/cpu/kernels/vector_table.inc"

constexpr VectorLoops kTable = make_table("baseline");

}  // namespace

const VectorLoops* baseline_loops() { return &kTable; }

}  // namespace facet::cpu
