#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "training/data/dataset.h"

/// What the sets of picture files share.
namespace facet {

/// Knows which files there are. A folder is read once, when the first of its files is asked for: a
/// list of a million files asks the system for its folders only.
class FileNames {
 public:
  /// Whether the folder of `path` has an entry of that name that is no folder.
  bool has(const std::filesystem::path& path);

 private:
  std::unordered_map<std::string, std::unordered_set<std::string>> folders_;
};

/// Picture files with labels.
class FileDataset : public Dataset {
 public:
  struct Item {
    std::string path;  ///< relative to the root
    std::int64_t label = 0;
  };

  FileDataset(const std::filesystem::path& root, std::vector<Item> items,
              std::vector<std::string> class_names, LeftOut left_out);

  std::int64_t size() const override { return static_cast<std::int64_t>(items_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::int64_t label(std::int64_t item) const override { return at(item).label; }
  std::string name(std::int64_t item) const override;
  Image load(std::int64_t item) const override { return read_image(name(item)); }
  void load_into(std::int64_t item, Image& image) const override {
    read_image_into(name(item), image);
  }
  bool load_to(std::int64_t item, int width, int height,
               std::span<std::uint8_t> pixels) const override {
    return read_image_to(name(item), width, height, pixels);
  }
  std::uint64_t fingerprint() const override { return fingerprint_; }
  const LeftOut& left_out() const override { return left_out_; }

 private:
  const Item& at(std::int64_t item) const { return items_.at(static_cast<std::size_t>(item)); }

  std::filesystem::path root_;
  std::vector<Item> items_;
  std::vector<std::string> class_names_;
  LeftOut left_out_;
  std::uint64_t fingerprint_ = 0;
};

/// "0", "1", ... as class names.
std::vector<std::string> numbers_up_to(std::int64_t count);

/// Throws Error(failure) about what was left out if there is something and it must not be; `of`
/// says what the entries are: "lines", "pairs".
void check_left_out(const LeftOut& left_out, BadEntries bad_entries, const std::string& set,
                    const char* of);

}  // namespace facet
