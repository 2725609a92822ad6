#include "backends/cpu/kernels/train_loops.h"

namespace facet::cpu {

const TrainLoops& train_loops() {
  const VectorLoops* const best = &vector_loops();
  if (best == avx512_bf16_loops() && avx512_bf16_train_loops() != nullptr) {
    return *avx512_bf16_train_loops();
  }
  if (best == avx512_bf16_loops() || best == avx512_loops()) return *avx512_train_loops();
  if (best == avx2_loops()) return *avx2_train_loops();
  return *baseline_train_loops();
}

}  // namespace facet::cpu
