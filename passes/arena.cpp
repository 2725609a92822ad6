#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "ir/error.h"
#include "passes/memory_plan.h"

// Places buffers with known lifetimes in one arena: a two-dimensional packing (step x bytes),
// NP-hard in general, so several orders are tried with best and first fit and the lowest peak is
// kept. When none reaches the lower bound, the best order is improved by moving the buffers that
// make the peak to an earlier place in it.

namespace facet {
namespace {

constexpr std::int64_t kAlignment = 64;
/// Bounds the local improvement: comparisons of two buffers, some 10 ms.
constexpr std::int64_t kImprovementBudget = 10'000'000;
constexpr std::int64_t kMaxRounds = 400;

std::int64_t align_up(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

enum class Fit { best, first };

struct Packing {
  std::int64_t peak = std::numeric_limits<std::int64_t>::max();
  std::vector<std::int64_t> offsets;
  std::vector<int> order;
  Fit fit = Fit::best;
  std::string strategy;
};

/// A placed buffer; kept in one array sorted by offset, which is what every placement scans.
struct Block {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  int first = 0;
  int last = 0;
};

/// The lowest fitting place (first fit), or the start of the tightest gap (best fit), among the
/// blocks that live at the same time as `wanted`.
std::int64_t find_gap(const std::vector<Block>& blocks, const Block& wanted, std::int64_t bytes,
                      Fit fit) {
  std::int64_t cursor = 0;
  std::int64_t place = -1;
  std::int64_t slack = std::numeric_limits<std::int64_t>::max();
  for (const Block& block : blocks) {
    if (block.last < wanted.first || wanted.last < block.first) continue;
    const std::int64_t gap = block.begin - cursor;
    if (gap >= bytes && gap - bytes < slack) {
      place = cursor;
      slack = gap - bytes;
      if (fit == Fit::first) return place;
    }
    cursor = std::max(cursor, block.end);
  }
  return place >= 0 ? place : cursor;
}

/// Places all buffers in the given order. Gives up, with an infinite peak, once it is above
/// `limit`.
Packing pack(const std::vector<Buffer>& buffers, const std::vector<int>& order, Fit fit,
             std::int64_t limit) {
  Packing packing;
  packing.order = order;
  packing.fit = fit;
  packing.offsets.assign(buffers.size(), 0);
  std::vector<Block> blocks;
  blocks.reserve(buffers.size());
  std::int64_t peak = 0;
  for (const int index : order) {
    const Buffer& buffer = buffers[static_cast<std::size_t>(index)];
    const std::int64_t bytes = align_up(buffer.bytes);
    if (bytes == 0) continue;
    Block block{0, 0, buffer.first, buffer.last};
    block.begin = find_gap(blocks, block, bytes, fit);
    block.end = block.begin + bytes;
    peak = std::max(peak, block.end);
    if (peak > limit) return packing;
    packing.offsets[static_cast<std::size_t>(index)] = block.begin;
    const auto place =
        std::lower_bound(blocks.begin(), blocks.end(), block,
                         [](const Block& a, const Block& b) { return a.begin < b.begin; });
    blocks.insert(place, block);
  }
  packing.peak = peak;
  return packing;
}

/// Bytes live at each step, buffers rounded up to the alignment.
std::vector<std::int64_t> live_bytes(const std::vector<Buffer>& buffers) {
  int last = 0;
  for (const Buffer& buffer : buffers) last = std::max(last, buffer.last);
  std::vector<std::int64_t> live(static_cast<std::size_t>(last) + 2, 0);
  for (const Buffer& buffer : buffers) {
    live[static_cast<std::size_t>(buffer.first)] += align_up(buffer.bytes);
    live[static_cast<std::size_t>(buffer.last) + 1] -= align_up(buffer.bytes);
  }
  std::partial_sum(live.begin(), live.end(), live.begin());
  live.pop_back();
  return live;
}

/// Orders to try: keys descend, ties fall to the larger, then the earlier buffer.
struct Strategy {
  const char* name;
  std::vector<std::int64_t> keys;
};

std::vector<Strategy> strategies(const std::vector<Buffer>& buffers,
                                 const std::vector<std::int64_t>& live) {
  std::vector<Strategy> all = {
      {"size", {}}, {"crowded step", {}}, {"size x life", {}}, {"time", {}}};
  for (const Buffer& buffer : buffers) {
    const std::int64_t life = buffer.last - buffer.first + 1;
    const std::int64_t crowd =
        *std::max_element(live.begin() + buffer.first, live.begin() + buffer.last + 1);
    all[0].keys.push_back(buffer.bytes);
    all[1].keys.push_back(crowd);
    all[2].keys.push_back(buffer.bytes * life);
    all[3].keys.push_back(-buffer.first);
  }
  return all;
}

std::vector<int> order_by(const std::vector<std::int64_t>& keys,
                          const std::vector<Buffer>& buffers) {
  std::vector<int> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    const auto i = static_cast<std::size_t>(a);
    const auto j = static_cast<std::size_t>(b);
    if (keys[i] != keys[j]) return keys[i] > keys[j];
    if (buffers[i].bytes != buffers[j].bytes) return buffers[i].bytes > buffers[j].bytes;
    return std::pair(buffers[i].first, a) < std::pair(buffers[j].first, b);
  });
  return order;
}

/// Moves one of the buffers that reach the peak to a random earlier place in the order, again and
/// again; keeps what is not worse. The random numbers are fixed, so that plans are reproducible.
void improve(const std::vector<Buffer>& buffers, std::int64_t lower_bound, Packing& best) {
  const auto count = static_cast<std::int64_t>(buffers.size());
  const std::int64_t rounds = std::min(kMaxRounds, kImprovementBudget / (count * count));
  std::uint64_t random = 0x9E3779B97F4A7C15u;
  const auto draw = [&](std::size_t bound) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::size_t>(random >> 33) % bound;
  };
  const std::int64_t before = best.peak;
  for (std::int64_t round = 0; round < rounds && best.peak > lower_bound; ++round) {
    std::vector<std::size_t> tops;
    for (std::size_t at = 0; at < best.order.size(); ++at) {
      const auto index = static_cast<std::size_t>(best.order[at]);
      if (best.offsets[index] + align_up(buffers[index].bytes) == best.peak) tops.push_back(at);
    }
    const std::size_t from = tops[draw(tops.size())];
    const std::size_t to = draw(from + 1);
    std::vector<int> order = best.order;
    std::rotate(order.begin() + static_cast<std::ptrdiff_t>(to),
                order.begin() + static_cast<std::ptrdiff_t>(from),
                order.begin() + static_cast<std::ptrdiff_t>(from) + 1);
    Packing packing = pack(buffers, order, best.fit, best.peak);
    if (packing.peak > best.peak) continue;
    packing.strategy = best.strategy;
    best = std::move(packing);
  }
  if (best.peak < before) best.strategy += ", improved";
}

void check_lifetimes(const std::vector<Buffer>& buffers) {
  for (const Buffer& buffer : buffers) {
    if (buffer.bytes >= 0 && buffer.first >= 0 && buffer.first <= buffer.last) continue;
    throw failure(fmt::format("buffer '{}' of {} bytes cannot live from step {} to step {}",
                              buffer.name, buffer.bytes, buffer.first, buffer.last));
  }
}

}  // namespace

ArenaPlan place_buffers(std::vector<Buffer>& buffers) {
  if (buffers.empty()) return {};
  check_lifetimes(buffers);
  const std::vector<std::int64_t> live = live_bytes(buffers);
  const std::int64_t lower_bound = *std::max_element(live.begin(), live.end());
  Packing best;
  for (const Strategy& strategy : strategies(buffers, live)) {
    const std::vector<int> order = order_by(strategy.keys, buffers);
    for (const Fit fit : {Fit::best, Fit::first}) {
      if (best.peak == lower_bound) break;
      Packing packing = pack(buffers, order, fit, best.peak);
      if (packing.peak >= best.peak) continue;
      packing.strategy =
          fmt::format("{}, {} fit", strategy.name, fit == Fit::best ? "best" : "first");
      best = std::move(packing);
    }
  }
  improve(buffers, lower_bound, best);
  for (std::size_t i = 0; i < buffers.size(); ++i) buffers[i].offset = best.offsets[i];
  return {best.peak, lower_bound, best.strategy};
}

}  // namespace facet
