#pragma once

#include <memory>

#include "backends/cpu/kernels/direct_plan.h"

namespace facet::cpu {

/// Whether Winograd's algorithm is the faster way of this convolution: f32, a 3 x 3 window moved by
/// one, results that leave from registers, and enough channels and pixels to pay for the
/// transforms. Sums differ from the direct ones by rounding, about as much as another order of
/// summation does.
bool suits_winograd(const DirectPlan& plan);
std::unique_ptr<Kernel> make_winograd_kernel(const DirectPlan& plan);

}  // namespace facet::cpu
