#include <omp.h>

#include <algorithm>
#include <limits>

#include "backends/cpu/kernels/gate.h"
#include "backends/cpu/kernels/gate_plan.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"

// Runs the gate kernel. With as many images as threads each thread takes images of its own;
// otherwise the team takes one image after the other, its parts shared, with a barrier where a
// thread needs what others have reduced. What is small is computed by every thread for itself.

namespace facet::cpu {
namespace {

/// Pixels whose rows stay in the first-level cache between two loops over them.
constexpr std::int64_t kTile = 16;
/// Bytes a prefetch asks for, and by how many it runs ahead: rows of a pixel are too short, and in
/// a slice too far apart, for the machine to see what comes next.
constexpr std::int64_t kLine = 64;
constexpr std::int64_t kAhead = 4096;
/// Bytes of all images from which on that is worth it: fewer are still in the second-level cache.
constexpr std::int64_t kFar = 1 << 20;
/// Elements that pass through f32 at once where rows are not read as they are.
constexpr std::int64_t kChunk = 256;

/// The threads that work on one image.
struct Team {
  std::int64_t thread = 0, size = 1;
  void barrier() const {
    if (size > 1) {
#pragma omp barrier
    }
  }
  bool leads() const { return thread == 0; }
};

class Run {
 public:
  Run(const GatePlan& plan, const Addresses& addresses)
      : plan_(plan),
        gate_(plan.gate),
        loops_(*plan.loops),
        addresses_(addresses),
        scratch_(reinterpret_cast<float*>(addresses.scratch)) {}

  bool converts() const {
    return std::any_of(plan_.weights.begin(), plan_.weights.end(),
                       [](const GateWeight& w) { return w.operand >= 0 && !w.dense; });
  }
  /// Weights in dense f32; once, before anything reads them.
  void convert() const {
    for (const GateWeight& weight : plan_.weights) {
      if (weight.operand >= 0 && !weight.dense) copy_weight(weight);
    }
  }

  /// The stage pixels' weights as the loops read them, in the thread's slot; before any image.
  void prepare(std::int64_t thread) const {
    if (!gate_.has(GateStage::pixels)) return;
    float* const base = slot(thread);
    float* const b1 = base + plan_.slot.pixel_b1;
    float* const w2 = base + plan_.slot.pixel_w2;
    std::fill_n(b1, padded_hidden(), 0.0f);
    std::fill_n(w2, padded_hidden(), 0.0f);
    if (const float* from = weight(gate_.pixel_b1)) std::copy_n(from, gate_.pixel_hidden, b1);
    std::copy_n(weight(gate_.pixel_w2), gate_.pixel_hidden, w2);
    if (plan_.packs_scaled) return;
    std::fill_n(base + plan_.slot.scale, gate_.channels, 1.0f);
    pack(base);
  }

  void image(std::int64_t n, std::int64_t shared_slot, std::int64_t own_slot,
             const Team& team) const;

 private:
  friend class Image;

  void copy_weight(const GateWeight& weight) const {
    const std::int64_t count = facet::element_count(weight.extents);
    const std::int64_t columns = weight.extents.back();
    Loops rows{{weight.extents.begin(), weight.extents.end() - 1},
               {{weight.strides.begin(), weight.strides.end() - 1}}};
    pad_loops(rows, 1);
    const std::byte* const from = addresses_.operands[static_cast<std::size_t>(weight.operand)];
    float* to = scratch_ + weight.place;
    for_each_position(rows, 0, count / columns, [&](const std::vector<std::int64_t>& at) {
      load_floats(weight.type, from + at[0] * size_of(weight.type), weight.strides.back(), to,
                  columns);
      to += columns;
    });
  }

  /// Dense f32, or null for an absent operand.
  const float* weight(int operand) const {
    if (operand < 0) return nullptr;
    const GateWeight& weight = plan_.weights[static_cast<std::size_t>(operand)];
    if (!weight.dense) return scratch_ + weight.place;
    return reinterpret_cast<const float*>(addresses_.operands[static_cast<std::size_t>(operand)]);
  }
  float number(int operand, float absent) const {
    const float* const at = weight(operand);
    return at == nullptr ? absent : *at;
  }

  /// The type that the loops read x in.
  Float read_type() const { return plan_.x.direct ? plan_.x.type : Float::f32; }

  float* slot(std::int64_t i) const { return scratch_ + plan_.first_slot + i * plan_.slot.floats; }
  std::int64_t padded_hidden() const {
    return (gate_.pixel_hidden + kGateHidden - 1) / kGateHidden * kGateHidden;
  }
  /// Weights of the stage pixels times the slot's scale.
  void pack(float* base) const {
    loops_.pack[static_cast<int>(read_type())](weight(gate_.pixel_w1), base + plan_.slot.scale,
                                               gate_.channels, gate_.pixel_hidden,
                                               base + plan_.slot.packed);
  }

  const GatePlan& plan_;
  const Gate& gate_;
  const GateLoops& loops_;
  const Addresses& addresses_;
  float* scratch_;
};

/// One image, seen by one thread of the team.
class Image {
 public:
  Image(const Run& run, std::int64_t n, float* shared, float* own, const Team& team)
      : run_(run),
        plan_(run.plan_),
        gate_(run.gate_),
        team_(team),
        base_(shared),
        own_(own),
        type_(static_cast<int>(run.read_type())),
        x_(run.addresses_.operands[0] + n * plan_.x.image * size_of(plan_.x.type)),
        y_(run.addresses_.results[0] + n * plan_.y.image * size_of(plan_.y.type)),
        far_(plan_.images * gate_.pixels() * gate_.channels * size_of(plan_.x.type) > kFar) {
    if (gate_.residual >= 0) {
      residual_ = run.addresses_.operands[static_cast<std::size_t>(gate_.residual)] +
                  n * plan_.residual.image * size_of(plan_.residual.type);
    }
  }

  void work() {
    begin();
    for (std::size_t i = 0; i < gate_.stages.size(); ++i) {
      last_ = i + 1 == gate_.stages.size();
      switch (gate_.stages[i]) {
        case GateStage::pixels:
          folds_next_ = !last_ && gate_.stages[i + 1] == GateStage::channels;
          map_pixels();
          break;
        case GateStage::channels:
          vote();
          break;
        case GateStage::window:
          look_around();
          break;
      }
    }
    if (gate_.stages.back() != GateStage::pixels) {
      // x was read by the stages; what it is added to, and where the sum goes, was not.
      const auto ask = [&](std::int64_t p) __attribute__((always_inline)) {
        if (residual_ != nullptr) ask_for(residual_, plan_.residual, p);
        ask_for<true>(y_, plan_.y, p);
      };
      each_part([&](std::int64_t, std::int64_t first, std::int64_t end) {
        each_tile(first, end, ask,
                  [&](std::int64_t p, std::int64_t tile_end) { write(p, tile_end); });
      });
    }
  }

 private:
  float* scale() const { return own_ + plan_.slot.scale; }
  float* map() const { return base_ + plan_.slot.map; }
  float* sums(std::int64_t part) const { return base_ + plan_.slot.sums + part * gate_.channels; }
  float* maxima(std::int64_t part) const {
    return gate_.max_too ? base_ + plan_.slot.maxima + part * gate_.channels : nullptr;
  }
  float* maps() const { return base_ + plan_.slot.maps; }

  /// body(part, first pixel, end) for this thread's share of the parts, which begin at multiples of
  /// eight pixels.
  template <class Body>
  void each_part(const Body& body) const {
    const std::int64_t groups = (gate_.pixels() + 7) / 8;
    const auto border = [&](std::int64_t part) {
      return std::min(groups * part / plan_.parts * 8, gate_.pixels());
    };
    const std::int64_t end = plan_.parts * (team_.thread + 1) / team_.size;
    for (std::int64_t part = plan_.parts * team_.thread / team_.size; part < end; ++part) {
      body(part, border(part), border(part + 1));
    }
  }

  /// Pixels [first, end) as the loops read them.
  GatePixels pixels(std::int64_t first, std::int64_t end) const {
    if (!plan_.x.direct) {
      return {base_ + plan_.slot.staged + first * gate_.channels, gate_.channels, end - first,
              gate_.channels};
    }
    return {x_ + first * plan_.x.pixel * size_of(plan_.x.type), plan_.x.pixel, end - first,
            gate_.channels};
  }

  void begin() {
    each_part([&](std::int64_t part, std::int64_t first, std::int64_t end) {
      std::fill(map() + first, map() + end, 1.0f);
      std::fill_n(sums(part), gate_.channels, 0.0f);
      if (gate_.max_too) {
        std::fill_n(maxima(part), gate_.channels, -std::numeric_limits<float>::infinity());
      }
      if (!plan_.x.direct) stage(first, end);
    });
    std::fill_n(scale(), gate_.channels, 1.0f);
    if (!gate_.has(GateStage::window)) return;
    if (team_.leads()) std::fill_n(maps(), 2 * gate_window_shape(gate_).map, 0.0f);
    if (gate_.stages[0] != GateStage::channels) team_.barrier();  // the channels' own comes first
  }

  static std::int64_t place(const GateView& view, std::int64_t pixel, std::int64_t width) {
    return (pixel / width * view.row + pixel % width * view.pixel) * size_of(view.type);
  }

  /// x in f32, channels contiguous. Rows of one channel are read along the pixels.
  void stage(std::int64_t first, std::int64_t end) const {
    for (std::int64_t p = first; p < end; ++p) {
      load_floats(plan_.x.type, x_ + place(plan_.x, p, gate_.width), plan_.x.channel,
                  base_ + plan_.slot.staged + p * gate_.channels, gate_.channels);
    }
  }

  /// body(first, end) for tiles of the pixels [first, end), each when `ask` was called for pixels
  /// kAhead bytes behind it.
  template <class Ask, class Body>
  void each_tile(std::int64_t first, std::int64_t end, const Ask& ask, const Body& body) const {
    const std::int64_t row = gate_.channels * size_of(plan_.x.type);
    const std::int64_t ahead = (kAhead + row - 1) / row;
    std::int64_t asked = far_ ? first : end;
    for (std::int64_t p = first; p < end; p += kTile) {
      const std::int64_t tile_end = std::min(p + kTile, end);
      for (; asked < std::min(tile_end + ahead, end); ++asked) ask(asked);
      body(p, tile_end);
    }
  }
  /// Asks for a pixel of `view`, to be read or, with `kWrite`, to be written.
  template <bool kWrite = false>
  [[gnu::always_inline]] void ask_for(const std::byte* image, const GateView& view,
                                      std::int64_t pixel) const {
    if (!view.direct) return;
    const std::byte* const row = image + pixel * view.pixel * size_of(view.type);
    for (std::int64_t at = 0; at < gate_.channels * size_of(view.type); at += kLine) {
      __builtin_prefetch(row + at, kWrite ? 1 : 0, 2);
    }
  }

  /// Where nobody has read x yet.
  template <class Body>
  void each_tile_of_x(std::int64_t first, std::int64_t end, const Body& body) const {
    const auto ask = [&](std::int64_t p) __attribute__((always_inline)) {
      ask_for(x_, plan_.x, p);
    };
    each_tile(first, end, ask, body);
  }

  void fold(std::int64_t part, std::int64_t first, std::int64_t end) const {
    run_.loops_.fold[type_](pixels(first, end), map() + first, sums(part), maxima(part));
  }

  void map_pixels() {
    if (plan_.packs_scaled) run_.pack(own_);
    const GateMap stage{own_ + plan_.slot.packed, own_ + plan_.slot.pixel_b1,
                        own_ + plan_.slot.pixel_w2, run_.number(gate_.pixel_b2, 0),
                        run_.padded_hidden()};
    each_part([&](std::int64_t part, std::int64_t first, std::int64_t end) {
      each_tile_of_x(first, end, [&](std::int64_t p, std::int64_t tile_end) {
        run_.loops_.map[type_](pixels(p, tile_end), stage, map() + p);
        if (folds_next_) fold(part, p, tile_end);
        if (last_) write(p, tile_end);
      });
    });
    folded_ = folds_next_;
  }

  void vote() {
    if (!folded_) {
      each_part([&](std::int64_t part, std::int64_t first, std::int64_t end) {
        each_tile_of_x(first, end,
                       [&](std::int64_t p, std::int64_t tile_end) { fold(part, p, tile_end); });
      });
    }
    team_.barrier();
    merge_parts();
    GateVote stage;
    stage.w1 = run_.weight(gate_.channel_w1);
    stage.b1 = run_.weight(gate_.channel_b1);
    stage.w2 = run_.weight(gate_.channel_w2);
    stage.b2 = run_.weight(gate_.channel_b2);
    stage.gamma = run_.number(gate_.gamma, 1);
    stage.hidden = gate_.channel_hidden;
    stage.channels = gate_.channels;
    stage.mean = own_ + plan_.slot.mean;
    stage.max = gate_.max_too ? own_ + plan_.slot.max : nullptr;
    run_.loops_.vote(stage, own_ + plan_.slot.hidden, scale());
  }

  /// Means and maxima of the image, in the order of the parts.
  void merge_parts() const {
    const float share = 1.0f / static_cast<float>(gate_.pixels());
    float* const mean = own_ + plan_.slot.mean;
    std::copy_n(sums(0), gate_.channels, mean);
    for (std::int64_t part = 1; part < plan_.parts; ++part) {
      const float* const more = sums(part);
      for (std::int64_t c = 0; c < gate_.channels; ++c) mean[c] += more[c];
    }
    for (std::int64_t c = 0; c < gate_.channels; ++c) mean[c] *= share;
    if (!gate_.max_too) return;
    float* const max = own_ + plan_.slot.max;
    std::copy_n(maxima(0), gate_.channels, max);
    for (std::int64_t part = 1; part < plan_.parts; ++part) {
      const float* const more = maxima(part);
      for (std::int64_t c = 0; c < gate_.channels; ++c) {
        max[c] = max[c] > more[c] || max[c] != max[c] ? max[c] : more[c];
      }
    }
  }

  void look_around() {
    GateWindow stage = gate_window_shape(gate_);
    stage.maps = maps();
    stage.weight = run_.weight(gate_.window_w);
    stage.bias = run_.number(gate_.window_b, 0);
    each_part([&](std::int64_t, std::int64_t first, std::int64_t end) {
      constexpr std::int64_t kPooled = 64;
      for (std::int64_t p = first; p < end; p += kPooled)
        pool(stage, p, std::min(p + kPooled, end));
    });
    team_.barrier();
    each_part([&](std::int64_t, std::int64_t first, std::int64_t end) {
      run_.loops_.window(stage, first, end, map());
    });
  }

  /// Means and maxima of up to 64 pixels, into the padded maps. Gates are positive, so what the
  /// stages before multiply a pixel by multiplies both.
  void pool(const GateWindow& window, std::int64_t first, std::int64_t end) const {
    float mean[64], max[64];
    run_.loops_.pool[type_](pixels(first, end), scale(), mean, max);
    const std::int64_t pad = gate_.kernel / 2;
    float* row = maps() + (first / gate_.width + pad) * window.row + pad;
    std::int64_t w = first % gate_.width;
    for (std::int64_t p = first; p < end; ++p, ++w) {
      if (w == gate_.width) {
        w = 0;
        row += window.row;
      }
      row[w] = mean[p - first] * map()[p];
      row[window.map + w] = max[p - first] * map()[p];
    }
  }

  /// y of pixels [first, end).
  void write(std::int64_t first, std::int64_t end) const {
    if (!plan_.direct_result) return write_by_chunks(first, end);
    const std::int64_t size = size_of(plan_.x.type);
    GateResult result{scale(),
                      map() + first,
                      nullptr,
                      plan_.residual.pixel,
                      y_ + first * plan_.y.pixel * size,
                      plan_.y.pixel,
                      gate_.relu};
    if (residual_ != nullptr) result.residual = residual_ + first * plan_.residual.pixel * size;
    run_.loops_.apply[type_](pixels(first, end), result);
  }

  /// Any strides and types, by way of f32.
  void write_by_chunks(std::int64_t first, std::int64_t end) const {
    float x[kChunk], more[kChunk];
    for (std::int64_t p = first; p < end; ++p) {
      for (std::int64_t c = 0; c < gate_.channels; c += kChunk) {
        const std::int64_t count = std::min(kChunk, gate_.channels - c);
        const auto at = [&](const GateView& view) {
          return place(view, p, gate_.width) + c * view.channel * size_of(view.type);
        };
        load_floats(plan_.x.type, x_ + at(plan_.x), plan_.x.channel, x, count);
        GateResult result{scale() + c, map() + p, nullptr, 0, x, 0, gate_.relu};
        if (residual_ != nullptr) {
          const GateView& view = plan_.residual;
          load_floats(view.type, residual_ + at(view), view.channel, more, count);
          result.residual = more;
        }
        run_.loops_.apply[static_cast<int>(Float::f32)]({x, 0, 1, count}, result);
        store_floats(plan_.y.type, x, y_ + at(plan_.y), plan_.y.channel, count);
      }
    }
  }

  const Run& run_;
  const GatePlan& plan_;
  const Gate& gate_;
  const Team& team_;
  float* base_;
  float* own_;
  int type_;
  const std::byte* x_;
  std::byte* y_;
  bool far_;
  const std::byte* residual_ = nullptr;
  bool last_ = false, folds_next_ = false, folded_ = false;
};

void Run::image(std::int64_t n, std::int64_t shared_slot, std::int64_t own_slot,
                const Team& team) const {
  Image(*this, n, slot(shared_slot), slot(own_slot), team).work();
}

}  // namespace

void GatePlan::run(const Addresses& addresses) const {
  const Run run(*this, addresses);
  const std::int64_t most = std::min<std::int64_t>(slots, omp_get_max_threads());
  const std::int64_t threads = images * work() < kAloneBelow ? 1 : most;
  const auto alone = [&](std::int64_t begin, std::int64_t end, std::int64_t slot_of_thread) {
    for (std::int64_t n = begin; n < end; ++n) run.image(n, slot_of_thread, slot_of_thread, Team{});
  };
  if (run.converts()) run.convert();
  if (threads == 1) {
    run.prepare(0);
    return alone(0, images, 0);
  }
  const bool own_images = images % threads == 0 || images >= 4 * threads;
#pragma omp parallel num_threads(static_cast <int>(threads))
  {
    const Team team{omp_get_thread_num(), omp_get_num_threads()};
    run.prepare(team.thread);
    if (own_images) {
      alone(images * team.thread / team.size, images * (team.thread + 1) / team.size, team.thread);
    } else {
      for (std::int64_t n = 0; n < images; ++n) {
        run.image(n, 0, team.thread, team);
        if (n + 1 < images) team.barrier();
      }
    }
  }
}

}  // namespace facet::cpu
