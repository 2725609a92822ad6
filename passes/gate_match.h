#pragma once

#include <string>
#include <vector>

#include "ir/gate.h"
#include "ir/op.h"

/// The patterns of fuse-gate: what a product is made of, in plain ops, and the operands that the op
/// `gate` reads in its place.
namespace facet {

/// Weights as they stand in the graph; `weight_of` in fuse_gate.cpp brings them to the op's shapes.
struct GateOperands {
  Value pixel_w1, pixel_b1, pixel_w2, pixel_b2;
  Value channel_w1, channel_b1, channel_w2, channel_b2, gamma;
  Value window_w, window_b;
};

/// A product that is a gate, or why it is none.
struct GateMatch {
  bool looks_like_gate = false;  ///< a logistic function that repeats over pixels or channels
  std::string refusal;           ///< empty: it is one
  GateStage stage = GateStage::pixels;
  bool max_too = false;
  std::int64_t hidden = 0;  ///< of the stage pixels
  Value x;
  GateOperands operands;
  std::vector<Node*> inside;  ///< the nodes between x and the product, which is the last one
};

/// Looks at the product and upwards from it.
GateMatch match_gate(Node* mul);

}  // namespace facet
