#pragma once

#include <cstdint>

namespace facet::cpu {

/// 0..total in parts of about one size, none above `most`, the larger ones first; without parts
/// where there is nothing. Divides once, as it stands ahead of short loops.
class EvenCut {
 public:
  EvenCut(std::int64_t total, std::int64_t most)
      : parts_((total + most - 1) / most),
        size_(parts_ > 0 ? total / parts_ : 0),
        larger_(total - parts_ * size_) {}

  std::int64_t parts() const { return parts_; }
  std::int64_t size(std::int64_t part) const { return size_ + (part < larger_ ? 1 : 0); }

 private:
  std::int64_t parts_, size_, larger_;
};

}  // namespace facet::cpu
