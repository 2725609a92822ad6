#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "runtime/formats/idx.h"
#include "runtime/formats/image.h"

namespace facet {

/// What is done when a set is opened about entries that cannot be used: lines of a list that name
/// no file, labels that are no class, damaged records.
enum class BadEntries {
  stop,      ///< Error(failure) that counts them and names the first
  leave_out  ///< the set is opened without them; they are in `left_out`
};

/// The entries that a set was opened without.
struct LeftOut {
  static constexpr std::size_t kNamed = 5;

  std::int64_t count = 0;
  std::vector<std::string> problems;  ///< of the first kNamed: where, what, what to do

  void add(std::string problem);
};

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
  /// The same into an image whose memory may be used again; by default it is not.
  virtual void load_into(std::int64_t item, Image& image) const { image = load(item); }
  /// Decodes straight to `pixels` u8 [height, width, 3] where the picture has that size and the set
  /// can; false, by default always: it must be loaded. Throws as `load`.
  virtual bool load_to(std::int64_t /*item*/, int /*width*/, int /*height*/,
                       std::span<std::uint8_t> /*pixels*/) const {
    return false;
  }
  /// A hash of what the pictures are: their names relative to the set, sizes in bytes and labels. A
  /// set that was moved keeps it, one that was changed does not.
  virtual std::uint64_t fingerprint() const = 0;
  /// By default nothing.
  virtual const LeftOut& left_out() const;
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

struct DatasetOptions {
  /// How many there are, for labels to be checked against; 0: what the set itself says, else one
  /// more than its largest label.
  std::int64_t classes = 0;
  BadEntries bad_entries = BadEntries::stop;
};

/// The pictures of an MXNet record file with an index (see RecordFile), decoded from where the file
/// is mapped. Class names are the numbers; how many there are the file `property` may say. Opening
/// reads the header of every record. Throws Error(failure) as RecordFile, for a set without a
/// readable record, and as `bad_entries` says for records that are damaged, whose label is no
/// class, or whose picture is empty.
std::unique_ptr<Dataset> open_record_dataset(const std::filesystem::path& rec,
                                             const DatasetOptions& options = {});

/// Pictures as a text lists them, in its order. One a line: "path label" (DCR's
/// casia_cleaned_list.txt), or behind the line "image,subject,label" the fields of LS-CNN's
/// img_info.csv, whose subjects are the class names; else these are the numbers. Paths are relative
/// to `root`; empty: to the folder of the list. Folders are read, files are not touched but for
/// their size. Throws Error(failure) for a list without a usable line, and as `bad_entries` says
/// for lines without a label, labels that are no class and pictures that are not there.
std::unique_ptr<Dataset> open_list_dataset(const std::filesystem::path& list,
                                           const std::filesystem::path& root = {},
                                           const DatasetOptions& options = {});

/// The part of a data set whose labels are in [begin, end), or the rest of it. Class names and
/// labels stay. Throws Error(failure) if it has no picture.
std::unique_ptr<Dataset> with_labels(std::shared_ptr<const Dataset> all, std::int64_t begin,
                                     std::int64_t end, bool inside = true);

/// DCR's subsets: the labels [tenth / 10, (tenth + 1) / 10) * classes are for retrieval, the others
/// are trained. Throws Error(usage) for a tenth that is not 0 to 9, Error(failure) for a part
/// without pictures. Specs of DCR, section 4.2.
std::unique_ptr<Dataset> tenth_of_classes(std::shared_ptr<const Dataset> all, std::int64_t tenth,
                                          bool inside);

/// Throws Error(failure) that names the first picture whose label is not in [0, classes).
void check_labels(const Dataset& dataset, std::int64_t classes);

}  // namespace facet
