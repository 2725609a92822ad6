#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace facet {

/// The paths of the JPEG and PNG files (by name: .jpg, .jpeg, .png in any case) in `folder` and
/// below, sorted byte by byte. Throws Error(failure) if a folder cannot be read.
std::vector<std::string> picture_files_below(const std::filesystem::path& folder);

}  // namespace facet
