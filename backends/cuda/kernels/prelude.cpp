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

// Rows are shared among the lanes of a warp: kLanes on the device, 1 on the host.
constexpr const char* kWarp = R"(
#ifdef __CUDACC_RTC__
enum { kLanes = 32 };
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

constexpr const char* kHost = R"(
#include <cmath>
#include <cstring>
#define FACET_DEVICE inline
#define __global__
#define __restrict__
#define __launch_bounds__(threads)
struct FacetIndex { unsigned x, y, z; };
inline FacetIndex blockIdx, threadIdx, blockDim, gridDim;
namespace facet {
inline float bits_to_float(unsigned bits) { float x; std::memcpy(&x, &bits, 4); return x; }
inline unsigned float_to_bits(float x) { unsigned bits; std::memcpy(&bits, &x, 4); return bits; }
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
enum { kLanes = 1 };
inline float exchange(float x, int) { return x; }
}  // namespace facet
)";

}  // namespace

const std::string& kernel_prelude() {
  static const std::string text = std::string(
                                      "#ifdef __CUDACC_RTC__\n#define FACET_DEVICE __device__ "
                                      "__forceinline__\n#endif\n") +
                                  kTypes + kFunctions + kWarp;
  return text;
}

const std::string& host_prelude() {
  static const std::string text = kHost;
  return text;
}

}  // namespace facet::cuda
