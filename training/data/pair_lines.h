#pragma once

#include <string>
#include <string_view>

namespace facet {

/// A line of a list of pairs, as paths relative to the folder of the pictures.
struct ListedPair {
  std::string first;
  std::string second;
  bool same = false;
};

/// Reads one of the forms that open_pairs names. Throws Error(failure) for another.
ListedPair parse_pair(std::string_view text);

/// Whether it is one of them, and not "path label" of a list of pictures whose path has a blank.
bool is_pair(std::string_view text);

/// Whether the line has nothing but numbers in it, as the first of LFW's pairs.txt.
bool has_numbers_alone(std::string_view text);

}  // namespace facet
