#include <utility>

#include "backends/cpu/kernels/sdpa_loops.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include <immintrin.h>

namespace facet::cpu {
namespace {

constexpr int kLanes = 16;
#include "backends/cpu/kernels/vector_math.inc"
// The functions above come first: the loops are made of them.
#include "backends/cpu/kernels/vector_loops.inc"
// 28 sums, 2 vectors of b and one of a fill the registers.
constexpr int kTileRows = 14, kTileVectors = 2, kBlockRows = 14;
// The tile above comes first.
#include "backends/cpu/kernels/sdpa_loops.inc"

/// Products of pairs of bf16.
struct Tile16 {
  using Element = std::uint16_t;
  using Entry = std::uint32_t;

  template <int kRows, int kVectors>
  __attribute__((target("avx512bf16"))) static void run(const std::uint16_t* a, std::int64_t a_row,
                                                        const std::uint32_t* b, std::int64_t b_row,
                                                        float* c, std::int64_t c_row,
                                                        std::int64_t depth, bool adds) {
    __m512 sum[kRows][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        sum[r][v] = adds ? _mm512_loadu_ps(c + r * c_row + v * kLanes) : _mm512_setzero_ps();
      }
    }
    for (std::int64_t k = 0; k < depth; ++k) {
      __m512i right[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) right[v] = _mm512_loadu_si512(b + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        int pair;
        __builtin_memcpy(&pair, a + r * a_row + 2 * k, sizeof(pair));
        const __m512i left = _mm512_set1_epi32(pair);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          sum[r][v] = _mm512_dpbf16_ps(sum[r][v], (__m512bh)left, (__m512bh)right[v]);
        }
      }
      b += b_row;
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(c + r * c_row + v * kLanes, sum[r][v]);
    }
  }
};

using Halves = std::uint16_t __attribute__((vector_size(2 * kLanes)));

/// low[l] | high[l] << 16.
void store_pairs(Halves low, Halves high, std::uint32_t* to) {
  const Full::Bits pairs =
      __builtin_convertvector(low, Full::Bits) | __builtin_convertvector(high, Full::Bits) << 16;
  __builtin_memcpy(to, &pairs, sizeof(pairs));
}

__attribute__((target("avx512bf16"))) void join_floats(const float* low, const float* high,
                                                       std::uint32_t* to, std::int64_t count) {
  for (std::int64_t j = 0; j < count; j += kLanes) {
    const auto lower = (Halves)_mm512_cvtneps_pbh((__m512)Full::load(low + j));
    const __m512 second = high != nullptr ? (__m512)Full::load(high + j) : __m512{};
    store_pairs(lower, (Halves)_mm512_cvtneps_pbh(second), to + j);
  }
}

void join_bf16(const std::uint16_t* low, const std::uint16_t* high, std::uint32_t* to,
               std::int64_t count) {
  for (std::int64_t j = 0; j < count; j += kLanes) {
    Halves lower, upper;
    __builtin_memcpy(&lower, low + j, sizeof(lower));
    __builtin_memcpy(&upper, high + j, sizeof(upper));
    store_pairs(lower, upper, to + j);
  }
}

/// e^x for x <= 0, no smaller than e^-87, within 5.4e-6 of it: bf16 rounds by 2e-3.
inline __m512 exp_for_bf16(__m512 x) {
  const __m512 kRound = _mm512_set1_ps(12582912.0f);
  // A NaN stays. All lanes, as GCC 12 warns of what the form without a mask leaves undefined.
  x = _mm512_maskz_max_ps(0xFFFF, _mm512_set1_ps(-87.0f), x);
  const __m512 shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(1.44269504f), kRound);
  const __m512 r =
      _mm512_fnmadd_ps(_mm512_sub_ps(shifted, kRound), _mm512_set1_ps(0.693147181f), x);
  __m512 p = _mm512_fmadd_ps(r, _mm512_set1_ps(0.0412777475f), _mm512_set1_ps(0.167535142f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.50005116f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return (__m512)times_power_of_2((Floats)p, (Floats)shifted);
}

__attribute__((target("avx512bf16"))) void narrow_to(Floats x, std::uint16_t* to) {
  const __m256bh halves = _mm512_cvtneps_pbh((__m512)x);
  __builtin_memcpy(to, &halves, sizeof(halves));
}

__attribute__((target("avx512bf16"))) void pair_exponentials(const Exponentials& e, bool normalized,
                                                             std::uint16_t* weights) {
  float largest[kMostRows];
  find_largest(e, largest);
  for (std::int64_t r = 0; r < e.rows; ++r) {
    float* const s = e.scores + r * e.row;
    std::uint16_t* const w = weights + r * e.row;
    Floats sum = {};
    for (std::int64_t j = 0; j < e.padded; j += kLanes) {
      const auto power = (Floats)exp_for_bf16((__m512)(Full::load(s + j) - largest[r]));
      sum += power;
      if (normalized) {
        Full::store(s + j, power);
      } else {
        narrow_to(power, w + j);
      }
    }
    e.sums[r] = fold_lanes<FoldSum>(sum);
  }
  for (std::int64_t r = 0; r < e.rows; ++r) {
    std::uint16_t* const w = weights + r * e.row;
    if (normalized) {
      const float* const s = e.scores + r * e.row;
      const float part = 1.0f / e.sums[r];
      for (std::int64_t j = 0; j < e.padded; j += kLanes) {
        narrow_to(Full::load(s + j) * part, w + j);
      }
    }
    for (std::int64_t j = e.count; j < e.padded; ++j) w[j] = 0;
  }
}

constexpr SdpaLoops make_bf16_table() {
  SdpaLoops loops = make_sdpa_table("avx512_bf16");
  loops.pair_product = product<Tile16>;
  loops.pair_exponentials = pair_exponentials;
  loops.join_floats = join_floats;
  loops.join_bf16 = join_bf16;
  return loops;
}

constexpr SdpaLoops kTable = make_sdpa_table("avx512");
constexpr SdpaLoops kBf16Table = make_bf16_table();

}  // namespace

const SdpaLoops* avx512_sdpa_loops() { return &kTable; }
const SdpaLoops* avx512_bf16_sdpa_loops() { return &kBf16Table; }

}  // namespace facet::cpu
#else
namespace facet::cpu {

const SdpaLoops* avx512_sdpa_loops() { return nullptr; }
const SdpaLoops* avx512_bf16_sdpa_loops() { return nullptr; }

}  // namespace facet::cpu
#endif
