#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/sdpa_bwd_plan.h"

/// How gradients of a head's queries, keys and values get from the scratch into the results.
namespace facet::cpu {

/// Elements from the first one of the tokens' value to those of the head.
inline std::int64_t elements_to(const SdpaTokens& tokens, std::int64_t image, std::int64_t head) {
  return image * tokens.image +
         (tokens.heads.first + head * tokens.heads.step) * tokens.matrix.channel;
}

/// Floats in the scratch, rows `stride` apart.
struct FloatMatrix {
  const float* data = nullptr;
  std::int64_t stride = 0;
  std::int64_t rows = 0, columns = 0;
};

/// Where the gradient of the head's queries (0), keys (1) or values (2) goes.
PackSource result_head_of(const SdpaBwdPlan& plan, const Addresses& addresses, std::size_t which,
                          std::int64_t image, std::int64_t head);

/// Writes [tokens, channels] into a head, from token `first` on; `room` is for as many floats.
void store_rows(const PackSource& to, std::int64_t first, const FloatMatrix& from, float* room);
/// Writes [channels, tokens] into a head; `room` is for kPanel tokens.
void store_turned(const PackSource& to, const FloatMatrix& from, float* room);
/// Zeros for what no head of the image reads.
void clear_unread(const SdpaBwdPlan& plan, const Addresses& addresses, std::int64_t image);

}  // namespace facet::cpu
