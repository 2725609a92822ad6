#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace facet::fuzz {

/// What the last input reached, as the compiler's instrumentation counts it
/// (-fsanitize-coverage=trace-pc,trace-cmp): places with how often, and what was compared.

void forget_coverage();
/// Whether something was reached for the first time, or a new number of times (in powers of two),
/// since the program began; it is remembered.
bool found_new_coverage();
/// Numbers of things reached so far.
std::size_t covered();
/// Constants and values that were compared lately: a number that a format expects is one of them.
std::span<const std::uint64_t> compared();

}  // namespace facet::fuzz
