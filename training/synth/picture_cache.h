#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/formats/image.h"

namespace facet::synth {

/// Keeps rendered pictures of 112 x 112 if all of a set fit into kMostBytes (13,000 pictures): a
/// training sees them in every epoch. Larger sets are rendered each time. Any number of threads may
/// call `get`.
class PictureCache {
 public:
  static constexpr std::int64_t kMostBytes = std::int64_t{512} << 20;
  static constexpr std::int64_t kPictureBytes = std::int64_t{112} * 112 * Image::channels;

  explicit PictureCache(std::int64_t pictures)
      : slots_(pictures <= kMostBytes / kPictureBytes ? static_cast<std::size_t>(pictures) : 0) {}
  ~PictureCache() {
    for (const auto& slot : slots_) delete slot.load();
  }
  PictureCache(const PictureCache&) = delete;
  PictureCache& operator=(const PictureCache&) = delete;

  /// Picture `item`; `render` makes it where it is not kept yet. Two threads may render the same
  /// one.
  template <class Render>
  Image get(std::int64_t item, const Render& render) const {
    if (slots_.empty()) return render();
    std::atomic<const Image*>& slot = slots_.at(static_cast<std::size_t>(item));
    if (const Image* kept = slot.load(std::memory_order_acquire)) return *kept;
    auto made = std::make_unique<const Image>(render());
    const Image* expected = nullptr;
    if (slot.compare_exchange_strong(expected, made.get(), std::memory_order_acq_rel)) {
      return *made.release();
    }
    return *expected;
  }

 private:
  mutable std::vector<std::atomic<const Image*>> slots_;  // owned
};

}  // namespace facet::synth
