#include <utility>

#include "backends/cpu/kernels/vector.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

namespace facet::cpu {
namespace {

constexpr int kLanes = 8;
#include "backends/cpu/kernels/vector_math.inc"
// The functions above come first: the loops are made of them.
#include "backends/cpu/kernels/vector_loops.inc"
#include "backends/cpu/kernels/vector_transpose.inc"
// The table comes last.
#include "backends/cpu/kernels/vector_table.inc"

constexpr VectorLoops kTable = make_table("avx2");

}  // namespace

const VectorLoops* avx2_loops() { return &kTable; }

}  // namespace facet::cpu
#else
namespace facet::cpu {

const VectorLoops* avx2_loops() { return nullptr; }

}  // namespace facet::cpu
#endif
