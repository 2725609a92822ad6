#include "backends/cpu/kernels/winograd_loops.h"

#if defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512BF16__)
#include <immintrin.h>

#include <algorithm>
#include <utility>

namespace facet::cpu {
namespace {

#include "backends/cpu/kernels/lanes_avx512.inc"

/// The upper halves of f32 values; products take two of a lane at once.
struct Bf16 {
  using Element = std::uint16_t;
  static constexpr int kPair = 2;
  static __m512 upper(__m512i bits) {
    return _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(-0x10000)));
  }
  static __m512 lower(__m512i bits) { return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16)); }
  /// Elements 0, second, 1, second + 1, ... for a permutation.
  static __m512i turns(int second) {
    alignas(64) std::uint16_t places[32];
    for (int i = 0; i < 32; ++i) places[i] = static_cast<std::uint16_t>(i / 2 + i % 2 * second);
    return _mm512_load_si512(places);
  }
  static __m512 load(const std::uint16_t* x, __mmask16 mask) {
    return lower(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x)));
  }
  static void store(std::uint16_t* y, __m512 v) { store(y, v, 0xFFFF); }
  static void store(std::uint16_t* y, __m512 v, __mmask16 mask) {
    _mm256_mask_storeu_epi16(y, mask, (__m256i)_mm512_cvtneps_pbh(v));
  }
  static void load_pair(const std::uint16_t* x, __m512 (&v)[2]) {
    const __m512i bits = _mm512_loadu_si512(x);
    v[0] = lower(bits);
    v[1] = upper(bits);
  }
  static void store_pair(std::uint16_t* y, const __m512 (&v)[2]) {
    _mm512_storeu_si512(y, _mm512_permutexvar_epi16(turns(16), narrow(v[0], v[1])));
  }
  /// Channels of a register: the even ones are the lower halves of its lanes, the odd ones the
  /// upper.
  static constexpr std::int64_t kHalves = 32;
  using Narrow = __m512i;
  static __m512 even(const std::uint16_t* x) { return lower(_mm512_loadu_si512(x)); }
  static __m512 odd(const std::uint16_t* x) { return upper(_mm512_loadu_si512(x)); }
  /// 16 values of a, then 16 of b.
  static __m512i narrow(__m512 a, __m512 b) { return (__m512i)_mm512_cvtne2ps_pbh(b, a); }
  /// Of a and of b, narrowed together: the even channels and the odd ones in turns.
  static void store_halves(std::uint16_t* a, std::uint16_t* b, __m512i even, __m512i odd) {
    const __m512i first = turns(32);
    const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    _mm512_storeu_si512(a, _mm512_permutex2var_epi16(even, first, odd));
    _mm512_storeu_si512(b, _mm512_permutex2var_epi16(even, second, odd));
  }
  static void join(const void* const* x, std::int64_t at, __mmask16 mask, __mmask16 second,
                   std::uint16_t* y) {
    const auto wide = [&](int i, __mmask16 lanes) __attribute__((always_inline)) {
      const auto* const from = static_cast<const std::uint16_t*>(x[i]) + at;
      return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, from));
    };
    const __m512i high = _mm512_slli_epi32(wide(1, second), 16);
    _mm512_storeu_si512(y, _mm512_or_si512(wide(0, mask), high));
  }
  /// Four bytes are read for each element: with its neighbour under the window's taps, so that none
  /// lies outside of the weights.
  static __m512 gather(const std::uint16_t* x, int step, int tap, __mmask16 mask) {
    const std::uint16_t* const from = x + (tap == 0 ? 0 : tap - 1);
    const __m512i bits =
        _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), mask, places_of(step), from, 2);
    return tap == 0 ? lower(bits) : upper(bits);
  }
  static __m512bh factors(const std::uint16_t* z) { return (__m512bh)_mm512_loadu_si512(z); }
  static __m512bh broadcast(const std::uint16_t* v) {
    std::int32_t pair = 0;
    __builtin_memcpy(&pair, v, sizeof(pair));
    return (__m512bh)_mm512_set1_epi32(pair);
  }
  static void add(__m512& sum, __m512bh v, __m512bh z) { sum = _mm512_dpbf16_ps(sum, v, z); }
};

#include "backends/cpu/kernels/winograd_loops.inc"

constexpr WinogradLoops kLoops = make_winograd_loops<Bf16>("avx512_bf16", LargestTiles{});

}  // namespace

const WinogradLoops* winograd_loops_avx512_bf16() { return &kLoops; }

}  // namespace facet::cpu
#else
namespace facet::cpu {

const WinogradLoops* winograd_loops_avx512_bf16() { return nullptr; }

}  // namespace facet::cpu
#endif
