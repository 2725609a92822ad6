#include "backends/cpu/kernels/sdpa_bwd_store.h"

#include <algorithm>

#include "backends/cpu/kernels/convert.h"

namespace facet::cpu {
namespace {

std::byte* result_of(const SdpaBwdPlan& plan, const Addresses& addresses, std::size_t which) {
  const int numbers[] = {plan.bwd.query, plan.bwd.key, plan.bwd.value};
  return addresses.results[static_cast<std::size_t>(numbers[which])];
}

std::byte* place(const PackSource& to, std::int64_t token, std::int64_t channel) {
  return const_cast<std::byte*>(to.at(token, channel));
}

/// Whether tokens are neighbours in memory, and channels are not.
bool is_by_channel(const PackSource& to) {
  return to.row == 1 && to.channel != 1 && to.line_rows >= to.rows;
}

}  // namespace

PackSource result_head_of(const SdpaBwdPlan& plan, const Addresses& addresses, std::size_t which,
                          std::int64_t image, std::int64_t head) {
  const SdpaTokens& tokens = plan.results[which];
  PackSource to = tokens.matrix;
  to.data = result_of(plan, addresses, which) + elements_to(tokens, image, head) * size_of(to.type);
  return to;
}

void store_rows(const PackSource& to, std::int64_t first, const FloatMatrix& from, float* room) {
  if (is_by_channel(to)) {
    vector_loops().transpose32(from.data, from.stride, room, from.rows, from.rows, from.columns);
    for (std::int64_t c = 0; c < from.columns; ++c) {
      store_floats(to.type, room + c * from.rows, place(to, first, c), 1, from.rows);
    }
    return;
  }
  for (std::int64_t r = 0; r < from.rows; ++r) {
    store_floats(to.type, from.data + r * from.stride, place(to, first + r, 0), to.channel,
                 from.columns);
  }
}

void store_turned(const PackSource& to, const FloatMatrix& from, float* room) {
  const std::int64_t channels = from.rows, tokens = from.columns;
  if (is_by_channel(to)) {
    for (std::int64_t c = 0; c < channels; ++c) {
      store_floats(to.type, from.data + c * from.stride, place(to, 0, c), 1, tokens);
    }
    return;
  }
  for (std::int64_t j = 0; j < tokens; j += kPanel) {
    const std::int64_t count = std::min(kPanel, tokens - j);
    vector_loops().transpose32(from.data + j, from.stride, room, channels, channels, count);
    for (std::int64_t r = 0; r < count; ++r) {
      store_floats(to.type, room + r * channels, place(to, j + r, 0), to.channel, channels);
    }
  }
}

void clear_unread(const SdpaBwdPlan& plan, const Addresses& addresses, std::int64_t image) {
  const float zero = 0;
  for (std::size_t which = 0; which < plan.unread.size(); ++which) {
    PackSource to = plan.results[which].matrix;
    to.data =
        result_of(plan, addresses, which) + image * plan.results[which].image * size_of(to.type);
    for (const std::int64_t c : plan.unread[which]) {
      for (std::int64_t token = 0; token < to.rows; ++token) {
        store_floats(to.type, &zero, place(to, token, c), 1, 1);
      }
    }
  }
}

}  // namespace facet::cpu
