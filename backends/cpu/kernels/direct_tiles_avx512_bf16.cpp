#include <algorithm>
#include <utility>

#include "backends/cpu/kernels/direct_tiles.h"

#if defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512BF16__)
#include <immintrin.h>

namespace facet::cpu {
namespace {

#include "backends/cpu/kernels/lanes_avx512.inc"

/// Two channels at once; products and sums are f32.
struct Bf16 {
  using Element = std::uint16_t;
  static constexpr std::int64_t kChannels = 2;
  static __m512bh broadcast(const std::uint16_t* x) {
    std::int32_t pair = 0;
    __builtin_memcpy(&pair, x, sizeof(pair));
    return (__m512bh)_mm512_set1_epi32(pair);
  }
  static __m512bh weights(const std::uint16_t* w) { return (__m512bh)_mm512_loadu_si512(w); }
  static void add(__m512& sum, __m512bh x, __m512bh w) { sum = _mm512_dpbf16_ps(sum, x, w); }
  static __m512 widen(const char* x, __mmask16 mask) {
    const __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
  }
  static void narrow(char* y, __mmask16 mask, __m512 sums) {
    const __m256bh rounded = _mm512_cvtneps_pbh(sums);
    _mm256_mask_storeu_epi16(y, mask, (__m256i)rounded);
  }
};

#include "backends/cpu/kernels/direct_tiles.inc"

constexpr DirectTiles kTiles = make_direct_tiles<Bf16>("avx512_bf16", LargestTiles{});

}  // namespace

const DirectTiles* direct_tiles_avx512_bf16() { return &kTiles; }

}  // namespace facet::cpu
#else
namespace facet::cpu {

const DirectTiles* direct_tiles_avx512_bf16() { return nullptr; }

}  // namespace facet::cpu
#endif
