#include "backends/cpu/kernels/weights_reorder.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/vector.h"
#include "ir/layout.h"

namespace facet::cpu {
namespace {

/// Pairs of the minor axis that a unit of work moves.
constexpr std::int64_t kPairs = 16;
constexpr std::int64_t kLineHalves = 32;  ///< elements of a line of the cache

/// Result: [major / block][tap][minor / 2][block][2].
struct WeightsReorderPlan {
  std::int64_t block = 16;
  std::int64_t taps = 1;
  std::int64_t major = 0, minor = 0;            ///< extents
  std::int64_t major_step = 0, minor_step = 0;  ///< elements between neighbours in the operand
  std::int64_t pairs = 0;                       ///< of the minor axis, padding included

  std::string implementation() const { return std::string("pack_weights:") + vector_loops().name; }
  std::size_t scratch_bytes() const { return 0; }

  void run(const Addresses& addresses) const {
    const auto* const from = reinterpret_cast<const std::uint16_t*>(addresses.operands[0]);
    auto* const to = reinterpret_cast<std::uint32_t*>(addresses.results[0]);
    const std::int64_t pieces = (pairs + kPairs - 1) / kPairs;
    if (minor_step >= major_step) {
      return parallel_for(pairs, major * minor * taps, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t pair = begin; pair < end; ++pair) weave(from, pair, to);
      });
    }
    parallel_for(
        blocks() * pieces, major * minor * taps, [&](std::int64_t begin, std::int64_t end) {
          std::vector<std::uint16_t> rows(static_cast<std::size_t>(taps * block * 2 * kPairs));
          for (std::int64_t unit = begin; unit < end; ++unit) {
            const std::int64_t first = unit % pieces * kPairs;
            // Of the first tap; the next one is pairs * block pairs further.
            std::uint32_t* const y = to + (unit / pieces * taps * pairs + first) * block;
            turn(from, unit / pieces * block, first, std::min(kPairs, pairs - first), y, rows);
          }
        });
  }

 private:
  std::int64_t blocks() const { return (major + block - 1) / block; }

  /// Minor neighbours are near in the operand: rows of them, one per lane, are transposed in pairs.
  void turn(const std::uint16_t* from, std::int64_t lane, std::int64_t pair, std::int64_t count,
            std::uint32_t* y, std::vector<std::uint16_t>& rows) const {
    const std::int64_t lanes = std::min(block, major - lane);
    const std::int64_t width = std::min(2 * count, minor - 2 * pair);
    if (lanes < block || width < 2 * count) std::fill(rows.begin(), rows.end(), std::uint16_t{0});
    for (std::int64_t i = 0; i < lanes; ++i) {
      const std::uint16_t* const x = from + (lane + i) * major_step + 2 * pair * minor_step;
      for (std::int64_t tap = 0; tap < taps; ++tap) {
        std::uint16_t* const row = rows.data() + (tap * block + i) * 2 * kPairs;
        if (minor_step == 1) {
          std::memcpy(row, x, static_cast<std::size_t>(width) * 2);
          continue;
        }
        for (std::int64_t c = 0; c < width; ++c) row[c] = x[c * minor_step + tap];
      }
    }
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      vector_loops().transpose32(rows.data() + tap * block * 2 * kPairs, kPairs,
                                 y + tap * pairs * block, block, block, count);
    }
  }

  /// Major neighbours are near in the operand: two rows of them become pairs, and memory hands out
  /// whole rows best. The rows behind them are asked for.
  void weave(const std::uint16_t* from, std::int64_t pair, std::uint32_t* to) const {
    const bool has_even = 2 * pair < minor;
    const bool has_odd = 2 * pair + 1 < minor;
    const std::uint16_t* const even = from + std::min(2 * pair, minor - 1) * minor_step;
    const std::uint16_t* const odd = has_odd ? even + minor_step : even;
    const std::uint16_t* const next = 2 * pair + 3 < minor ? even + 2 * minor_step : even;
    const std::uint32_t low = has_even ? 0xFFFFu : 0u;
    const std::uint32_t high = has_odd ? 0xFFFF0000u : 0u;
    const auto join = [&](std::int64_t at) {
      return (even[at] & low) | (static_cast<std::uint32_t>(odd[at]) << 16 & high);
    };
    for (std::int64_t b = 0; b < blocks(); ++b) {
      const std::int64_t first = b * block * major_step;
      const std::int64_t lanes = std::min(block, major - b * block);
      for (std::int64_t at = 0; at < lanes * major_step; at += kLineHalves) {
        __builtin_prefetch(next + first + at);
        __builtin_prefetch(next + minor_step + first + at);
      }
      for (std::int64_t tap = 0; tap < taps; ++tap) {
        std::uint32_t* const y = to + ((b * taps + tap) * pairs + pair) * block;
        if (major_step == 1) {
          for (std::int64_t i = 0; i < lanes; ++i) y[i] = join(first + i);
        } else {
          for (std::int64_t i = 0; i < lanes; ++i) y[i] = join(first + i * major_step + tap);
        }
        std::fill(y + lanes, y + block, 0u);
      }
    }
  }
};

/// The block of a layout between `before` and `after`, a multiple of 16; none for other layouts.
std::optional<std::int64_t> block_of(std::string_view layout, std::string_view before,
                                     std::string_view after) {
  if (!layout.starts_with(before) || !layout.ends_with(after)) return std::nullopt;
  if (layout.size() <= before.size() + after.size()) return std::nullopt;
  layout = layout.substr(before.size(), layout.size() - before.size() - after.size());
  std::int64_t block = 0;
  const auto [stop, error] = std::from_chars(layout.data(), layout.data() + layout.size(), block);
  if (error != std::errc() || stop != layout.data() + layout.size()) return std::nullopt;
  if (block < 16 || block % 16 != 0) return std::nullopt;
  return block;
}

}  // namespace

std::unique_ptr<Kernel> lower_weights_reorder(const View& operand, const View& result) {
  const Type& type = operand.type;
  const std::vector<std::int64_t> extents = static_extents(type.shape);
  if (size_of(type.dtype) != 2 || result.type.dtype != type.dtype || is_blocked(type.layout) ||
      !same_strides(extents, operand.strides, dense_strides({type.dtype, type.shape, {}}))) {
    return nullptr;
  }
  WeightsReorderPlan plan;
  const Layout& layout = result.type.layout;
  std::int64_t padding = 2;
  bool reverse = false;
  std::optional<std::int64_t> block;
  if (extents.size() == 4) {
    plan.taps = extents[2] * extents[3];
    block = block_of(layout, "AcdB", "a2b");
    if (!block) {
      block = block_of(layout, "BcdA", "b2a");
      reverse = true;
    }
  } else if (extents.size() == 2) {
    block = block_of(layout, "AB16b", "a2b");
    padding = 32;
  }
  if (!block) return nullptr;
  plan.block = *block;
  plan.major = extents[reverse ? 1 : 0];
  plan.minor = extents[reverse ? 0 : 1];
  plan.major_step = reverse ? plan.taps : extents[1] * plan.taps;
  plan.minor_step = reverse ? extents[1] * plan.taps : plan.taps;
  plan.pairs = (plan.minor + padding - 1) / padding * padding / 2;
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
