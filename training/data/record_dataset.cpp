#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "ir/error.h"
#include "ir/hash.h"
#include "runtime/formats/record_file.h"
#include "training/data/file_pictures.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

class RecordDataset : public Dataset {
 public:
  RecordDataset(const fs::path& rec, const DatasetOptions& options) : file_(rec) {
    const std::int64_t given = options.classes > 0 ? options.classes : file_.declared_classes();
    // f32 holds no larger label exactly.
    const std::int64_t limit = given > 0 ? given : std::int64_t{1} << 24;
    Hasher hasher;
    std::int64_t classes = given;
    for (std::int64_t item = 0; item < file_.size(); ++item) {
      try {
        add(item, limit, hasher);
        if (given == 0) classes = std::max<std::int64_t>(classes, labels_.back() + 1);
      } catch (const Error& error) {
        left_out_.add(error.what());
      }
    }
    check_left_out(left_out_, options.bad_entries, file_.path(), "records");
    if (items_.empty()) {
      throw failure(fmt::format("{}: none of {} records can be used; the first: {}", file_.path(),
                                file_.size(), left_out_.problems.at(0)));
    }
    if (left_out_.count == 0) items_ = {};
    names_ = numbers_up_to(classes);
    hasher.number(static_cast<std::uint64_t>(classes));
    fingerprint_ = hasher.value();
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::int64_t label(std::int64_t item) const override {
    return labels_.at(static_cast<std::size_t>(item));
  }
  std::string name(std::int64_t item) const override { return file_.name(in_file(item)); }
  Image load(std::int64_t item) const override {
    Image image;
    load_into(item, image);
    return image;
  }
  void load_into(std::int64_t item, Image& image) const override {
    decode_image_into(file_.read(in_file(item)).picture, name(item), image);
  }
  bool load_to(std::int64_t item, int width, int height,
               std::span<std::uint8_t> pixels) const override {
    return decode_image_to(file_.read(in_file(item)).picture, name(item), width, height, pixels);
  }
  std::uint64_t fingerprint() const override { return fingerprint_; }
  const LeftOut& left_out() const override { return left_out_; }

 private:
  std::int64_t in_file(std::int64_t item) const {
    return items_.empty() ? item : items_.at(static_cast<std::size_t>(item));
  }

  void add(std::int64_t item, std::int64_t limit, Hasher& hasher) {
    const std::size_t bytes = file_.read(item).picture.size();
    if (bytes == 0) throw failure(fmt::format("{}: has no picture", file_.name(item)));
    const std::int64_t label = file_.label(item);
    if (label >= limit) {
      throw failure(fmt::format("{}: the label {} is out of range: there are {} classes (0 to {})",
                                file_.name(item), label, limit, limit - 1));
    }
    items_.push_back(static_cast<std::uint32_t>(item));
    labels_.push_back(static_cast<std::int32_t>(label));
    hasher.number(static_cast<std::uint64_t>(file_.key(item)));
    hasher.number(static_cast<std::uint64_t>(label));
    hasher.number(bytes);
  }

  RecordFile file_;
  std::vector<std::uint32_t> items_;  ///< in the file; empty: all of them
  std::vector<std::int32_t> labels_;
  std::vector<std::string> names_;
  LeftOut left_out_;
  std::uint64_t fingerprint_ = 0;
};

}  // namespace

std::unique_ptr<Dataset> open_record_dataset(const fs::path& rec, const DatasetOptions& options) {
  return std::make_unique<RecordDataset>(rec, options);
}

}  // namespace facet
