#include "backends/cpu/kernels/winograd_loops.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

#include <algorithm>
#include <utility>

namespace facet::cpu {
namespace {

#include "backends/cpu/kernels/lanes_avx2.inc"
// What the loops are made of comes first.
#include "backends/cpu/kernels/winograd_loops.inc"

constexpr WinogradLoops kLoops = make_winograd_loops<F32>("avx2", LargestTiles{});

}  // namespace

const WinogradLoops* winograd_loops_avx2() { return &kLoops; }

}  // namespace facet::cpu
#else
namespace facet::cpu {

const WinogradLoops* winograd_loops_avx2() { return nullptr; }

}  // namespace facet::cpu
#endif
