#pragma once

#include <cstdint>
#include <vector>

namespace facet {

/// Draws of one item of one epoch: counted, not streamed, so they depend on (seed, epoch, item) and
/// the number of draws before them, never on threads or on other items. The same on every machine:
/// only integers, the four operations and square roots, which IEEE 754 defines to the bit.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t epoch = 0, std::uint64_t item = 0);

  /// 64 random bits.
  std::uint64_t bits();
  /// In [0, 1), a multiple of 2^-53.
  double uniform();
  /// In [low, high).
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// In [0, count), all equally likely. Throws Error(usage) if count is less than 1.
  std::int64_t integer(std::int64_t count);
  /// True with this probability; 0 is never, 1 always. Takes one draw in every case.
  bool chance(double probability) { return uniform() < probability; }
  /// Of mean 0 and variance 1 (Marsaglia's polar method).
  double normal();
  /// Gamma(shape, 1) for shape > 0 (Marsaglia and Tsang, 2000); Error(usage) otherwise.
  double gamma(double shape);
  /// Beta(a, b) for a, b > 0.
  double beta(double a, double b);

 private:
  std::uint64_t start_;
  std::uint64_t count_ = 0;
};

/// The numbers 0 to count - 1 in a random order (Fisher and Yates).
std::vector<std::int64_t> permutation(std::int64_t count, Random random);

/// The natural logarithm of x > 0, to 1e-15 and to the bit on every machine; the C library's may
/// differ between machines in the last place.
double portable_log(double x);

}  // namespace facet
