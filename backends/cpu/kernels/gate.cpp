#include "backends/cpu/kernels/gate.h"

#include <omp.h>

#include <algorithm>

#include "backends/cpu/kernels/gate_plan.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/parallel.h"

// The gate kernel's plan. Each image is read once for each reduction and once for the result; all
// but the first read find it in the second-level cache, because one thread (or the whole team)
// takes one image from start to end.

namespace facet::cpu {
namespace {

/// Work of a part, and parts of an image at most.
constexpr std::int64_t kPartWork = 16 * 1024;
constexpr std::int64_t kMostParts = 16;

GateView gate_view(const Node& node, const View& view) {
  GateView result;
  const std::vector<std::int64_t> extents = static_extents(view.type.shape);
  result.type = float_type(node, view.type.dtype);
  result.image = view.strides[0];
  result.channel = extents[1] == 1 ? 1 : view.strides[1];
  result.row = view.strides[2];
  result.pixel = extents[3] == 1 ? result.row : view.strides[3];
  if (extents[2] == 1) result.row = result.pixel * extents[3];
  result.direct = result.channel == 1 && result.row == result.pixel * extents[3];
  return result;
}

/// Hands out pieces of memory that begin at a cache line.
class Pieces {
 public:
  std::int64_t take(std::int64_t floats) {
    const std::int64_t place = floats_;
    floats_ += (floats + 15) / 16 * 16;
    return place;
  }
  std::int64_t floats() const { return floats_; }

 private:
  std::int64_t floats_ = 0;
};

GateWeight gate_weight(const Node& node, const View& view, int operand, Pieces& pieces) {
  GateWeight weight;
  weight.operand = operand;
  weight.type = float_type(node, view.type.dtype);
  weight.extents = static_extents(view.type.shape);
  weight.strides = view.strides;
  Type plain = view.type;
  plain.layout.clear();
  weight.dense = weight.type == Float::f32 && view.strides == dense_strides(plain);
  if (!weight.dense) weight.place = pieces.take(facet::element_count(weight.extents));
  return weight;
}

std::int64_t padded_hidden(const Gate& gate) {
  return (gate.pixel_hidden + kGateHidden - 1) / kGateHidden * kGateHidden;
}

std::int64_t packed_floats(const Gate& gate) {
  return (gate.channels + 1) / 2 * 2 * padded_hidden(gate);
}

void cut_slot(GatePlan& plan) {
  const Gate& gate = plan.gate;
  GateSlot& slot = plan.slot;
  Pieces pieces;
  slot.scale = pieces.take(gate.channels);
  slot.mean = pieces.take(gate.channels);
  if (gate.max_too) slot.max = pieces.take(gate.channels);
  slot.hidden = pieces.take(gate.channel_hidden);
  if (gate.has(GateStage::pixels)) {
    slot.packed = pieces.take(packed_floats(gate));
    slot.pixel_b1 = pieces.take(padded_hidden(gate));
    slot.pixel_w2 = pieces.take(padded_hidden(gate));
  }
  slot.map = pieces.take(gate.pixels());
  slot.sums = pieces.take(plan.parts * gate.channels);
  if (gate.max_too) slot.maxima = pieces.take(plan.parts * gate.channels);
  if (gate.has(GateStage::window)) slot.maps = pieces.take(2 * gate_window_shape(gate).map);
  if (!plan.x.direct) slot.staged = pieces.take(gate.pixels() * gate.channels);
  slot.floats = pieces.floats();
}

/// An even number of parts suits two threads.
std::int64_t part_count(const GatePlan& plan) {
  const std::int64_t work = plan.work();
  if (work < kAloneBelow) return 1;
  const std::int64_t pairs = (work + 2 * kPartWork - 1) / (2 * kPartWork);
  const std::int64_t groups = (plan.gate.pixels() + 7) / 8;
  return std::max<std::int64_t>(1, std::min({2 * pairs, kMostParts, groups}));
}

}  // namespace

GateWindow gate_window_shape(const Gate& gate) {
  GateWindow shape;
  shape.kernel = gate.kernel;
  shape.width = gate.width;
  const std::int64_t lanes = (gate.width + kGateRow - 1) / kGateRow * kGateRow;
  shape.row = (lanes + gate.kernel - 1 + kGateRow - 1) / kGateRow * kGateRow;
  shape.map = (gate.height + gate.kernel - 1) * shape.row;
  return shape;
}

std::unique_ptr<Kernel> lower_gate(const Node& node, std::span<const View> operands,
                                   std::span<const View> results) {
  return lower_gate(node, operands, results, gate_loops());
}

std::unique_ptr<Kernel> lower_gate(const Node& node, std::span<const View> operands,
                                   std::span<const View> results, const GateLoops& loops) {
  check_unblocked(node, operands, results);
  GatePlan plan;
  plan.gate = gate_of(node);
  const Gate& gate = plan.gate;
  plan.loops = &loops;
  plan.x = gate_view(node, operands[0]);
  plan.y = gate_view(node, results[0]);
  plan.direct_result = plan.x.direct && plan.y.direct && plan.x.type == plan.y.type;
  if (gate.residual >= 0) {
    plan.residual = gate_view(node, operands[static_cast<std::size_t>(gate.residual)]);
    plan.direct_result &= plan.residual.direct && plan.residual.type == plan.x.type;
  }
  plan.images = static_extents(operands[0].type.shape)[0];
  plan.parts = part_count(plan);
  plan.slots = omp_get_max_threads();
  plan.packs_scaled =
      gate.stages[0] == GateStage::channels && gate.stages.back() == GateStage::pixels;
  Pieces pieces;
  plan.weights.resize(operands.size());
  for (std::size_t i = 1; i < operands.size(); ++i) {
    if (static_cast<int>(i) == gate.residual) continue;
    plan.weights[i] = gate_weight(node, operands[i], static_cast<int>(i), pieces);
  }
  plan.first_slot = pieces.floats();
  cut_slot(plan);
  return make_kernel(std::move(plan));
}

std::int64_t GatePlan::work() const {
  const std::int64_t reads = 1 + (gate.has(GateStage::channels) ? 1 : 0) +
                             (gate.has(GateStage::window) ? 1 : 0) + gate.pixel_hidden / 4;
  return gate.channels * gate.pixels() * reads;
}

std::string GatePlan::implementation() const { return std::string("gate:") + loops->name; }

std::size_t GatePlan::scratch_bytes() const {
  return static_cast<std::size_t>(first_slot + slots * slot.floats) * sizeof(float);
}

const GateLoops& gate_loops() {
  const VectorLoops* const best = &vector_loops();
  if (best == avx512_bf16_loops() && avx512_bf16_gate_loops() != nullptr) {
    return *avx512_bf16_gate_loops();
  }
  if (best == avx512_bf16_loops() || best == avx512_loops()) return *avx512_gate_loops();
  if (best == avx2_loops()) return *avx2_gate_loops();
  return *baseline_gate_loops();
}

}  // namespace facet::cpu
