#include "backends/cuda/file_cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

#include "ir/hash.h"

namespace facet::cuda {
namespace {

/// "facet 12 345\n" and then 12 bytes of key and 345 of value.
std::string heading(std::string_view key, std::string_view value) {
  return fmt::format("facet {} {}\n", key.size(), value.size());
}

}  // namespace

std::filesystem::path FileCache::path_of(std::string_view key) const {
  Hasher hasher;
  hasher.text(key);
  return folder_ / fmt::format("{:016x}{}", hasher.value(), extension_);
}

std::optional<std::string> FileCache::read(std::string_view key) const {
  const std::filesystem::path path = path_of(key);
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const std::size_t key_start = std::min(bytes.find('\n'), bytes.size() - 1) + 1;
  if (bytes.size() < key_start + key.size() || bytes.compare(key_start, key.size(), key) != 0) {
    return std::nullopt;
  }
  std::string value = bytes.substr(key_start + key.size());
  if (bytes.compare(0, key_start, heading(key, value)) != 0) return std::nullopt;  // torn
  std::error_code ignored;
  std::filesystem::last_write_time(path, std::filesystem::file_time_type::clock::now(), ignored);
  return value;
}

void FileCache::write(std::string_view key, std::string_view value) const {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  // Another process or thread may write the same file: each writes its own and renames it.
  static std::atomic<unsigned> written = 0;
  const std::filesystem::path path = path_of(key);
  const std::filesystem::path own =
      path.string() + fmt::format(".{}.{}", ::getpid(), written.fetch_add(1));
  {
    std::ofstream file(own, std::ios::binary | std::ios::trunc);
    file << heading(key, value) << key << value;
    if (!file.flush()) error = std::make_error_code(std::errc::io_error);
  }
  if (!error) std::filesystem::rename(own, path, error);
  if (error) {
    std::filesystem::remove(own, error);
    return;
  }
  trim(path);
}

void FileCache::trim(const std::filesystem::path& newest) const {
  struct Entry {
    std::filesystem::path path;
    std::filesystem::file_time_type used;
    std::size_t bytes;
  };
  std::vector<Entry> entries;
  std::size_t sum = 0;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(folder_, error)) {
    if (file.path().extension() != extension_) continue;
    const auto bytes = static_cast<std::size_t>(file.file_size(error));
    if (error) continue;  // another process has deleted it
    sum += bytes;
    if (file.path() != newest) entries.push_back({file.path(), file.last_write_time(error), bytes});
  }
  std::ranges::sort(entries, {}, &Entry::used);
  for (const Entry& entry : entries) {
    if (sum <= limit_) break;
    std::filesystem::remove(entry.path, error);
    sum -= entry.bytes;
  }
}

}  // namespace facet::cuda
