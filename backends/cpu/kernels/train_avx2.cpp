#include <utility>

#include "backends/cpu/kernels/train_loops.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

namespace facet::cpu {
namespace {

constexpr int kLanes = 8;
#include "backends/cpu/kernels/vector_math.inc"
// The functions above come first: the loops are made of them.
#include "backends/cpu/kernels/vector_loops.inc"
// And the training loops of those.
#include "backends/cpu/kernels/train_loops.inc"

constexpr TrainLoops kTable = make_train_table("avx2");

}  // namespace

const TrainLoops* avx2_train_loops() { return &kTable; }

}  // namespace facet::cpu
#else
namespace facet::cpu {

const TrainLoops* avx2_train_loops() { return nullptr; }

}  // namespace facet::cpu
#endif
