#pragma once

// The device as generated kernels see it, on the host: stands in front of their prelude when a
// host compiler takes them. The threads of a block are coroutines that change places at barriers
// and nowhere else, in order of their numbers: a kernel that lacks a barrier reads what is not
// written yet, or no longer there.

#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#define FACET_DEVICE inline
#define __global__
#define __device__ static
#define __restrict__
#define __launch_bounds__(...)
#define __shared__ static

struct FacetIndex {
  unsigned x, y, z;
};
inline FacetIndex blockIdx, threadIdx, blockDim, gridDim;

namespace facet_host {

enum class Wait { nothing, warp, block, over };

struct Thread {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  Wait wait = Wait::nothing;
};

constexpr unsigned kWarp = 32;
constexpr std::size_t kStackBytes = 128 << 10;

inline std::vector<Thread> threads;
inline ucontext_t scheduler;
inline void (*body)(void*) = nullptr;
inline void* argument = nullptr;

inline void enter() {
  body(argument);
  threads[threadIdx.x].wait = Wait::over;
}

inline void meet(Wait at) {
  Thread& self = threads[threadIdx.x];
  self.wait = at;
  swapcontext(&self.context, &scheduler);
}

/// Runs the threads of one warp until all that are left wait for the block.
inline void run_warp(unsigned first, unsigned end) {
  for (;;) {
    unsigned in_warp = 0, in_block = 0;
    for (unsigned t = first; t < end; ++t) {
      if (threads[t].wait == Wait::nothing) {
        threadIdx = {t, 0, 0};
        swapcontext(&scheduler, &threads[t].context);
      }
      in_warp += threads[t].wait == Wait::warp;
      in_block += threads[t].wait == Wait::block;
    }
    if (in_warp == 0) return;
    if (in_block > 0) {
      std::fprintf(stderr, "lanes of one warp wait at different barriers\n");
      std::abort();
    }
    for (unsigned t = first; t < end; ++t) {
      if (threads[t].wait == Wait::warp) threads[t].wait = Wait::nothing;
    }
  }
}

/// Runs `of(with)` once for each of the block's threads.
inline void run_block(unsigned count, void (*of)(void*), void* with) {
  body = of;
  argument = with;
  if (threads.size() < count) threads.resize(count);
  for (unsigned t = 0; t < count; ++t) {
    Thread& thread = threads[t];
    if (!thread.stack) thread.stack.reset(new char[kStackBytes]);
    thread.wait = Wait::nothing;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = kStackBytes;
    thread.context.uc_link = &scheduler;
    makecontext(&thread.context, enter, 0);
  }
  for (;;) {
    for (unsigned t = 0; t < count; t += kWarp) run_warp(t, t + kWarp < count ? t + kWarp : count);
    bool is_over = true;
    for (unsigned t = 0; t < count; ++t) {
      if (threads[t].wait != Wait::block) continue;
      threads[t].wait = Wait::nothing;
      is_over = false;
    }
    if (is_over) return;
  }
}

}  // namespace facet_host

inline void __syncthreads() { facet_host::meet(facet_host::Wait::block); }
inline void __syncwarp() { facet_host::meet(facet_host::Wait::warp); }

namespace facet {

inline float bits_to_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline unsigned float_to_bits(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
inline unsigned short float_to_bf16_bits(float x) {
  const unsigned bits = float_to_bits(x);
  if (x != x) return (unsigned short)((bits >> 16) | 0x40u);
  return (unsigned short)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}
inline unsigned short float_to_f16_bits(float x) {
  const _Float16 half = (_Float16)x;
  unsigned short bits;
  std::memcpy(&bits, &half, 2);
  return bits;
}
inline float f16_bits_to_float(unsigned short bits) {
  _Float16 half;
  std::memcpy(&half, &bits, 2);
  return (float)half;
}

/// The value of the lane whose number differs by `distance`.
inline float exchange(float x, int distance) {
  static float values[1024];
  values[threadIdx.x] = x;
  __syncwarp();
  const float other = values[threadIdx.x ^ (unsigned)distance];
  __syncwarp();
  return other;
}

/// As `multiply` of the prelude, on numbers that are f32 already.
inline void multiply_floats(float (&d)[4], const float (&a0)[4], const float (&a1)[4],
                            const float (&b)[4]) {
  static float left[32][16][16], right[32][8][16];
  const unsigned warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  for (unsigned i = 0; i < 4; ++i) {
    left[warp][g][4 * t + i] = a0[i];
    left[warp][g + 8][4 * t + i] = a1[i];
    right[warp][g][4 * t + i] = b[i];
  }
  __syncwarp();
  for (unsigned i = 0; i < 4; ++i) {
    float sum = d[i];
    for (unsigned k = 0; k < 16; ++k) {
      sum += left[warp][g + i / 2 * 8][k] * right[warp][2 * t + i % 2][k];
    }
    d[i] = sum;
  }
  __syncwarp();
}

}  // namespace facet
