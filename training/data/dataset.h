#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "runtime/formats/idx.h"
#include "runtime/formats/image.h"

namespace facet {

/// Pictures by number. Immutable, so several threads may load at once.
class PictureSet {
 public:
  virtual ~PictureSet() = default;

  /// How many pictures; at least 1. The numbers below are in [0, size()).
  virtual std::int64_t size() const = 0;
  /// Where the picture is, for messages: a path, or a file with "#" and a number.
  virtual std::string name(std::int64_t item) const = 0;
  /// Decodes. Throws Error(failure) that names the picture.
  virtual Image load(std::int64_t item) const = 0;
  /// A hash of what the pictures are: their names relative to the set, sizes in bytes and labels. A
  /// set that was moved keeps it, one that was changed does not.
  virtual std::uint64_t fingerprint() const = 0;
};

/// Labelled pictures.
class Dataset : public PictureSet {
 public:
  /// In the order of the labels.
  virtual const std::vector<std::string>& class_names() const = 0;
  std::int64_t class_count() const { return static_cast<std::int64_t>(class_names().size()); }
  /// In [0, class_count()).
  virtual std::int64_t label(std::int64_t item) const = 0;
};

/// Fashion-MNIST's 60,000 training or 10,000 test pictures of 28 x 28, grey as three equal
/// channels, held in memory. Throws Error(failure) as `read_fashion_mnist` does and for labels
/// above 9.
std::unique_ptr<Dataset> open_fashion_mnist(
    bool training, const std::filesystem::path& folder = kFashionMnistFolder);

/// A folder for every class, the JPEG and PNG files in it and below. The class is the place of the
/// folder's name in byte order; names that begin with a dot are left out. With `classes`, the names
/// of a training set, labels are places in that list, so that a validation set may lack some of
/// them. Throws Error(failure) that names the folder: it is missing, has no folder of a class or no
/// picture for a class, or (with `classes`) has a class that is not among them.
std::unique_ptr<Dataset> open_image_folder(const std::filesystem::path& folder,
                                           const std::vector<std::string>& classes = {});

/// Throws Error(failure) that names the first picture whose label is not in [0, classes).
void check_labels(const Dataset& dataset, std::int64_t classes);

}  // namespace facet
