#include <utility>

#include "backends/cpu/kernels/sdpa_loops.h"

namespace facet::cpu {
namespace {

constexpr int kLanes = 4;
#include "backends/cpu/kernels/vector_math.inc"
// The functions above come first: the loops are made of them.
#include "backends/cpu/kernels/vector_loops.inc"
constexpr int kTileRows = 2, kTileVectors = 4, kBlockRows = 14;
// The tile above comes first.
#include "backends/cpu/kernels/sdpa_loops.inc"

constexpr SdpaLoops kTable = make_sdpa_table("baseline");

}  // namespace

const SdpaLoops* baseline_sdpa_loops() { return &kTable; }

}  // namespace facet::cpu
