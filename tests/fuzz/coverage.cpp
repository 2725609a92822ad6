#include "tests/fuzz/coverage.h"

#include <array>
#include <bit>

namespace facet::fuzz {
namespace {

constexpr std::size_t kPlaces = std::size_t{1} << 16;
constexpr std::size_t kComparisons = 1024;

std::array<std::uint8_t, kPlaces> hits;  // of this input; saturated
std::array<std::uint8_t, kPlaces> seen;  // bits: in which powers of two of hits
std::size_t seen_count = 0;
std::uintptr_t previous = 0;
std::array<std::uint64_t, kComparisons> comparisons;  // no vector: initialisers of others run first
std::size_t next_comparison = 0;

void note_place(std::uintptr_t place) {
  const std::uintptr_t mixed = (place ^ (previous >> 1)) * 0x9E3779B97F4A7C15U;
  std::uint8_t& count = hits[mixed >> 48];
  if (count != 0xFF) ++count;
  previous = place;
}

void note_comparison(std::uint64_t a, std::uint64_t b) {
  if (a == b) return;
  comparisons[next_comparison++ % kComparisons] = a;
  comparisons[next_comparison++ % kComparisons] = b;
}

}  // namespace

void forget_coverage() {
  hits.fill(0);
  previous = 0;
}

bool found_new_coverage() {
  bool found = false;
  for (std::size_t i = 0; i < kPlaces; ++i) {
    if (hits[i] == 0) continue;
    const auto bucket = static_cast<std::uint8_t>(1U << (std::bit_width(hits[i]) - 1U));
    if ((seen[i] & bucket) != 0) continue;
    seen[i] |= bucket;
    ++seen_count;
    found = true;
  }
  return found;
}

std::size_t covered() { return seen_count; }
std::span<const std::uint64_t> compared() { return comparisons; }

}  // namespace facet::fuzz

// The compiler calls these from the code under test.
extern "C" {
void __sanitizer_cov_trace_pc() {
  facet::fuzz::note_place(reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)));
}
void __sanitizer_cov_trace_cmp1(std::uint8_t a, std::uint8_t b) {
  facet::fuzz::note_comparison(a, b);
}
void __sanitizer_cov_trace_cmp2(std::uint16_t a, std::uint16_t b) {
  facet::fuzz::note_comparison(a, b);
}
void __sanitizer_cov_trace_cmp4(std::uint32_t a, std::uint32_t b) {
  facet::fuzz::note_comparison(a, b);
}
void __sanitizer_cov_trace_cmp8(std::uint64_t a, std::uint64_t b) {
  facet::fuzz::note_comparison(a, b);
}
void __sanitizer_cov_trace_const_cmp1(std::uint8_t a, std::uint8_t b) {
  facet::fuzz::note_comparison(a, b);
}
void __sanitizer_cov_trace_const_cmp2(std::uint16_t a, std::uint16_t b) {
  facet::fuzz::note_comparison(a, b);
}
void __sanitizer_cov_trace_const_cmp4(std::uint32_t a, std::uint32_t b) {
  facet::fuzz::note_comparison(a, b);
}
void __sanitizer_cov_trace_const_cmp8(std::uint64_t a, std::uint64_t b) {
  facet::fuzz::note_comparison(a, b);
}
void __sanitizer_cov_trace_cmpf(float, float) {}
void __sanitizer_cov_trace_cmpd(double, double) {}
/// cases: how many there are, their width in bits, then they themselves.
void __sanitizer_cov_trace_switch(std::uint64_t value, const std::uint64_t* cases) {
  for (std::uint64_t i = 0; i < cases[0]; ++i) facet::fuzz::note_comparison(value, cases[2 + i]);
}
}
