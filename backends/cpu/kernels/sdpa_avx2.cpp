#include <utility>

#include "backends/cpu/kernels/sdpa_loops.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

namespace facet::cpu {
namespace {

constexpr int kLanes = 8;
#include "backends/cpu/kernels/vector_math.inc"
// The functions above come first: the loops are made of them.
#include "backends/cpu/kernels/vector_loops.inc"
constexpr int kTileRows = 6, kTileVectors = 2, kBlockRows = 12;
// The tile above comes first.
#include "backends/cpu/kernels/sdpa_loops.inc"

constexpr SdpaLoops kTable = make_sdpa_table("avx2");

}  // namespace

const SdpaLoops* avx2_sdpa_loops() { return &kTable; }

}  // namespace facet::cpu
#else
namespace facet::cpu {

const SdpaLoops* avx2_sdpa_loops() { return nullptr; }

}  // namespace facet::cpu
#endif
