#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {
namespace {

// Element types are structs of their bits, so that no header of CUDA is needed where kernels are
// compiled. Arithmetic is in float, with the accurate functions of the CUDA library, not the fast
// ones.
constexpr const char* kTypes = R"(
namespace facet {

struct bf16 { unsigned short bits; };
struct f16 { unsigned short bits; };

#ifdef __CUDACC_RTC__
FACET_DEVICE float bits_to_float(unsigned bits) { return __uint_as_float(bits); }
FACET_DEVICE unsigned float_to_bits(float x) { return __float_as_uint(x); }
FACET_DEVICE unsigned short float_to_bf16_bits(float x) {
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
FACET_DEVICE unsigned short float_to_f16_bits(float x) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
FACET_DEVICE float f16_bits_to_float(unsigned short bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}
#endif

FACET_DEVICE float to_float(float x) { return x; }
FACET_DEVICE float to_float(bf16 x) { return bits_to_float((unsigned)x.bits << 16); }
FACET_DEVICE float to_float(f16 x) { return f16_bits_to_float(x.bits); }
FACET_DEVICE void from_float(float x, float& y) { y = x; }
FACET_DEVICE void from_float(float x, bf16& y) { y.bits = float_to_bf16_bits(x); }
FACET_DEVICE void from_float(float x, f16& y) { y.bits = float_to_f16_bits(x); }

/// V neighbours, moved 16 bytes at a time where they are as many.
template <class T, int V>
struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) Pack {
  T values[V];
};

template <int V, class T>
FACET_DEVICE void load(float (&to)[V], const T* from) {
  const Pack<T, V> pack = *(const Pack<T, V>*)from;
  for (int i = 0; i < V; ++i) to[i] = to_float(pack.values[i]);
}
template <int V, class T>
FACET_DEVICE void store(T* to, const float (&from)[V]) {
  Pack<T, V> pack;
  for (int i = 0; i < V; ++i) from_float(from[i], pack.values[i]);
  *(Pack<T, V>*)to = pack;
}
/// The same with `stride` elements between neighbours.
template <int V, class T>
FACET_DEVICE void load(float (&to)[V], const T* from, int stride) {
  for (int i = 0; i < V; ++i) to[i] = to_float(from[i * stride]);
}
template <int V, class T>
FACET_DEVICE void store(T* to, const float (&from)[V], int stride) {
  for (int i = 0; i < V; ++i) from_float(from[i], to[i * stride]);
}
)";

// As the float64 oracle computes them; relu, maximum and minimum keep a NaN they are given.
constexpr const char* kFunctions = R"(
FACET_DEVICE float relu(float x) { return x < 0.0f ? 0.0f : x; }
FACET_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + ::expf(-x)); }
FACET_DEVICE float tanh(float x) { return ::tanhf(x); }
FACET_DEVICE float exp(float x) { return ::expf(x); }
FACET_DEVICE float log(float x) { return ::logf(x); }
FACET_DEVICE float sqrt(float x) { return ::sqrtf(x); }
FACET_DEVICE float rsqrt(float x) { return 1.0f / ::sqrtf(x); }
FACET_DEVICE float reciprocal(float x) { return 1.0f / x; }
FACET_DEVICE float neg(float x) { return -x; }
FACET_DEVICE float abs(float x) { return ::fabsf(x); }
FACET_DEVICE float square(float x) { return x * x; }
FACET_DEVICE float erf(float x) { return ::erff(x); }
FACET_DEVICE float floor(float x) { return ::floorf(x); }
FACET_DEVICE float ceil(float x) { return ::ceilf(x); }
FACET_DEVICE float round(float x) { return ::rintf(x); }
FACET_DEVICE float sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }
FACET_DEVICE float sin(float x) { return ::sinf(x); }
FACET_DEVICE float cos(float x) { return ::cosf(x); }
FACET_DEVICE float tan(float x) { return ::tanf(x); }
FACET_DEVICE float asin(float x) { return ::asinf(x); }
FACET_DEVICE float acos(float x) { return ::acosf(x); }
FACET_DEVICE float atan(float x) { return ::atanf(x); }
FACET_DEVICE float sinh(float x) { return ::sinhf(x); }
FACET_DEVICE float cosh(float x) { return ::coshf(x); }
FACET_DEVICE float asinh(float x) { return ::asinhf(x); }
FACET_DEVICE float acosh(float x) { return ::acoshf(x); }
FACET_DEVICE float atanh(float x) { return ::atanhf(x); }
FACET_DEVICE float add(float a, float b) { return a + b; }
FACET_DEVICE float sub(float a, float b) { return a - b; }
FACET_DEVICE float mul(float a, float b) { return a * b; }
FACET_DEVICE float div(float a, float b) { return a / b; }
FACET_DEVICE float maximum(float a, float b) { return a != a || a > b ? a : b; }
FACET_DEVICE float minimum(float a, float b) { return a != a || a < b ? a : b; }
FACET_DEVICE float pow(float a, float b) { return ::powf(a, b); }
FACET_DEVICE float prelu(float x, float slope) { return x > 0.0f ? x : slope * x; }
FACET_DEVICE float greater(float a, float b) { return a > b ? 1.0f : 0.0f; }
FACET_DEVICE float equal(float a, float b) { return a == b ? 1.0f : 0.0f; }
FACET_DEVICE float greater_equal(float a, float b) { return a >= b ? 1.0f : 0.0f; }
FACET_DEVICE float clamp(float x, float lo, float hi) { return minimum(maximum(x, lo), hi); }
FACET_DEVICE float where(float c, float a, float b) { return c != 0.0f ? a : b; }
)";

// Rows are shared among the lanes of a warp.
constexpr const char* kWarp = R"(
enum { kLanes = 32 };
#ifdef __CUDACC_RTC__
FACET_DEVICE float exchange(float x, int distance) { return __shfl_xor_sync(0xffffffffu, x, distance); }
#endif

/// Every lane gets the sum, always added in the same order.
FACET_DEVICE float warp_sum(float x) {
  for (int distance = kLanes / 2; distance > 0; distance /= 2) x += exchange(x, distance);
  return x;
}
FACET_DEVICE float warp_maximum(float x) {
  for (int distance = kLanes / 2; distance > 0; distance /= 2) x = maximum(x, exchange(x, distance));
  return x;
}

/// What the warps of a block have, seen by all its threads; until the next call.
template <int kWarps>
FACET_DEVICE const float* of_warps(float x) {
  __shared__ float parts[kWarps];
  __syncthreads();
  if (threadIdx.x % kLanes == 0) parts[threadIdx.x / kLanes] = x;
  __syncthreads();
  return parts;
}
/// The sum over a block of so many warps, always added in the same order.
template <int kWarps>
FACET_DEVICE float block_sum(float x) {
  const float* parts = of_warps<kWarps>(warp_sum(x));
  x = parts[0];
  for (int i = 1; i < kWarps; ++i) x += parts[i];
  return x;
}
template <int kWarps>
FACET_DEVICE float block_maximum(float x) {
  const float* parts = of_warps<kWarps>(warp_maximum(x));
  x = parts[0];
  for (int i = 1; i < kWarps; ++i) x = maximum(x, parts[i]);
  return x;
}

/// SplitMix64's mixing function, as ir/dropout.h has it.
FACET_DEVICE unsigned long long mix(unsigned long long z) {
  z += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

/// One tensor of a kernel that updates many: its states, the new value's source, and the first of the
/// blocks that work on it.
struct Update {
  float* states[3];
  const float* source;
  long long count;
  int first_block;
};

/// The tensor that a block works on: the last whose first block is not behind it.
FACET_DEVICE int find_update(const Update* table, int updates, int block) {
  int low = 0;
  int high = updates - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (table[middle].first_block <= block) low = middle;
    else high = middle - 1;
  }
  return low;
}
FACET_DEVICE bool is_finite(float x) { return (float_to_bits(x) & 0x7f800000u) != 0x7f800000u; }
/// 1 - beta^step from the logarithm of beta, without the loss of bits near 1.
FACET_DEVICE float bias_correction(float log_beta, float step) { return -::expm1f(step * log_beta); }

}  // namespace facet
)";

// Tensor cores (PTX ISA, mma.m16n8k16 and m16n8k8). The order in which a product runs over k is
// free, so a lane holds four neighbours along k of each of its rows: 8 or 16 bytes as they lie.
constexpr const char* kTiles = R"(
namespace facet {

template <class T>
using Four = Pack<T, 4>;

/// Four neighbours from `at` on; zeros where there is none: an extent of less than 4 is left.
template <bool kWhole, class T>
FACET_DEVICE Four<T> load_four(const T* at, int left) {
  if (kWhole && left >= 4) return *(const Four<T>*)at;
  Four<T> four;
  for (int i = 0; i < 4; ++i) {
    if (i < left) four.values[i] = at[i];
    else from_float(0.0f, four.values[i]);
  }
  return four;
}
/// The same from another type.
template <class T, class S>
FACET_DEVICE Four<T> convert_four(const S* at, int left) {
  Four<T> four;
  for (int i = 0; i < 4; ++i) from_float(i < left ? to_float(at[i]) : 0.0f, four.values[i]);
  return four;
}
template <class T>
FACET_DEVICE void assign(T x, T& y) { y = x; }
template <class S, class T>
FACET_DEVICE void assign(S x, T& y) { from_float(to_float(x), y); }
/// Every second one from `at` + kPart on, as `T`, of which `left` are there.
template <class T, bool kWhole, int kPart, class S>
FACET_DEVICE Four<T> half_of_eight(const S* at, int left) {
  Four<T> four;
  if (kWhole && left >= 4) {
    const Pack<S, 8> all = *(const Pack<S, 8>*)at;
    for (int i = 0; i < 4; ++i) assign(all.values[2 * i + kPart], four.values[i]);
    return four;
  }
  for (int i = 0; i < 4; ++i) {
    if (i < left) assign(at[2 * i + kPart], four.values[i]);
    else from_float(0.0f, four.values[i]);
  }
  return four;
}
/// Four from floats that are there, at 16 bytes.
template <class T>
FACET_DEVICE Four<T> round_four(const float* at) {
  const Four<float> from = *(const Four<float>*)at;
  Four<T> four;
  for (int i = 0; i < 4; ++i) from_float(from.values[i], four.values[i]);
  return four;
}

/// W neighbours from `at` on, in another type or the same; zeros where there are none.
template <int W, class T, class S>
FACET_DEVICE Pack<T, W> load_row(const S* at, bool is_there) {
  Pack<T, W> row;
  if (is_there) {
    const Pack<S, W> found = *(const Pack<S, W>*)at;
    for (int i = 0; i < W; ++i) assign(found.values[i], row.values[i]);
  } else {
    for (int i = 0; i < W; ++i) from_float(0.0f, row.values[i]);
  }
  return row;
}

#ifdef __CUDACC_RTC__
extern __shared__ Four<float> asked_memory[];
/// The shared memory that a block asked for.
FACET_DEVICE float* block_memory() { return asked_memory[0].values; }

FACET_DEVICE unsigned pair_bits(unsigned short low, unsigned short high) { return low | (unsigned)high << 16; }
FACET_DEVICE void multiply_pairs(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], bf16) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
FACET_DEVICE void multiply_pairs(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], f16) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
FACET_DEVICE void multiply_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/// x as the sum of two tf32 numbers: 22 of its 24 bits.
FACET_DEVICE void split_tf32(float x, unsigned& high, unsigned& low) {
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(high) : "f"(x));
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(low) : "f"(x - bits_to_float(high)));
}

/// d [16, 8] += a [16, 16] * b [8, 16]^T, by a warp. With g = lane / 4 and t = lane % 4 the lane gives
/// a0 = a[g][4 t ...], a1 = a[g + 8][4 t ...], b = b[g][4 t ...] and holds d[g][2 t], d[g][2 t + 1],
/// d[g + 8][2 t], d[g + 8][2 t + 1].
template <class T>
FACET_DEVICE void multiply(float (&d)[4], const Four<T>& a0, const Four<T>& a1, const Four<T>& b) {
  multiply_pairs(d,
                 {pair_bits(a0.values[0].bits, a0.values[1].bits), pair_bits(a1.values[0].bits, a1.values[1].bits),
                  pair_bits(a0.values[2].bits, a0.values[3].bits), pair_bits(a1.values[2].bits, a1.values[3].bits)},
                 {pair_bits(b.values[0].bits, b.values[1].bits), pair_bits(b.values[2].bits, b.values[3].bits)}, T());
}
/// f32 is not rounded to tf32 but cut in two; the product of the low parts is left out.
FACET_DEVICE void multiply(float (&d)[4], const Four<float>& a0, const Four<float>& a1, const Four<float>& b) {
  for (int half = 0; half < 4; half += 2) {
    unsigned high_a[4], low_a[4], high_b[2], low_b[2];
    for (int i = 0; i < 2; ++i) {
      split_tf32(a0.values[half + i], high_a[2 * i], low_a[2 * i]);
      split_tf32(a1.values[half + i], high_a[2 * i + 1], low_a[2 * i + 1]);
      split_tf32(b.values[half + i], high_b[i], low_b[i]);
    }
    multiply_tf32(d, low_a, high_b);
    multiply_tf32(d, high_a, low_b);
    multiply_tf32(d, high_a, high_b);
  }
}
#else
inline float* block_memory() {
  static Four<float> memory[1 << 14];
  return memory[0].values;
}
template <class T>
void multiply(float (&d)[4], const Four<T>& a0, const Four<T>& a1, const Four<T>& b) {
  float left[4], under[4], right[4];
  load(left, a0.values);
  load(under, a1.values);
  load(right, b.values);
  multiply_floats(d, left, under, right);
}
#endif

}  // namespace facet
)";

}  // namespace

const std::string& kernel_prelude() {
  static const std::string text = std::string(
                                      "#ifdef __CUDACC_RTC__\n#define FACET_DEVICE __device__ "
                                      "__forceinline__\n#endif\n") +
                                  kTypes + kFunctions + kWarp + kTiles;
  return text;
}

}  // namespace facet::cuda
