#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "runtime/formats/mapped_file.h"

namespace facet {

/// Calls `take(number, text)` for every line, numbered from 1, without blanks and line ends around
/// it; empty ones, too.
template <class Take>
void for_each_line(const MappedFile& file, Take&& take) {
  std::string_view rest(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  for (std::int64_t number = 1; !rest.empty(); ++number) {
    const std::size_t length = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, length);
    rest.remove_prefix(std::min(length + 1, rest.size()));
    constexpr std::string_view kBlanks = " \t\r";
    line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
    line.remove_suffix(line.size() - (line.find_last_not_of(kBlanks) + 1));
    take(number, line);
  }
}

}  // namespace facet
