#include "training/random.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "ir/error.h"
#include "runtime/splitmix.h"

namespace facet {

Random::Random(std::uint64_t seed, std::uint64_t epoch, std::uint64_t item)
    : start_(splitmix64(splitmix64(splitmix64(seed, 0), epoch), item)) {}

std::uint64_t Random::bits() { return splitmix64(start_, count_++); }

double Random::uniform() { return static_cast<double>(bits() >> 11) / 0x1p53; }

std::int64_t Random::integer(std::int64_t count) {
  if (count < 1) throw usage_error(fmt::format("a random number below {} is not possible", count));
  const auto range = static_cast<std::uint64_t>(count);
  // The draws from the incomplete last round of `range` are thrown away: no number is favoured.
  const std::uint64_t excess = (0 - range) % range;
  std::uint64_t draw = bits();
  while (draw < excess) draw = bits();
  return static_cast<std::int64_t>(draw % range);
}

double Random::normal() {
  for (;;) {
    const double x = uniform(-1, 1);
    const double y = uniform(-1, 1);
    const double square = x * x + y * y;
    if (square > 0 && square < 1) return x * std::sqrt(-2 * portable_log(square) / square);
  }
}

double Random::gamma(double shape) {
  if (!(shape > 0)) throw usage_error(fmt::format("a gamma distribution of shape {}", shape));
  // Gamma(a) = Gamma(a + 1) U^(1 / a).
  if (shape < 1) {
    const double u = 1 - uniform();
    return gamma(shape + 1) * std::exp(portable_log(u) / shape);
  }
  const double d = shape - 1.0 / 3;
  const double c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = normal();
    const double root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    const double u = 1 - uniform();
    if (portable_log(u) < 0.5 * x * x + d - d * v + d * portable_log(v)) return d * v;
  }
}

double Random::beta(double a, double b) {
  const double x = gamma(a);
  const double y = gamma(b);
  return x + y > 0 ? x / (x + y) : 0.5;  // both can underflow for tiny a and b
}

std::vector<std::int64_t> permutation(std::int64_t count, Random random) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (std::int64_t i = count - 1; i > 0; --i) {
    const std::int64_t other = random.integer(i + 1);
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(other)]);
  }
  return order;
}

double portable_log(double x) {
  int exponent = 0;
  double mantissa = std::frexp(x, &exponent);  // [0.5, 1)
  if (mantissa < std::numbers::sqrt2 / 2) {
    mantissa *= 2;
    --exponent;
  }
  // log m = 2 atanh(z), z = (m - 1) / (m + 1), |z| < 0.172: the series' next term is below 1e-17.
  const double z = (mantissa - 1) / (mantissa + 1);
  const double square = z * z;
  double sum = 0;
  for (int k = 21; k >= 1; k -= 2) sum = sum * square + 1.0 / k;
  return 2 * z * sum + exponent * std::numbers::ln2;
}

}  // namespace facet
