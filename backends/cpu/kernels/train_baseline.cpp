#include <utility>

#include "backends/cpu/kernels/train_loops.h"

namespace facet::cpu {
namespace {

constexpr int kLanes = 4;
#include "backends/cpu/kernels/vector_math.inc"
// The functions above come first: the loops are made of them.
#include "backends/cpu/kernels/vector_loops.inc"
// And the training loops of those.
#include "backends/cpu/kernels/train_loops.inc"

constexpr TrainLoops kTable = make_train_table("baseline");

}  // namespace

const TrainLoops* baseline_train_loops() { return &kTable; }

}  // namespace facet::cpu
