#include "backends/cpu/kernels/weights_gradient.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "backends/cpu/kernels/direct_plan.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/train_loops.h"
#include "ir/layout.h"

// Work goes in chunks of rows of dy. For each chunk
//   1. dy is packed into blocks of channels, [block][row][pixel][lanes], bf16 in pairs of pixels;
//   2. x is turned, [row][channel][phase][pixel], with zeros for padding; a stride takes apart the
//      pixels into as many phases;
//   3. every tile of gradients, [items][lanes], adds what the chunk's rows give. An item is a
//   channel
//      under one tap; those of a tile share the tap's row.
// Rows of a chunk are in the order [y][image]: the rows under which a tap's row lies inside of the
// image are neighbours then, and no padding is multiplied at the top and the bottom.

namespace facet::cpu {
namespace {

/// Packed dy of a chunk and a block: it is read for every tile, from the second-level cache.
constexpr std::int64_t kChunkBytes = 256 * 1024;
/// Where all gradients are few enough to be added to often, everything of a chunk stays there;
/// tiles still sum over a number of pixels.
constexpr std::int64_t kFewSums = 512 * 1024;
constexpr std::int64_t kCachedBytes = 640 * 1024;
constexpr std::int64_t kFewestPixels = 448;

std::int64_t rounded_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

struct WeightsGradientPlan {
  const DirectTiles* tiles = nullptr;
  std::int64_t size = 4;  ///< bytes of an element of dy and x
  std::int64_t images = 0, height = 0, width = 0, channels = 0;  ///< of x
  std::int64_t out_height = 0, out_width = 0, out_channels = 0;
  std::int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1}, pad[2] = {0, 0};
  std::int64_t x_pitch = 0, dy_pitch = 0;  ///< elements from pixel to pixel

  int vectors = 1;                                ///< of a block of dy's channels
  std::int64_t row_pixels = 0;                    ///< of a packed row of dy: even for bf16
  std::int64_t line = 0;                          ///< elements of a phase of a turned row
  std::int64_t chunk_images = 0, chunk_rows = 0;  ///< images, and rows of each, at most
  std::int64_t buffers = 1;                       ///< two where there are several chunks

  std::string implementation() const { return std::string("weights_gradient:") + tiles->name; }

  std::int64_t lanes() const { return vectors * kDirectLanes; }
  std::int64_t blocks() const { return (out_channels + lanes() - 1) / lanes(); }
  std::int64_t taps() const { return kernel[0] * kernel[1]; }
  /// Channels under the taps of one row of the window.
  std::int64_t items() const { return channels * kernel[1]; }
  int vectors_of(std::int64_t block) const {
    const std::int64_t left = out_channels - block * lanes();
    return static_cast<int>(
        std::min<std::int64_t>((left + kDirectLanes - 1) / kDirectLanes, vectors));
  }
  /// Rows of x that `rows` rows of dy reach.
  std::int64_t reach(std::int64_t rows) const {
    return (rows - 1) * stride[0] + (kernel[0] - 1) * dilation[0] + 1;
  }
  std::int64_t turned_row() const { return channels * stride[1] * line; }

  std::int64_t sums_bytes() const { return blocks() * kernel[0] * items() * lanes() * 4; }
  std::int64_t packed_bytes() const {
    return rounded_up(blocks() * chunk_images * chunk_rows * row_pixels * lanes() * size, 64);
  }
  std::int64_t turned_bytes() const {
    return rounded_up((chunk_images * reach(chunk_rows) * turned_row() + kSpread) * size, 64);
  }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(sums_bytes() + buffers * (packed_bytes() + turned_bytes()));
  }
  void run(const Addresses& addresses) const;
};

/// Some rows of some images.
struct Chunk {
  std::int64_t image = 0, images = 0;
  std::int64_t row = 0, rows = 0;  ///< of dy
};

class Run {
 public:
  Run(const WeightsGradientPlan& plan, const Addresses& addresses)
      : p_(plan),
        dy_(addresses.operands[0]),
        x_(addresses.operands[1]),
        result_(reinterpret_cast<float*>(addresses.results[0])),
        sums_(reinterpret_cast<float*>(addresses.scratch)),
        packed_(addresses.scratch + p_.sums_bytes()),
        turned_(packed_ + p_.buffers * p_.packed_bytes()) {}

  /// One team for the whole run: while a chunk is added the next one is prepared in the other
  /// buffer, so that threads meet once per chunk.
  void all() {
    const std::vector<Chunk> chunks = all_chunks();
    const std::int64_t work = p_.images * p_.out_height * p_.out_width * p_.out_channels;
#pragma omp parallel if (work * p_.channels >= kSerialBelow * 16)
    {
      // The padding in turned rows is written only here.
      share(p_.buffers * p_.turned_bytes() / 64, [&](std::int64_t begin, std::int64_t end) {
        std::memset(turned_ + begin * 64, 0, static_cast<std::size_t>((end - begin) * 64));
      });
#pragma omp barrier
      prepare(chunks[0], 0);
#pragma omp barrier
      for (std::size_t i = 0; i < chunks.size(); ++i) {
        if (i + 1 < chunks.size()) prepare(chunks[i + 1], (i + 1) % 2);
        add(chunks[i], i % 2, i == 0);
#pragma omp barrier
      }
      conclude();
    }
  }

 private:
  /// body(begin, end) on the calling thread's share of 0..count.
  template <class Body>
  static void share(std::int64_t count, const Body& body) {
    const std::int64_t threads = omp_get_num_threads();
    const std::int64_t thread = omp_get_thread_num();
    const std::int64_t begin = count * thread / threads;
    const std::int64_t end = count * (thread + 1) / threads;
    if (begin < end) body(begin, end);
  }

  std::vector<Chunk> all_chunks() const {
    std::vector<Chunk> chunks;
    for (std::int64_t image = 0; image < p_.images; image += p_.chunk_images) {
      for (std::int64_t row = 0; row < p_.out_height; row += p_.chunk_rows) {
        chunks.push_back({image, std::min(p_.chunk_images, p_.images - image), row,
                          std::min(p_.chunk_rows, p_.out_height - row)});
      }
    }
    return chunks;
  }

  std::byte* packed(std::size_t buffer) const {
    return packed_ + static_cast<std::int64_t>(buffer) * p_.packed_bytes();
  }
  std::byte* turned(std::size_t buffer) const {
    return turned_ + static_cast<std::int64_t>(buffer) * p_.turned_bytes();
  }

  void prepare(const Chunk& chunk, std::size_t buffer) {
    share(chunk.rows * chunk.images, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) pack(chunk, packed(buffer), i);
    });
    share(p_.reach(chunk.rows) * chunk.images, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) turn(chunk, turned(buffer), i);
    });
  }

  /// Row `number` of the chunk's dy into all blocks.
  void pack(const Chunk& chunk, std::byte* packed, std::int64_t number) {
    const std::int64_t image = chunk.image + number % chunk.images;
    const std::int64_t row = chunk.row + number / chunk.images;
    const std::byte* const from =
        dy_ + (image * p_.out_height + row) * p_.out_width * p_.dy_pitch * p_.size;
    const std::int64_t row_bytes = p_.row_pixels * p_.lanes() * p_.size;
    for (std::int64_t block = 0; block < p_.blocks(); ++block) {
      const std::int64_t channel = block * p_.lanes();
      const std::int64_t width = std::min(p_.lanes(), p_.out_channels - channel);
      std::byte* to = packed + (block * chunk.images * chunk.rows + number) * row_bytes;
      const std::byte* const at = from + channel * p_.size;
      if (p_.size == 2) {
        train_loops().pack_pairs(at, p_.dy_pitch, p_.out_width, width, to, p_.lanes());
        continue;
      }
      for (std::int64_t pixel = 0; pixel < p_.out_width; ++pixel, to += p_.lanes() * 4) {
        std::memcpy(to, at + pixel * p_.dy_pitch * 4, static_cast<std::size_t>(width * 4));
        std::memset(to + width * 4, 0, static_cast<std::size_t>((p_.lanes() - width) * 4));
      }
    }
  }

  /// Row `number` of those of x that the chunk reaches.
  void turn(const Chunk& chunk, std::byte* turned, std::int64_t number) {
    const std::int64_t image = chunk.image + number % chunk.images;
    const std::int64_t row = chunk.row * p_.stride[0] - p_.pad[0] + number / chunk.images;
    if (row < 0 || row >= p_.height) return;
    const std::byte* const from = x_ + (image * p_.height + row) * p_.width * p_.x_pitch * p_.size;
    std::byte* const to = turned + number * p_.turned_row() * p_.size;
    const Spread spread = p_.size == 2 ? train_loops().spread16 : train_loops().spread32;
    const std::int64_t stride = p_.stride[1];
    for (std::int64_t phase = 0; phase < stride; ++phase) {
      // The first column whose padded place is of this phase.
      const std::int64_t first = (phase - p_.pad[1] % stride + stride) % stride;
      const std::int64_t count = (p_.width - first + stride - 1) / stride;
      if (count <= 0) continue;
      spread(from + first * p_.x_pitch * p_.size, stride * p_.x_pitch, count, p_.channels,
             to + (phase * p_.line + (first + p_.pad[1]) / stride) * p_.size, stride * p_.line);
    }
  }

  /// Tiles of items of equal size but one, as few as there can be.
  struct Cut {
    std::int64_t total = 0, tiles = 0;
    std::int64_t first(std::int64_t tile) const { return total * tile / tiles; }
  };
  /// Items of a cut follow each other under one tap where there are enough channels for a tile.
  bool by_tap(int vectors) const { return p_.channels >= p_.tiles->pixels[vectors - 1]; }
  Cut cut_of(int vectors) const {
    const std::int64_t most = p_.tiles->pixels[vectors - 1];
    const std::int64_t total = by_tap(vectors) ? p_.channels : p_.items();
    return {total, (total + most - 1) / most};
  }

  void add(const Chunk& chunk, std::size_t buffer, bool is_first) {
    const Cut cut = cut_of(p_.vectors);
    const std::int64_t per_block = cut.tiles * p_.kernel[0];
    const std::int64_t rows = chunk.rows * chunk.images;
    const std::int64_t units = p_.blocks() * per_block;
    share(units, [&](std::int64_t begin, std::int64_t end) {
      std::vector<const void*> pointers(static_cast<std::size_t>(rows * kDirectPixels));
      std::int64_t listed = 0;  // items that `pointers` are for
      for (std::int64_t unit = begin; unit < end; ++unit) {
        const std::int64_t tile = unit % per_block / p_.kernel[0];
        const std::int64_t item = cut.first(tile);
        const std::int64_t count = cut.first(tile + 1) - item;
        const std::int64_t block = unit / per_block;
        const std::int64_t down = unit % p_.kernel[0];
        if (!by_tap(p_.vectors)) {
          list(chunk, turned(buffer), pointers.data(), item, count);
          run_tile(chunk, packed(buffer), pointers.data(), block, down, item, count, 0, is_first);
          continue;
        }
        if (listed != count) list(chunk, turned(buffer), pointers.data(), 0, count);
        listed = count;
        for (std::int64_t across = 0; across < p_.kernel[1]; ++across) {
          run_tile(chunk, packed(buffer), pointers.data(), block, down, across * p_.channels + item,
                   count, place(across * p_.channels + item) - place(0), is_first);
        }
      }
    });
  }

  /// Elements from a turned row's start to what item `item` is multiplied with first.
  std::int64_t place(std::int64_t item) const {
    const std::int64_t channel = item % p_.channels;
    const std::int64_t column = item / p_.channels * p_.dilation[1];
    return (channel * p_.stride[1] + column % p_.stride[1]) * p_.line + column / p_.stride[1];
  }

  /// Under the window's first row: pointers[row * count + i] for items [item, item + count).
  void list(const Chunk& chunk, const std::byte* turned, const void** pointers, std::int64_t item,
            std::int64_t count) const {
    std::int64_t offsets[kDirectPixels];
    for (std::int64_t i = 0; i < count; ++i) offsets[i] = place(item + i) * p_.size;
    for (std::int64_t row = 0; row < chunk.rows; ++row) {
      for (std::int64_t image = 0; image < chunk.images; ++image) {
        const std::int64_t number = row * p_.stride[0] * chunk.images + image;
        const std::byte* const line = turned + number * p_.turned_row() * p_.size;
        for (std::int64_t i = 0; i < count; ++i) *pointers++ = line + offsets[i];
      }
    }
  }

  void run_tile(const Chunk& chunk, const std::byte* packed, const void* const* pointers,
                std::int64_t block, std::int64_t down, std::int64_t item, std::int64_t count,
                std::int64_t x_offset, bool is_first) const {
    const int vectors = p_.vectors_of(block);
    // Rows of dy whose row of x under the tap lies inside of the image.
    const std::int64_t above = p_.pad[0] - down * p_.dilation[0];
    const std::int64_t stride = p_.stride[0];
    const std::int64_t low = std::max<std::int64_t>(above + stride - 1, 0) / stride;
    const std::int64_t high = p_.height - 1 + above < 0 ? 0 : (p_.height - 1 + above) / stride + 1;
    const std::int64_t first = std::clamp(low - chunk.row, std::int64_t{0}, chunk.rows);
    const std::int64_t last = std::clamp(high - chunk.row, first, chunk.rows);
    const std::int64_t row_elements = p_.row_pixels * p_.lanes();
    const std::int64_t block_rows = chunk.images * chunk.rows;
    float* const sums = sums_ + ((block * p_.kernel[0] + down) * p_.items() * p_.lanes() +
                                 item * vectors * kDirectLanes);
    DirectTile tile;
    tile.x = pointers + first * chunk.images * count;
    tile.x_offset = (down * p_.dilation[0] * chunk.images * p_.turned_row() + x_offset) * p_.size;
    tile.taps = (last - first) * chunk.images;
    tile.channels = p_.row_pixels;
    tile.weights = packed + (block * block_rows + first * chunk.images) * row_elements * p_.size;
    tile.weights_step = p_.lanes() * (p_.size == 2 ? 2 : 1);
    tile.weights_tap_step = row_elements;
    tile.init = is_first ? reinterpret_cast<const float*>(kZeros) : sums;
    tile.init_step = is_first ? 0 : vectors * kDirectLanes;
    tile.sums = sums;
    p_.tiles->functions[vectors - 1][count - 1](tile);
  }

  /// From [block][row of the window][item][lanes] to [channel of dy][channel of x][taps].
  void conclude() {
    const std::int64_t most = std::max<std::int64_t>(256 / p_.taps(), 1);  // channels at once
    const std::int64_t pieces = (p_.channels + most - 1) / most;
    share(p_.blocks() * pieces, [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> rows(static_cast<std::size_t>(most * p_.taps() * p_.lanes()));
      for (std::int64_t unit = begin; unit < end; ++unit) {
        const std::int64_t block = unit / pieces;
        const std::int64_t first = unit % pieces * most;
        const std::int64_t count = std::min(most, p_.channels - first);
        const std::int64_t lanes = p_.vectors_of(block) * kDirectLanes;
        float* to = rows.data();
        for (std::int64_t channel = first; channel < first + count; ++channel) {
          for (std::int64_t tap = 0; tap < p_.taps(); ++tap, to += lanes) {
            const std::int64_t down = tap / p_.kernel[1];
            const std::int64_t item = tap % p_.kernel[1] * p_.channels + channel;
            std::memcpy(
                to, sums_ + (block * p_.kernel[0] + down) * p_.items() * p_.lanes() + item * lanes,
                static_cast<std::size_t>(lanes) * sizeof(float));
          }
        }
        const std::int64_t row = p_.channels * p_.taps();
        const std::int64_t valid = std::min(lanes, p_.out_channels - block * p_.lanes());
        vector_loops().transpose32(rows.data(), lanes,
                                   result_ + block * p_.lanes() * row + first * p_.taps(), row,
                                   count * p_.taps(), valid);
      }
    });
  }

  alignas(64) static constexpr std::byte kZeros[kDirectVectors * kDirectLanes * 4] = {};

  const WeightsGradientPlan& p_;
  const std::byte* dy_;
  const std::byte* x_;
  float* result_;
  float* sums_;
  std::byte* packed_;
  std::byte* turned_;
};

void WeightsGradientPlan::run(const Addresses& addresses) const { Run(*this, addresses).all(); }

/// Chunks of even size: whole images where several fit, else rows of one.
void cut_chunks(WeightsGradientPlan& plan) {
  std::int64_t pixels = kChunkBytes / (plan.lanes() * plan.size);
  if (plan.sums_bytes() <= kFewSums) {
    const std::int64_t packed = plan.blocks() * plan.lanes();
    const std::int64_t turned = plan.turned_row() * plan.stride[0] / plan.row_pixels;
    const std::int64_t cached = kCachedBytes / ((packed + turned) * plan.size);
    pixels = std::min(pixels, std::max(cached, kFewestPixels));
  }
  const std::int64_t rows = std::max<std::int64_t>(pixels / plan.row_pixels, 1);
  if (rows >= plan.out_height) {
    const std::int64_t most = std::min(rows / plan.out_height, plan.images);
    const std::int64_t chunks = (plan.images + most - 1) / most;
    plan.chunk_images = (plan.images + chunks - 1) / chunks;
    plan.chunk_rows = plan.out_height;
    return;
  }
  const std::int64_t chunks = (plan.out_height + rows - 1) / rows;
  plan.chunk_images = 1;
  plan.chunk_rows = (plan.out_height + chunks - 1) / chunks;
}

/// Fewer channels are turned one by one; a window of one pixel with few products for each element
/// is bound by the packing.
constexpr std::int64_t kFewestChannels = 16;
constexpr std::int64_t kFewestProducts = 200;

bool is_worth_packing(const WeightsGradientPlan& plan) {
  const std::int64_t products = plan.out_channels * plan.channels;
  return plan.channels >= kFewestChannels &&
         (plan.taps() > 1 || products >= kFewestProducts * (plan.out_channels + plan.channels));
}

}  // namespace

std::unique_ptr<Kernel> lower_weights_gradient(const Node& node, std::span<const View> operands,
                                               const View& result) {
  const std::optional<PixelRows> dy = pixel_rows(operands[0]);
  const std::optional<PixelRows> x = pixel_rows(operands[1]);
  WeightsGradientPlan plan;
  plan.tiles = direct_tiles_for(operands[0].type.dtype);
  const Attributes& a = node.attributes();
  if (!dy || !x || plan.tiles == nullptr || dy->type != x->type || a.integer("groups") != 1) {
    return nullptr;
  }
  const std::vector<std::int64_t> extents = static_extents(result.type.shape);
  if (result.type.dtype != DType::f32 || is_blocked(result.type.layout) ||
      !same_strides(extents, result.strides, dense_strides({DType::f32, result.type.shape, {}}))) {
    return nullptr;
  }
  plan.size = size_of(operands[0].type.dtype);
  plan.x_pitch = x->pitch;
  plan.dy_pitch = dy->pitch;
  const std::vector<std::int64_t> in = static_extents(operands[1].type.shape);
  const std::vector<std::int64_t> out = static_extents(operands[0].type.shape);
  plan.images = in[0];
  plan.channels = in[1];
  plan.height = in[2];
  plan.width = in[3];
  plan.out_channels = out[1];
  plan.out_height = out[2];
  plan.out_width = out[3];
  for (const std::size_t axis : {0, 1}) {
    plan.kernel[axis] = a.ints("kernel")[axis];
    plan.stride[axis] = a.ints("strides")[axis];
    plan.dilation[axis] = a.ints("dilations")[axis];
    plan.pad[axis] = a.ints("pads")[axis];
  }
  if (!is_worth_packing(plan)) return nullptr;
  plan.vectors = direct_vectors(plan.out_channels);
  plan.row_pixels = plan.size == 2 ? rounded_up(plan.out_width, 2) : plan.out_width;
  // A tap reads row_pixels elements from its own on; a phase's pixels are written behind the
  // padding, up to a multiple of kSpread.
  const std::int64_t stride = plan.stride[1];
  const std::int64_t read = (plan.kernel[1] - 1) * plan.dilation[1] / stride + plan.row_pixels;
  const std::int64_t written =
      (plan.pad[1] + stride - 1) / stride + rounded_up((plan.width + stride - 1) / stride, kSpread);
  plan.line = rounded_up(std::max(read, written), 2);
  cut_chunks(plan);
  const bool single = plan.chunk_images == plan.images && plan.chunk_rows == plan.out_height;
  plan.buffers = single ? 1 : 2;
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
