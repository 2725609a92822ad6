#include "cli/image_source.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "ir/error.h"
#include "runtime/formats/idx.h"
#include "runtime/formats/picture_files.h"

namespace facet::cli {
namespace {

namespace fs = std::filesystem;

/// Gzip's first two bytes, or IDX's: two zeros, the type u8, the rank.
bool is_idx(const std::string& path) {
  std::array<unsigned char, 4> head = {};
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(head.data()), head.size());
  if (!file) return false;
  const bool gzip = head[0] == 0x1F && head[1] == 0x8B;
  return gzip || (head[0] == 0 && head[1] == 0 && head[2] == 8);
}

}  // namespace

ImageSource::ImageSource(const std::vector<std::string>& paths, std::int64_t limit) {
  for (const std::string& path : paths) {
    if (limit > 0 && size() >= limit) break;
    add_path(path);
  }
  if (limit > 0 && size() > limit) items_.resize(static_cast<std::size_t>(limit));
}

void ImageSource::add_path(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    throw failure(fmt::format("{}: there is no such file or folder", path));
  }
  if (fs::is_directory(status)) return add_folder(path);
  if (is_idx(path)) return add_idx(path);
  items_.push_back({path, -1});
}

void ImageSource::add_folder(const std::string& path) {
  std::vector<std::string> found = picture_files_below(path);
  if (found.empty()) {
    throw failure(fmt::format("{}: the folder has no .jpg, .jpeg or .png file in it or below", path));
  }
  for (std::string& file : found) items_.push_back({std::move(file), -1});
}

void ImageSource::add_idx(const std::string& path) {
  HostTensor pictures = read_idx(path);
  if (pictures.rank() != 3) {
    throw failure(fmt::format("{}: holds u8[{}], but pictures are [N, height, width]; labels cannot "
                              "be embedded", path, fmt::join(pictures.shape(), ", ")));
  }
  for (std::int64_t i = 0; i < pictures.shape()[0]; ++i) items_.push_back({path, i});
  idx_files_.insert_or_assign(path, std::move(pictures));
}

std::string ImageSource::name(std::int64_t number) const {
  const Item& item = items_.at(static_cast<std::size_t>(number));
  return item.position < 0 ? item.path : fmt::format("{}#{}", item.path, item.position);
}

std::uint64_t ImageSource::fingerprint() const {
  std::uint64_t hash = 0xCBF29CE484222325U;  // FNV-1a
  for (std::int64_t i = 0; i < size(); ++i) {
    for (const char c : name(i) + "\n") hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  }
  return hash;
}

Image ImageSource::load(std::int64_t number) const {
  const Item& item = items_.at(static_cast<std::size_t>(number));
  if (item.position < 0) return read_image(item.path);
  const HostTensor& pictures = idx_files_.at(item.path);
  const std::int64_t height = pictures.shape()[1];
  const std::int64_t width = pictures.shape()[2];
  const auto* grey = pictures.as<std::uint8_t>() + item.position * height * width;
  return image_from_grey({grey, static_cast<std::size_t>(height * width)}, static_cast<int>(width),
                         static_cast<int>(height));
}

}  // namespace facet::cli
