#pragma once

#include <cstdint>
#include <random>
#include <string_view>

#include "ir/graph.h"

namespace facet::testing {

/// A network drawn from `seed`: about `layers` layers on images [N, C, H, W] with symbolic batch,
/// from what the passes rewrite and what they must leave alone. Convolutions (strides, pads, groups,
/// dilations), batch norms behind, before and apart from them, activations, gates, residuals on
/// either side, scalar arithmetic with identities, per-channel parameters, concats and slices,
/// pools, reductions, views, attention, linear heads over two and three axes, layers that share
/// parameters, layers declared twice alike, several outputs, constant expressions and dead nodes.
///
/// The same seed gives the same network everywhere. Every value stays of moderate size on the
/// parameters and inputs of fill.h, and nothing cancels, so relative errors are meaningful.
Graph random_network(std::uint64_t seed, int layers);

/// Draws that do not depend on the standard library's distributions.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  /// Uniform in [0, count).
  std::size_t below(std::size_t count) { return static_cast<std::size_t>(engine_() % count); }
  bool chance(int percent) { return below(100) < static_cast<std::size_t>(percent); }
  template <class Items>
  const auto& pick(const Items& items) {
    return *(items.begin() + static_cast<std::ptrdiff_t>(below(items.size())));
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace facet::testing
