#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "ir/error.h"

/// A fuzz target is one file with this entry point, as libFuzzer calls it. It must return 0 for any
/// bytes: what it reads is either right or refused by an Error; every other exception, a
/// sanitizer's finding or too much memory (see memory_limit.cpp) is a fault.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace facet::fuzz {

inline std::span<const std::byte> bytes_of(const std::uint8_t* data, std::size_t size) {
  return std::as_bytes(std::span(data, size));
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Runs `read`, which may refuse its input.
template <class Read>
int attempt(Read&& read) {
  try {
    read();
  } catch (const Error&) {
  }
  return 0;
}

}  // namespace facet::fuzz
