#include "backends/cpu/kernels/vector.h"

#include <initializer_list>

namespace facet::cpu {

bool runs_here(const VectorLoops& loops) {
#if defined(__x86_64__)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (&loops == avx512_loops()) return avx512;
  if (&loops == avx512_bf16_loops()) return avx512 && __builtin_cpu_supports("avx512bf16");
  if (&loops == avx2_loops()) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  }
#endif
  return &loops == baseline_loops();
}

const VectorLoops& vector_loops() {
  static const VectorLoops& best = []() -> const VectorLoops& {
    for (const VectorLoops* loops : {avx512_bf16_loops(), avx512_loops(), avx2_loops()}) {
      if (loops != nullptr && runs_here(*loops)) return *loops;
    }
    return *baseline_loops();
  }();
  return best;
}

}  // namespace facet::cpu
