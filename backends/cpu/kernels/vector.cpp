#include "backends/cpu/kernels/vector.h"

#include <initializer_list>
#include <utility>

#include "backends/cpu/cpu_backend.h"

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
    const CpuFeatures features = cpu_features();
    for (const auto& [allowed, loops] : {std::pair{features.avx512_bf16, avx512_bf16_loops()},
                                         {features.avx512, avx512_loops()},
                                         {features.avx2, avx2_loops()}}) {
      if (allowed && loops != nullptr && runs_here(*loops)) return *loops;
    }
    return *baseline_loops();
  }();
  return best;
}

}  // namespace facet::cpu
