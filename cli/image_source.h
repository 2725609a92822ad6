#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ir/host_tensor.h"
#include "runtime/formats/image.h"
#include "training/data/dataset.h"

namespace facet::cli {

/// Pictures by number, from files, folders (JPEG and PNG in them and below, sorted by name) and IDX
/// files of grey pictures [N, height, width], plain or gzipped. Immutable after construction, so
/// several threads may load at once.
class ImageSource : public PictureSet {
 public:
  /// Keeps the first `limit` pictures; 0 keeps all. Throws Error(failure) for a path that does not
  /// exist, a folder without pictures and an IDX file that cannot be read.
  ImageSource(const std::vector<std::string>& paths, std::int64_t limit);

  std::int64_t size() const override { return static_cast<std::int64_t>(items_.size()); }
  /// The path; for a picture of an IDX file with "#" and its number behind it.
  std::string name(std::int64_t number) const override;
  /// Decodes. Throws Error(failure) that names the file.
  Image load(std::int64_t number) const override;
  /// Of the names.
  std::uint64_t fingerprint() const override;

 private:
  struct Item {
    std::string path;
    std::int64_t position = -1;  ///< in an IDX file; -1: a picture file
  };
  void add_path(const std::string& path);
  void add_folder(const std::string& path);
  void add_idx(const std::string& path);

  std::vector<Item> items_;
  std::map<std::string, HostTensor> idx_files_;
};

}  // namespace facet::cli
