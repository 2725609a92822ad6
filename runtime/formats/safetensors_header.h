#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ir/dtype.h"
#include "runtime/formats/safetensors.h"

namespace facet {

/// The header may not be longer than this, as in the reference implementation.
inline constexpr std::uint64_t kLargestSafetensorsHeader = 100'000'000;

/// One tensor as the header declares it; `begin` and `end` count bytes from the end of the header.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;
  Metadata metadata;
};

/// Reads the JSON in one pass that accepts nothing but the format's own shape, so a hostile header
/// cannot nest deeply or grow in memory. `data_size` is the number of bytes after the header.
/// Throws Error(failure) that says what is wrong (the caller adds the file).
SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_size);

/// "F32", "BF16", ...: the spelling of the file format.
std::string_view safetensors_dtype(DType dtype);

}  // namespace facet
