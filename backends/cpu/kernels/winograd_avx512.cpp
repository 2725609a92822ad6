#include "backends/cpu/kernels/winograd_loops.h"

#if defined(__AVX512F__)
#include <immintrin.h>

#include <algorithm>
#include <utility>

namespace facet::cpu {
namespace {

struct F32 {
  using Element = float;
  static constexpr int kPair = 1;
  static __m512 load(__mmask16 mask, const float* x) { return _mm512_maskz_loadu_ps(mask, x); }
  static void store(float* y, __mmask16 mask, __m512 v) { _mm512_mask_storeu_ps(y, mask, v); }
  static void load_pair(const float* x, __m512 (&v)[1]) { v[0] = _mm512_loadu_ps(x); }
  static void store_pair(float* y, const __m512 (&v)[1]) { _mm512_storeu_ps(y, v[0]); }
  static __m512 gather(__mmask16 mask, const float* weights, int tap) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i places = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(9));
    return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, places, weights + tap, 4);
  }
  static __m512 factors(const float* z) { return _mm512_loadu_ps(z); }
  static __m512 broadcast(const float* v) { return _mm512_set1_ps(*v); }
  static void add(__m512& sum, __m512 v, __m512 z) { sum = _mm512_fmadd_ps(v, z, sum); }
};

#include "backends/cpu/kernels/winograd_loops.inc"

constexpr WinogradLoops kLoops = make_winograd_loops<F32>("avx512");

}  // namespace

const WinogradLoops* winograd_loops_f32() { return &kLoops; }

}  // namespace facet::cpu
#else
namespace facet::cpu {

const WinogradLoops* winograd_loops_f32() { return nullptr; }

}  // namespace facet::cpu
#endif
