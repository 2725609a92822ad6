#pragma once

#include <string>
#include <string_view>

namespace facet {

/// Text out of a file, for a message: in double quotes, cut after 100 bytes, and without bytes that
/// a terminal would act on.
std::string in_quotes(std::string_view text);

}  // namespace facet
