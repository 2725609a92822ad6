#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace facet::cuda {

/// What is costly to make, in a folder that processes share. A file's name is a hash of its key,
/// everything that decides the value, which the file repeats, so that an equal hash of something
/// else is seen. Files appear whole or not at all. Behind every new file those used longest ago are
/// deleted until `limit` bytes are kept. Safe from several threads.
class FileCache {
 public:
  /// `folder` is made when it is first written to; `extension` (".fck") tells its files from
  /// others'.
  FileCache(std::filesystem::path folder, std::string extension, std::size_t limit)
      : folder_(std::move(folder)), extension_(std::move(extension)), limit_(limit) {}

  /// The value, which then counts as used; none if there is no such file or it is torn.
  std::optional<std::string> read(std::string_view key) const;
  /// A folder that cannot be written to only costs the next making.
  void write(std::string_view key, std::string_view value) const;

 private:
  std::filesystem::path path_of(std::string_view key) const;
  void trim(const std::filesystem::path& newest) const;

  std::filesystem::path folder_;
  std::string extension_;
  std::size_t limit_;
};

}  // namespace facet::cuda
