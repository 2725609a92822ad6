#include "training/center_sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "ir/error.h"
#include "runtime/splitmix.h"

namespace facet {
namespace {

/// Draws by their leading bits: as many counters as fit a first-level cache.
constexpr int kBucketBits = 12;
constexpr std::size_t kBuckets = std::size_t{1} << kBucketBits;

/// The draws of one step for the classes that are not in the batch.
class Draws {
 public:
  Draws(std::uint64_t start, std::int64_t classes, const std::vector<std::int64_t>& taken)
      : start_(start), classes_(classes), taken_(taken) {}

  std::uint64_t of(std::int64_t label) const {
    return splitmix64(start_, static_cast<std::uint64_t>(label));
  }
  static std::size_t bucket(std::uint64_t draw) { return draw >> (64 - kBucketBits); }

  /// The bucket of the `count`-th largest draw; `above`: how many draws are in larger ones.
  std::size_t threshold(std::int64_t count, std::int64_t& above) const {
    std::array<std::int64_t, kBuckets> found{};
    for (std::int64_t i = 0; i < classes_; ++i) ++found[bucket(of(i))];
    for (const std::int64_t label : taken_) --found[bucket(of(label))];
    above = 0;
    std::size_t b = kBuckets - 1;
    for (; b > 0 && above + found[b] < count; --b) above += found[b];
    return b;
  }

  /// Classes with one of the `count` largest draws, and those of the batch.
  std::vector<std::int64_t> choose(std::int64_t count) const {
    if (count == 0) return taken_;
    std::int64_t above = 0;
    const std::size_t edge = threshold(count, above);
    std::vector<std::int64_t> chosen, candidates;
    auto next = taken_.begin();
    for (std::int64_t i = 0; i < classes_; ++i) {
      const bool taken = next != taken_.end() && *next == i;
      if (taken) ++next;
      const std::size_t b = bucket(of(i));
      if (taken || b > edge) {
        chosen.push_back(i);
      } else if (b == edge) {
        candidates.push_back(i);
      }
    }
    const auto rest = candidates.begin() + (count - above);
    std::nth_element(candidates.begin(), rest, candidates.end(),
                     [&](std::int64_t one, std::int64_t other) {
                       const std::uint64_t a = of(one), b = of(other);
                       return a != b ? a > b : one < other;
                     });
    std::sort(candidates.begin(), rest);
    std::vector<std::int64_t> all;
    all.reserve(chosen.size() + static_cast<std::size_t>(count - above));
    std::merge(chosen.begin(), chosen.end(), candidates.begin(), rest, std::back_inserter(all));
    return all;
  }

 private:
  std::uint64_t start_;
  std::int64_t classes_;
  const std::vector<std::int64_t>& taken_;
};

}  // namespace

CenterSampler::CenterSampler(std::int64_t classes, std::int64_t sample, std::uint64_t seed)
    : classes_(classes), sample_(sample), seed_(seed) {
  if (sample >= 1 && sample <= classes) return;
  throw usage_error(fmt::format("{} of {} class centres cannot be sampled", sample, classes));
}

HostTensor CenterSampler::draw(std::int64_t step, const std::vector<HostTensor>& labels) const {
  std::vector<std::int64_t> taken;
  for (const HostTensor& batch : labels) {
    std::copy_if(batch.as<std::int64_t>(), batch.as<std::int64_t>() + batch.element_count(),
                 std::back_inserter(taken),
                 [&](std::int64_t label) { return label >= 0 && label < classes_; });
  }
  std::ranges::sort(taken);
  taken.erase(std::ranges::unique(taken).begin(), taken.end());
  const std::int64_t rest = sample_ - static_cast<std::int64_t>(taken.size());
  if (rest < 0) {
    throw usage_error(
        fmt::format("a batch of {} classes for a sample of {} centres", taken.size(), sample_));
  }
  const std::uint64_t start = splitmix64(splitmix64(seed_, 0), static_cast<std::uint64_t>(step));
  const std::vector<std::int64_t> chosen = Draws(start, classes_, taken).choose(rest);
  HostTensor rows(DType::i64, {sample_});
  std::ranges::copy(chosen, rows.as_mutable<std::int64_t>());
  return rows;
}

HostTensor places_of(const HostTensor& labels, const HostTensor& classes) {
  HostTensor places(DType::i64, labels.shape());
  const auto* first = classes.as<std::int64_t>();
  const auto* last = first + classes.element_count();
  std::transform(labels.as<std::int64_t>(), labels.as<std::int64_t>() + labels.element_count(),
                 places.as_mutable<std::int64_t>(), [&](std::int64_t label) {
                   const auto* at = std::lower_bound(first, last, label);
                   return at != last && *at == label ? at - first : std::ptrdiff_t{-1};
                 });
  return places;
}

}  // namespace facet
