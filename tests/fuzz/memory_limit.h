#pragma once

#include <cstddef>

namespace facet::fuzz {

/// What reading one input may have allocated at any moment.
inline constexpr std::size_t kMemoryLimit = std::size_t{64} << 20;

/// Counts allocations from now on; one beyond the limit ends the program with where it was asked
/// for. The counting is the address sanitizer's; without it nothing is counted.
void watch_memory();
/// Starts the count of one input.
void begin_input();
/// The most that was allocated at once since `begin_input`.
std::size_t peak_memory();

}  // namespace facet::fuzz
