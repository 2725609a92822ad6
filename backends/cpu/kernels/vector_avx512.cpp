#include <utility>

#include "backends/cpu/kernels/vector.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include <immintrin.h>

namespace facet::cpu {
namespace {

constexpr int kLanes = 16;
#include "backends/cpu/kernels/vector_math.inc"
// The functions above come first: the loops are made of them.
#include "backends/cpu/kernels/vector_loops.inc"
#include "backends/cpu/kernels/vector_transpose.inc"
// The table comes last.
#include "backends/cpu/kernels/vector_table.inc"

__attribute__((target("avx512bf16"))) void narrow_bf16(const float* x, void* to, std::int64_t n) {
  auto* const y = static_cast<std::uint16_t*>(to);
  std::int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m512bh pair = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
    __builtin_memcpy(y + i, &pair, sizeof(pair));
  }
  for (; i < n; i += 16) {
    const std::int64_t left = n - i < 16 ? n - i : 16;
    const auto mask = static_cast<__mmask16>((1u << left) - 1);
    const __m256bh half = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x + i));
    _mm256_mask_storeu_epi16(y + i, mask, (__m256i)half);
  }
}

constexpr VectorLoops make_bf16_table() {
  VectorLoops table = make_table("avx512_bf16");
  table.narrow[static_cast<int>(Float::bf16)] = narrow_bf16;
  return table;
}

constexpr VectorLoops kTable = make_table("avx512");
constexpr VectorLoops kBf16Table = make_bf16_table();

}  // namespace

const VectorLoops* avx512_loops() { return &kTable; }
const VectorLoops* avx512_bf16_loops() { return &kBf16Table; }

}  // namespace facet::cpu
#else
namespace facet::cpu {

const VectorLoops* avx512_loops() { return nullptr; }
const VectorLoops* avx512_bf16_loops() { return nullptr; }

}  // namespace facet::cpu
#endif
