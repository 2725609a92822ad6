#include "runtime/formats/picture_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "ir/error.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

bool is_picture_name(const fs::path& path) {
  std::string extension = path.extension().string();
  std::ranges::transform(extension, extension.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

}  // namespace

std::vector<std::string> picture_files_below(const fs::path& folder) {
  std::vector<std::string> found;
  std::error_code error;
  fs::recursive_directory_iterator entries(folder, error);
  for (; !error && entries != fs::recursive_directory_iterator(); entries.increment(error)) {
    std::error_code ignored;
    if (entries->is_regular_file(ignored) && is_picture_name(entries->path())) {
      found.push_back(entries->path().string());
    }
  }
  if (error) throw failure(fmt::format("{}: cannot be read: {}", folder.string(), error.message()));
  std::ranges::sort(found);
  return found;
}

}  // namespace facet
