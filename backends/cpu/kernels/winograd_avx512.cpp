#include "backends/cpu/kernels/winograd_loops.h"

#if defined(__AVX512F__)
#include <immintrin.h>

#include <algorithm>

namespace facet::cpu {
namespace {

__mmask16 mask_of(std::int64_t left) {
  return left >= kDirectLanes ? static_cast<__mmask16>(0xFFFF)
                              : static_cast<__mmask16>((1u << left) - 1);
}

/// U = G g G^T with G = [1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1], for 16 channels; g [9], row by
/// row.
void transform_window(const __m512* g, float* u, std::int64_t step) {
  const __m512 half = _mm512_set1_ps(0.5F);
  __m512 rows[4][3];
  for (int x = 0; x < 3; ++x) {
    const __m512 a = g[x];
    const __m512 b = g[3 + x];
    const __m512 c = g[6 + x];
    const __m512 ends = _mm512_mul_ps(half, _mm512_add_ps(a, c));
    rows[0][x] = a;
    rows[1][x] = _mm512_fmadd_ps(half, b, ends);
    rows[2][x] = _mm512_fnmadd_ps(half, b, ends);
    rows[3][x] = c;
  }
  for (int y = 0; y < 4; ++y) {
    const __m512 ends = _mm512_mul_ps(half, _mm512_add_ps(rows[y][0], rows[y][2]));
    float* const to = u + 4 * y * step;
    _mm512_storeu_ps(to, rows[y][0]);
    _mm512_storeu_ps(to + step, _mm512_fmadd_ps(half, rows[y][1], ends));
    _mm512_storeu_ps(to + 2 * step, _mm512_fnmadd_ps(half, rows[y][1], ends));
    _mm512_storeu_ps(to + 3 * step, rows[y][2]);
  }
}

void transform_weights(const float* weights, std::int64_t tap_step, std::int64_t vectors, float* u,
                       std::int64_t step) {
  for (std::int64_t v = 0; v < vectors; ++v, weights += kDirectLanes, u += kDirectLanes) {
    __m512 window[9];
    for (int tap = 0; tap < 9; ++tap) window[tap] = _mm512_loadu_ps(weights + tap * tap_step);
    transform_window(window, u, step);
  }
}

void transform_turned_weights(const float* weights, std::int64_t channels, std::int64_t vectors,
                              float* u, std::int64_t step) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i places = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(9));
  for (std::int64_t v = 0; v < vectors; ++v, u += kDirectLanes) {
    const std::int64_t left =
        std::clamp<std::int64_t>(channels - v * kDirectLanes, 0, kDirectLanes);
    const float* const from = weights + v * kDirectLanes * 9;
    __m512 window[9];
    for (int tap = 0; tap < 9; ++tap) {
      window[tap] =
          _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask_of(left), places, from + 8 - tap, 4);
    }
    transform_window(window, u, step);
  }
}

/// V = B^T d B with B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1].
void transform_input(const float* const* pixels, std::int64_t channels, float* v,
                     std::int64_t step) {
  for (std::int64_t c = 0; c < channels; c += kDirectLanes) {
    const __mmask16 mask = mask_of(channels - c);
    __m512 rows[4][4];
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) {
      const __m512 d0 = _mm512_maskz_loadu_ps(mask, pixels[x] + c);
      const __m512 d1 = _mm512_maskz_loadu_ps(mask, pixels[4 + x] + c);
      const __m512 d2 = _mm512_maskz_loadu_ps(mask, pixels[8 + x] + c);
      const __m512 d3 = _mm512_maskz_loadu_ps(mask, pixels[12 + x] + c);
      rows[0][x] = _mm512_sub_ps(d0, d2);
      rows[1][x] = _mm512_add_ps(d1, d2);
      rows[2][x] = _mm512_sub_ps(d2, d1);
      rows[3][x] = _mm512_sub_ps(d1, d3);
    }
    float* to = v + c;
#pragma GCC unroll 4
    for (int y = 0; y < 4; ++y, to += 4 * step) {
      _mm512_storeu_ps(to, _mm512_sub_ps(rows[y][0], rows[y][2]));
      _mm512_storeu_ps(to + step, _mm512_add_ps(rows[y][1], rows[y][2]));
      _mm512_storeu_ps(to + 2 * step, _mm512_sub_ps(rows[y][2], rows[y][1]));
      _mm512_storeu_ps(to + 3 * step, _mm512_sub_ps(rows[y][1], rows[y][3]));
    }
  }
}

/// Y = A^T m A with A^T = [1 1 1 0; 0 1 -1 -1].
void transform_output(const float* m, std::int64_t step, std::int64_t channels, const float* bias,
                      bool relu, const float* slopes, float* const* pixels) {
  const __m512 zero = _mm512_setzero_ps();
  for (std::int64_t c = 0; c < channels; c += kDirectLanes) {
    const __mmask16 mask = mask_of(channels - c);
    __m512 rows[2][4];
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) {
      const float* const from = m + c + x * step;
      const __m512 m1 = _mm512_loadu_ps(from + 4 * step);
      const __m512 m2 = _mm512_loadu_ps(from + 8 * step);
      rows[0][x] = _mm512_add_ps(_mm512_loadu_ps(from), _mm512_add_ps(m1, m2));
      rows[1][x] = _mm512_sub_ps(_mm512_sub_ps(m1, m2), _mm512_loadu_ps(from + 12 * step));
    }
    const __m512 shift = _mm512_loadu_ps(bias + c);
    const __m512 slope = slopes != nullptr ? _mm512_maskz_loadu_ps(mask, slopes + c) : zero;
#pragma GCC unroll 2
    for (int y = 0; y < 2; ++y) {
      const __m512 inner = _mm512_add_ps(rows[y][1], shift);
      __m512 out[2];
      out[0] = _mm512_add_ps(_mm512_add_ps(rows[y][0], rows[y][2]), inner);
      out[1] = _mm512_sub_ps(inner, _mm512_add_ps(rows[y][2], rows[y][3]));
#pragma GCC unroll 2
      for (int x = 0; x < 2; ++x) {
        if (pixels[2 * y + x] == nullptr) continue;
        // A NaN is the second operand of max and min, and goes on.
        if (relu) {
          out[x] = _mm512_max_ps(zero, out[x]);
        } else if (slopes != nullptr) {
          out[x] = _mm512_fmadd_ps(slope, _mm512_min_ps(zero, out[x]), _mm512_max_ps(zero, out[x]));
        }
        _mm512_mask_storeu_ps(pixels[2 * y + x] + c, mask, out[x]);
      }
    }
  }
}

/// Z = A dY A^T, A as of transform_output.
void transform_output_gradient(const float* const* pixels, std::int64_t channels,
                               std::int64_t vectors, float* z, std::int64_t block_step,
                               std::int64_t step) {
  const __m512 zero = _mm512_setzero_ps();
  const std::int64_t lanes = vectors * kDirectLanes;
  for (std::int64_t first = 0; first < channels; first += lanes, z += block_step) {
    const std::int64_t last = std::min(first + lanes, channels);
    for (std::int64_t c = first; c < last; c += kDirectLanes) {
      const __mmask16 mask = mask_of(channels - c);
      __m512 rows[4][2];
#pragma GCC unroll 2
      for (int x = 0; x < 2; ++x) {
        const float* const above = pixels[x];
        const float* const below = pixels[2 + x];
        const __m512 a = above != nullptr ? _mm512_maskz_loadu_ps(mask, above + c) : zero;
        const __m512 b = below != nullptr ? _mm512_maskz_loadu_ps(mask, below + c) : zero;
        rows[0][x] = a;
        rows[1][x] = _mm512_add_ps(a, b);
        rows[2][x] = _mm512_sub_ps(a, b);
        rows[3][x] = _mm512_sub_ps(zero, b);
      }
      float* to = z + (c - first);
#pragma GCC unroll 4
      for (int y = 0; y < 4; ++y, to += 4 * step) {
        _mm512_storeu_ps(to, rows[y][0]);
        _mm512_storeu_ps(to + step, _mm512_add_ps(rows[y][0], rows[y][1]));
        _mm512_storeu_ps(to + 2 * step, _mm512_sub_ps(rows[y][0], rows[y][1]));
        _mm512_storeu_ps(to + 3 * step, _mm512_sub_ps(zero, rows[y][1]));
      }
    }
  }
}

/// dg = G^T U G, G as of transform_window.
void transform_weights_gradient(const float* sums, std::int64_t step, std::int64_t vectors,
                                float* gradients) {
  const __m512 half = _mm512_set1_ps(0.5F);
  const std::int64_t lanes = vectors * kDirectLanes;
  for (std::int64_t v = 0; v < vectors; ++v, sums += kDirectLanes, gradients += kDirectLanes) {
    __m512 rows[3][4];
    for (int x = 0; x < 4; ++x) {
      const __m512 u1 = _mm512_loadu_ps(sums + (4 + x) * step);
      const __m512 u2 = _mm512_loadu_ps(sums + (8 + x) * step);
      const __m512 sum = _mm512_mul_ps(half, _mm512_add_ps(u1, u2));
      rows[0][x] = _mm512_add_ps(_mm512_loadu_ps(sums + x * step), sum);
      rows[1][x] = _mm512_mul_ps(half, _mm512_sub_ps(u1, u2));
      rows[2][x] = _mm512_add_ps(_mm512_loadu_ps(sums + (12 + x) * step), sum);
    }
    for (int y = 0; y < 3; ++y) {
      const __m512 sum = _mm512_mul_ps(half, _mm512_add_ps(rows[y][1], rows[y][2]));
      float* const to = gradients + 3 * y * lanes;
      _mm512_storeu_ps(to, _mm512_add_ps(rows[y][0], sum));
      _mm512_storeu_ps(to + lanes, _mm512_mul_ps(half, _mm512_sub_ps(rows[y][1], rows[y][2])));
      _mm512_storeu_ps(to + 2 * lanes, _mm512_add_ps(rows[y][3], sum));
    }
  }
}

constexpr WinogradLoops kLoops{transform_weights,         transform_turned_weights,
                               transform_input,           transform_output,
                               transform_output_gradient, transform_weights_gradient};

}  // namespace

const WinogradLoops* winograd_loops() { return &kLoops; }

}  // namespace facet::cpu
#else
namespace facet::cpu {

const WinogradLoops* winograd_loops() { return nullptr; }

}  // namespace facet::cpu
#endif
