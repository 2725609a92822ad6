#pragma once

#include <map>
#include <string>
#include <string_view>

namespace facet {

/// Which file of a sharded model holds which tensor: the "weight_map" of *.index.json.
using WeightMap = std::map<std::string, std::string>;

/// An index larger than this is refused.
inline constexpr std::size_t kLargestWeightIndex = 100'000'000;

/// Reads the JSON of an index. "weight_map" must be there, once, and map names to plain file names
/// (no folders: shards lie beside the index); whatever else the object has is passed over.
/// Throws Error(failure) that says what is wrong; the caller adds the file.
WeightMap parse_weight_index(std::string_view json);

}  // namespace facet
