#include <utility>

#include "backends/cpu/kernels/direct_tiles.h"

#if defined(__AVX512F__)
#include <immintrin.h>

namespace facet::cpu {
namespace {

struct F32 {
  using Element = float;
  static constexpr std::int64_t kChannels = 1;
  static __m512 broadcast(const float* x) { return _mm512_set1_ps(*x); }
  static __m512 weights(const float* w) { return _mm512_loadu_ps(w); }
  static void add(__m512& sum, __m512 x, __m512 w) { sum = _mm512_fmadd_ps(x, w, sum); }
  static __m512 widen(const char* x, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, x); }
  static void narrow(char*, __mmask16, __m512) {}  // f32 stays f32
};

#include "backends/cpu/kernels/direct_tiles.inc"

constexpr DirectTiles kTiles = make_direct_tiles<F32>("avx512");

}  // namespace

const DirectTiles* direct_tiles_f32() { return &kTiles; }

}  // namespace facet::cpu
#else
namespace facet::cpu {

const DirectTiles* direct_tiles_f32() { return nullptr; }

}  // namespace facet::cpu
#endif
