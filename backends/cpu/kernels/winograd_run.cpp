#include <omp.h>

#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "backends/cpu/kernels/even_cut.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/tile_cursor.h"
#include "backends/cpu/kernels/winograd_plan.h"

namespace facet::cpu {
namespace {

/// How far ahead of the transform patches are asked for: memory answers later than a patch takes.
constexpr std::int64_t kBytesAhead = 12 * 1024;
constexpr std::int64_t kMostAhead = 16;  ///< tiles
/// So many groups are ranges that threads take, no fewer of them at a time, in place of even parts:
/// one whose core is shared with others does less.
constexpr std::int64_t kManyGroups = 48;
constexpr std::int64_t kFewestGroups = 4;

/// One thread's share of the tiles, or of the blocks.
class Worker {
 public:
  Worker(const WinogradPlan& plan, const Addresses& addresses, std::byte* own)
      : p_(plan),
        c_(plan.conv),
        a_(addresses),
        u_(plan.conv.transformed_weights ? addresses.operands[1]
           : plan.by_blocks              ? own
                                         : addresses.scratch),
        v_(plan.by_blocks ? addresses.scratch : own),
        own_(own),
        m_(reinterpret_cast<float*>(own + plan.sums_at())),
        ahead_(std::clamp<std::int64_t>(kBytesAhead / (4 * c_.channels * c_.element()), 1,
                                        kMostAhead)) {}

  /// Tiles [begin, end) of all.
  void transform_patches(std::int64_t begin, std::int64_t end) { transform(begin, end, begin); }

  /// Of all tiles, which are transformed.
  void run_blocks(std::int64_t begin, std::int64_t end) {
    const std::int64_t rows = c_.channels / p_.pair();
    find_results(0, p_.tiles());
    for (std::int64_t block = begin; block < end; ++block) {
      if (p_.transforms_blocks()) {
        p_.transform_weights(a_.operands[1], block * rows, (block + 1) * rows, own_);
      }
      for (std::int64_t position = 0; position < kWinogradPositions; ++position) {
        multiply(position, block, p_.tiles());
      }
      store(block);
    }
  }

  /// In groups of about one size, as each of them reads all weights.
  void run_tiles(std::int64_t begin, std::int64_t end) {
    const std::int64_t groups = (end - begin + p_.group - 1) / p_.group;
    for (std::int64_t group = 0; group < groups; ++group) {
      const std::int64_t first = begin + (end - begin) * group / groups;
      const std::int64_t count = begin + (end - begin) * (group + 1) / groups - first;
      transform(first, first + count, 0);
      find_results(first, count);
      for (std::int64_t block = 0; block < c_.blocks(); ++block) {
        for (std::int64_t position = 0; position < kWinogradPositions; ++position) {
          multiply(position, block, count);
        }
        store(block);
      }
    }
  }

 private:
  TileCursor cursor(std::int64_t tile) const {
    return TileCursor(tile, p_.tile_rows, p_.tile_columns);
  }
  const std::byte* zeros() const { return a_.scratch + p_.zeros_at(); }

  /// The patches of tiles [begin, end), to the places `number`, number + 1, ...
  void transform(std::int64_t begin, std::int64_t end, std::int64_t number) const {
    TileCursor at = cursor(begin), ahead = cursor(begin + ahead_);
    for (std::int64_t tile = begin; tile < end; ++tile, ++number) {
      if (ahead.image < c_.images) fetch_patch(ahead);
      transform_patch(at, number);
      at.advance();
      ahead.advance();
    }
  }

  /// Asks for the four pixels of a patch that no patch above it or to its left has. Inline: GCC
  /// leaves out calls of a function that does nothing else.
  [[gnu::always_inline]] void fetch_patch(const TileCursor& at) const {
    const std::int64_t bytes = c_.channels * c_.element();
    for (std::int64_t p = 0; p < 4; ++p) {
      const std::int64_t y = 2 * at.row - c_.pad[0] + 2 + p / 2;
      const std::int64_t x = 2 * at.column - c_.pad[1] + 2 + p % 2;
      if (y < 0 || y >= c_.height || x < 0 || x >= c_.width) continue;
      const std::byte* const pixel =
          a_.operands[0] + ((at.image * c_.height + y) * c_.width + x) * c_.x.pitch * c_.element();
      for (std::int64_t line = 0; line < bytes; line += WinogradPlan::kLine) {
        __builtin_prefetch(pixel + line);
      }
    }
  }

  void transform_patch(const TileCursor& at, std::int64_t number) const {
    const std::int64_t pixel_bytes = c_.x.pitch * c_.element();
    const std::int64_t y = 2 * at.row - c_.pad[0], x = 2 * at.column - c_.pad[1];
    const std::byte* const corner =
        a_.operands[0] + ((at.image * c_.height + y) * c_.width + x) * pixel_bytes;
    const bool is_inside = y >= 0 && y + 4 <= c_.height && x >= 0 && x + 4 <= c_.width;
    std::array<const void*, kWinogradPositions> pixels;
#pragma GCC unroll 16
    for (std::size_t p = 0; p < kWinogradPositions; ++p) {
      pixels[p] = corner +
                  (static_cast<std::int64_t>(p / 4) * c_.width + static_cast<std::int64_t>(p % 4)) *
                      pixel_bytes;
    }
    if (!is_inside) {
      for (std::int64_t p = 0; p < kWinogradPositions; ++p) {
        const std::int64_t row = y + p / 4, column = x + p % 4;
        const bool is_there = row >= 0 && row < c_.height && column >= 0 && column < c_.width;
        if (!is_there) pixels[static_cast<std::size_t>(p)] = zeros();
      }
    }
    p_.loops->input(pixels.data(), c_.channels, v_ + number * p_.in_row * c_.element(),
                    p_.v_step());
  }

  /// Sums of one position and block for `count` tiles: a product of matrices.
  void multiply(std::int64_t position, std::int64_t block, std::int64_t count) const {
    const int vectors = vectors_of(block);
    const std::byte* v = v_ + position * p_.v_step() * c_.element();
    WinogradProduct product;
    product.v_step = p_.in_row;
    const std::int64_t before = p_.transforms_blocks() ? 0 : block * c_.channels * c_.lanes();
    product.z = u_ + (position * p_.u_step() + before) * c_.element();
    product.z_step = c_.lanes() * p_.pair();
    product.rows = c_.channels / p_.pair();
    product.sums = m_ + position * p_.m_step();
    const EvenCut pieces(count, c_.tiles->pixels[vectors - 1]);
    for (std::int64_t piece = 0; piece < pieces.parts(); ++piece) {
      const std::int64_t tiles = pieces.size(piece);
      product.v = v;
      p_.loops->products[vectors - 1][tiles - 1](product);
      v += tiles * p_.in_row * c_.element();
      product.sums += tiles * vectors * kDirectLanes;
    }
  }

  /// Where the results of tiles [first, first + count) go, for all blocks.
  void find_results(std::int64_t first, std::int64_t count) {
    results_.clear();
    TileCursor at = cursor(first);
    for (std::int64_t tile = 0; tile < count; ++tile, at.advance()) {
      const std::int64_t pixel =
          (at.image * c_.out_height + 2 * at.row) * c_.out_width + 2 * at.column;
      const bool below = 2 * at.row + 1 < c_.out_height, beside = 2 * at.column + 1 < c_.out_width;
      results_.push_back({pixel, beside ? pixel + 1 : -1, below ? pixel + c_.out_width : -1,
                          below && beside ? pixel + c_.out_width + 1 : -1});
    }
  }

  /// Sums of all found tiles at a block into the results.
  void store(std::int64_t block) const {
    const std::int64_t channel = block * c_.lanes();
    const std::int64_t channels = std::min(c_.lanes(), c_.out_channels - channel);
    WinogradStore store;
    std::int64_t residual_pitch = 0;
    const std::byte* residuals = nullptr;
    for (const DirectEntry& entry : c_.entries) {
      if (entry.function == Function::relu) {
        store.relu = true;
        continue;
      }
      const std::byte* const from = a_.operands[static_cast<std::size_t>(entry.operand)];
      if (entry.function == Function::prelu) {
        store.slopes = reinterpret_cast<const float*>(from) + channel;
      } else {
        residual_pitch = entry.rows.pitch * c_.element();
        residuals = from + channel * c_.element();
        store.adds = true;
      }
    }
    const std::int64_t pitch = c_.results[0].rows.pitch * c_.element();
    std::byte* const y = a_.results[0] + channel * c_.element();
    const auto* const bias = reinterpret_cast<const float*>(a_.scratch + p_.bias_at()) + channel;
    const float* m = m_;
    for (const std::array<std::int64_t, 4>& pixels : results_) {
      for (std::size_t p = 0; p < 4; ++p) {
        store.pixels[p] = nullptr;
        if (pixels[p] < 0) continue;
        store.pixels[p] = y + pixels[p] * pitch;
        if (store.adds) store.residuals[p] = residuals + pixels[p] * residual_pitch;
      }
      p_.loops->output(m, p_.m_step(), channels, bias, store);
      m += vectors_of(block) * kDirectLanes;
    }
  }

  /// The last block may need fewer vectors than its weights have.
  int vectors_of(std::int64_t block) const {
    const std::int64_t left = c_.out_channels - block * c_.lanes();
    return static_cast<int>(
        std::min<std::int64_t>((left + kDirectLanes - 1) / kDirectLanes, c_.vectors));
  }

  const WinogradPlan& p_;
  const DirectPlan& c_;
  const Addresses& a_;
  const std::byte* u_;  ///< [positions][block, if not one alone][channels][lanes]
  std::byte* v_;        ///< [positions][group][in_row]
  std::byte* own_;      ///< the thread's scratch
  float* m_;            ///< [positions][group][lanes]
  std::int64_t ahead_;  ///< tiles, of the patch that is asked for
  std::vector<std::array<std::int64_t, 4>> results_;  ///< pixels of each tile, or -1
};

}  // namespace

/// u [positions][block][channel][lanes], of weights [block][tap][channel][lanes] or row-major. A
/// row is a channel's (a pair's) lanes.
void WinogradPlan::transform_weights(const std::byte* weights, std::int64_t begin, std::int64_t end,
                                     std::byte* u) const {
  const std::int64_t lanes = conv.lanes() * pair();
  const std::int64_t channels = conv.channels / pair();
  const std::int64_t size = conv.element();
  for (std::int64_t row = begin; row < end; ++row, u += lanes * size) {
    const std::int64_t block = row / channels;
    if (conv.row_weights) {
      const std::int64_t first = block * conv.lanes();
      const std::int64_t channel = row % channels * pair();
      WinogradRows windows;
      windows.lane_step = is_gradient ? 9 : conv.channels * 9;
      windows.pair_step = is_gradient ? conv.out_channels * 9 : 9;
      windows.weights = weights + (channel * windows.pair_step + first * windows.lane_step) * size;
      windows.lanes = conv.out_channels - first;
      windows.turned = is_gradient;
      loops->row_weights(windows, conv.vectors, u, u_step());
    } else {
      const std::byte* const from = weights + (block * 8 * channels + row) * lanes * size;
      loops->weights(from, conv.channels * conv.lanes(), conv.vectors, u, u_step());
    }
  }
}

void WinogradPlan::transform_all_weights(const std::byte* weights, std::byte* u) const {
  parallel_for(weight_rows(), weight_rows() * conv.lanes() * pair() * 9,
               [&](std::int64_t begin, std::int64_t end) {
                 const std::int64_t row = conv.lanes() * pair() * conv.element();
                 transform_weights(weights, begin, end, u + begin * row);
               });
}

void WinogradPlan::run(const Addresses& addresses) const {
  std::byte* const scratch = addresses.scratch;
  std::memset(scratch + bias_at(), 0, static_cast<std::size_t>(threads_at() - bias_at()));
  if (conv.bias >= 0) {
    std::memcpy(scratch + bias_at(), addresses.operands[static_cast<std::size_t>(conv.bias)],
                static_cast<std::size_t>(conv.out_channels * kFloat));
  }
  const std::int64_t work = tiles() * conv.channels * out_row();
  // The thread's scratch: `own` where there are more threads than when the kernel was made.
  const auto place_of_thread = [&](std::vector<std::byte>& own) {
    const std::int64_t thread = omp_get_thread_num();
    if (thread < threads) return scratch + threads_at() + thread * per_thread();
    own.resize(static_cast<std::size_t>(per_thread()));
    return own.data();
  };
  const auto share = [&](std::int64_t count, void (Worker::*part)(std::int64_t, std::int64_t)) {
    parallel_for(count, work, [&](std::int64_t begin, std::int64_t end) {
      std::vector<std::byte> own;
      Worker worker(*this, addresses, place_of_thread(own));
      (worker.*part)(begin, end);
    });
  };
  if (by_blocks) {
    share(tiles(), &Worker::transform_patches);
    share(conv.blocks(), &Worker::run_blocks);
  } else {
    if (!conv.transformed_weights) transform_all_weights(addresses.operands[1], scratch);
    if (tiles() < kManyGroups * group) return share(tiles(), &Worker::run_tiles);
    parallel_shares(tiles(), kFewestGroups * group, work, [&] {
      std::vector<std::byte> own;
      std::byte* const place = place_of_thread(own);
      return [own = std::move(own), worker = Worker(*this, addresses, place)](
                 std::int64_t begin, std::int64_t end) mutable { worker.run_tiles(begin, end); };
    });
  }
}

}  // namespace facet::cpu
