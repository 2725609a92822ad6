#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/train_loops.h"

/// How kernels walk maps [N, C, ...] when something is kept per channel: in blocks of rows x
/// columns for the loops of train_loops.h. Where channels are contiguous, columns are channels;
/// elsewhere they are rows of places of one channel after the other.
namespace facet::cpu {

/// Rows summed in f32 before they join a sum in double.
inline constexpr std::int64_t kRowsInFloat = 64;

/// Places of one channel that are columns of a row.
inline constexpr std::int64_t kPlaneColumns = 64;

/// Rows x columns of all views of a plan.
struct ChannelBlock {
  std::vector<Rows> reads;  ///< per view that is read
  RowsOut writes;           ///< where the written view's block is to be made
  Float type = Float::f32;  ///< of reads and writes
  std::int64_t rows = 0, cols = 0;
  std::int64_t channel = 0;  ///< of the first column
};

/// The plan: views in the order read..., written. All have the extents [N, C, ...].
struct ChannelPlan {
  std::int64_t channels = 1;
  std::int64_t places = 1;                  ///< elements of one channel
  bool by_rows = false;                     ///< columns are channels
  std::vector<Float> types;                 ///< per view
  std::vector<std::int64_t> channel_steps;  ///< per view
  Loops loops;                              ///< over the places
  std::int64_t parts = 1;                   ///< shares of the work, whatever the number of threads
  bool same_type = true;

  std::int64_t elements() const { return channels * places; }
  /// Parts that keep sums of their own for every channel.
  std::int64_t sum_parts() const { return by_rows ? parts : 1; }
};

ChannelPlan plan_channels(const Node& node, std::span<const View> views);

/// A thread's way through a plan. `written` says that the last view is a result.
class ChannelWalk {
 public:
  ChannelWalk(const ChannelPlan& plan, bool written);

  /// Calls block(ChannelBlock&) for all blocks of part `part`. Blocks have at most kRowsInFloat
  /// rows. Columns are channels, or places of one channel.
  template <class Body>
  void run(std::int64_t part, std::span<std::byte* const> bases, const Body& body) {
    if (plan_.by_rows) {
      run_rows(part, bases, body);
    } else {
      run_planes(part, bases, body);
    }
  }

 private:
  template <class Body>
  void run_rows(std::int64_t part, std::span<std::byte* const> bases, const Body& body);
  template <class Body>
  void run_planes(std::int64_t part, std::span<std::byte* const> bases, const Body& body);

  /// Fills block_ for rows x cols elements at `offsets`; a row's neighbours are `row` and a
  /// column's `col` elements apart.
  void open(std::span<std::byte* const> bases, const std::vector<std::int64_t>& offsets,
            std::int64_t rows, std::int64_t cols, const std::vector<std::int64_t>& row,
            const std::vector<std::int64_t>& col);
  void close(std::span<std::byte* const> bases, const std::vector<std::int64_t>& offsets,
             const std::vector<std::int64_t>& row, const std::vector<std::int64_t>& col);

  const ChannelPlan& plan_;
  std::size_t reads_;
  bool written_;
  ChannelBlock block_;
  std::vector<std::vector<float>> buffers_;  ///< per view, where it cannot be used in place
};

template <class Body>
void ChannelWalk::run_rows(std::int64_t part, std::span<std::byte* const> bases, const Body& body) {
  const Loops& loops = plan_.loops;
  const std::int64_t inner = loops.extents.back();
  const std::size_t views = plan_.types.size();
  std::int64_t place = plan_.places * part / plan_.parts;
  const std::int64_t end = plan_.places * (part + 1) / plan_.parts;
  std::vector<std::int64_t> row(views), col(views, 1), offsets(views);
  for (std::size_t v = 0; v < views; ++v) row[v] = loops.strides[v].back();
  while (place < end) {
    const std::int64_t first = place % inner;
    const std::int64_t rows = std::min({inner - first, end - place, kRowsInFloat});
    std::int64_t rest = place;
    std::fill(offsets.begin(), offsets.end(), 0);
    for (std::size_t d = loops.depth(); d-- > 0;) {
      for (std::size_t v = 0; v < views; ++v) {
        offsets[v] += rest % loops.extents[d] * loops.strides[v][d];
      }
      rest /= loops.extents[d];
    }
    block_.channel = 0;
    open(bases, offsets, rows, plan_.channels, row, col);
    body(block_);
    close(bases, offsets, row, col);
    place += rows;
  }
}

template <class Body>
void ChannelWalk::run_planes(std::int64_t part, std::span<std::byte* const> bases,
                             const Body& body) {
  const Loops& loops = plan_.loops;
  const std::size_t views = plan_.types.size();
  const std::int64_t inner = loops.extents.back();
  constexpr std::int64_t kPiece = kRowsInFloat * kPlaneColumns;
  Loops outer = loops;
  outer.extents.back() = (inner + kPiece - 1) / kPiece;
  std::vector<std::int64_t> row(views), col(views), offsets(views);
  for (std::size_t v = 0; v < views; ++v) {
    col[v] = loops.strides[v].back();
    row[v] = col[v] * kPlaneColumns;
    outer.strides[v].back() = col[v] * kPiece;
  }
  const auto visit = [&](std::int64_t rows, std::int64_t cols) {
    if (rows == 0 || cols == 0) return;
    open(bases, offsets, rows, cols, row, col);
    body(block_);
    close(bases, offsets, row, col);
    for (std::size_t v = 0; v < views; ++v) offsets[v] += rows * row[v];
  };
  const std::int64_t first = plan_.channels * part / plan_.parts;
  const std::int64_t last = plan_.channels * (part + 1) / plan_.parts;
  for (std::int64_t channel = first; channel < last; ++channel) {
    block_.channel = channel;
    std::int64_t position = 0;
    for_each_position(outer, 0, outer.elements(), [&](const std::vector<std::int64_t>& at) {
      const std::int64_t count =
          std::min(kPiece, inner - position++ % outer.extents.back() * kPiece);
      for (std::size_t v = 0; v < views; ++v) {
        offsets[v] = at[v] + channel * plan_.channel_steps[v];
      }
      visit(count / kPlaneColumns, kPlaneColumns);
      visit(1, count % kPlaneColumns);
    });
  }
}

/// Per-channel arguments as the loops want them: one number per column.
class ChannelArguments {
 public:
  /// `arrays`: each f32 [channels].
  ChannelArguments(const ChannelPlan& plan, std::vector<const float*> arrays)
      : plan_(plan), arrays_(std::move(arrays)) {
    if (!plan.by_rows) repeated_.resize(arrays_.size() * kPlaneColumns);
  }
  /// Array `i` for the block's columns.
  const float* at(const ChannelBlock& block, std::size_t i) {
    if (plan_.by_rows) return arrays_[i] + block.channel;
    if (channel_ != block.channel) fill(block.channel);
    return repeated_.data() + i * kPlaneColumns;
  }

 private:
  void fill(std::int64_t channel);

  const ChannelPlan& plan_;
  std::vector<const float*> arrays_;
  std::vector<float> repeated_;
  std::int64_t channel_ = -1;
};

/// `count` sums per channel: f32 for the columns of a block, double for a part.
class ChannelSums {
 public:
  ChannelSums(const ChannelPlan& plan, std::size_t count);
  /// Zeros for the block's columns, to be added to.
  float* open(const ChannelBlock& block, std::size_t i);
  /// Adds what `open` gave to the part's sums.
  void close(const ChannelBlock& block, double* part_sums);

 private:
  const ChannelPlan& plan_;
  std::size_t count_;
  std::int64_t width_;
  std::vector<float> sums_;
};

/// Adds the sums of all parts, double [sum_parts][count][channels], to those of the first.
void add_parts(const ChannelPlan& plan, double* sums, std::size_t count);

/// Bytes of those sums, and those of one part in turn.
inline std::size_t part_sum_bytes(const ChannelPlan& plan, std::size_t count) {
  return static_cast<std::size_t>(plan.sum_parts() * plan.channels) * count * sizeof(double);
}
inline double* part_sums(const ChannelPlan& plan, double* sums, std::size_t count,
                         std::int64_t part) {
  const std::int64_t number = plan.by_rows ? part : 0;
  return sums + number * plan.channels * static_cast<std::int64_t>(count);
}

/// f32 arrays [channels] ahead of what else is in a kernel's scratch: each begins at a cache line.
inline std::int64_t padded_channels(std::int64_t channels) { return (channels + 15) / 16 * 16; }

}  // namespace facet::cpu
