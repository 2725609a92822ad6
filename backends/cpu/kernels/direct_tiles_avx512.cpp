#include <algorithm>
#include <utility>

#include "backends/cpu/kernels/direct_tiles.h"

#if defined(__AVX512F__)
#include <immintrin.h>

namespace facet::cpu {
namespace {

#include "backends/cpu/kernels/lanes_avx512.inc"
// What the loops are made of comes first.
#include "backends/cpu/kernels/direct_tiles.inc"

constexpr DirectTiles kTiles = make_direct_tiles<F32>("avx512", LargestTiles{});

}  // namespace

const DirectTiles* direct_tiles_avx512() { return &kTiles; }

}  // namespace facet::cpu
#else
namespace facet::cpu {

const DirectTiles* direct_tiles_avx512() { return nullptr; }

}  // namespace facet::cpu
#endif
