#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

/// What a node of the op `gate` computes, read from its attributes and operand types.
///
/// x [N, C, H, W] is multiplied by one or two gates that are computed from it; the second sees what
/// the first left of x. With v the map a stage sees and sigma the logistic function, a stage is
///
///   pixels    v[n, c, h, w] * sigma(b2 + sum_j pixel_w2[j] * relu(b1[j]
///                             + sum_d pixel_w1[d, j] * v[n, d, h, w]))
///   channels  v[n, c, h, w] * sigma(f(mean over h, w of v)[n, c] + gamma * f(max over h, w of
///   v)[n,
///             c]), without its second term when `pooling` is "mean", where
///             f(u)[c] = b2[c] + sum_j channel_w2[j, c] * relu(b1[j] + sum_d channel_w1[j, d] *
///             u[d])
///   window    v[n, c, h, w] * sigma(b + sum over a, b of window_w[0, a, b] * mean over c of v
///             + window_w[1, a, b] * max over c of v, both at [h + a - k / 2, w + b - k / 2])
///
/// where places outside of the map count as 0. Absent biases are 0, an absent gamma is 1. At the
/// end the residual is added, if there is one, and negative numbers become 0, if `relu` is set.
///
/// LS-CNN's dual face attention is pixels, channels; CBAM and MLA's blocks are channels, window;
/// squeeze-and-excitation is channels alone.
namespace facet {

enum class GateStage { pixels, channels, window };
std::string_view to_string(GateStage stage);

struct Gate {
  std::vector<GateStage> stages;  ///< one, or two of different kinds, in the order they apply
  bool max_too = false;           ///< pooling is "mean_max"
  bool relu = false;
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t pixel_hidden = 0;    ///< r of the stage pixels, 0 without it
  std::int64_t channel_hidden = 0;  ///< r of the stage channels, 0 without it
  std::int64_t kernel = 0;          ///< k of the stage window, odd; 0 without it

  // Operand numbers, -1 for an absent one.
  int pixel_w1 = -1;    ///< [C, r]
  int pixel_b1 = -1;    ///< [r]
  int pixel_w2 = -1;    ///< [r]
  int pixel_b2 = -1;    ///< [1]
  int channel_w1 = -1;  ///< [r, C]
  int channel_b1 = -1;  ///< [r]
  int channel_w2 = -1;  ///< [r, C]
  int channel_b2 = -1;  ///< [C]
  int gamma = -1;       ///< [1]
  int window_w = -1;    ///< [2, k, k]
  int window_b = -1;    ///< [1]
  int residual = -1;    ///< the shape of x

  bool has(GateStage stage) const;
  std::int64_t pixels() const { return height * width; }
};

/// Operand names behind x, in the order in which they must stand.
std::span<const std::string_view> gate_extras();

/// Throws Error(usage) that says which attribute or operand does not fit.
Gate parse_gate(const Attributes& attributes, std::span<const Type> operands);
/// The same for a node that exists.
Gate gate_of(const Node& node);

}  // namespace facet
