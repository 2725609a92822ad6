#include <fmt/format.h>

#include <utility>

#include "ir/error.h"
#include "ir/hash.h"
#include "training/data/dataset.h"

namespace facet {
namespace {

class LabelPart : public Dataset {
 public:
  LabelPart(std::shared_ptr<const Dataset> all, std::vector<std::int64_t> items)
      : all_(std::move(all)), items_(std::move(items)) {
    Hasher hasher;
    hasher.number(all_->fingerprint());
    for (const std::int64_t item : items_) hasher.number(static_cast<std::uint64_t>(item));
    fingerprint_ = hasher.value();
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(items_.size()); }
  const std::vector<std::string>& class_names() const override { return all_->class_names(); }
  std::int64_t label(std::int64_t item) const override { return all_->label(in_all(item)); }
  std::string name(std::int64_t item) const override { return all_->name(in_all(item)); }
  Image load(std::int64_t item) const override { return all_->load(in_all(item)); }
  void load_into(std::int64_t item, Image& image) const override {
    all_->load_into(in_all(item), image);
  }
  bool load_to(std::int64_t item, int width, int height,
               std::span<std::uint8_t> pixels) const override {
    return all_->load_to(in_all(item), width, height, pixels);
  }
  std::uint64_t fingerprint() const override { return fingerprint_; }
  const LeftOut& left_out() const override { return all_->left_out(); }

 private:
  std::int64_t in_all(std::int64_t item) const { return items_.at(static_cast<std::size_t>(item)); }

  std::shared_ptr<const Dataset> all_;
  std::vector<std::int64_t> items_;
  std::uint64_t fingerprint_ = 0;
};

}  // namespace

std::unique_ptr<Dataset> with_labels(std::shared_ptr<const Dataset> all, std::int64_t begin,
                                     std::int64_t end, bool inside) {
  std::vector<std::int64_t> items;
  for (std::int64_t item = 0; item < all->size(); ++item) {
    const std::int64_t label = all->label(item);
    if ((label >= begin && label < end) == inside) items.push_back(item);
  }
  if (items.empty()) {
    throw failure(fmt::format("no picture has a label {} {} to {}: the part is empty",
                              inside ? "from" : "outside", begin, end - 1));
  }
  return std::make_unique<LabelPart>(std::move(all), std::move(items));
}

std::unique_ptr<Dataset> tenth_of_classes(std::shared_ptr<const Dataset> all, std::int64_t tenth,
                                          bool inside) {
  if (tenth < 0 || tenth > 9) {
    throw usage_error(fmt::format("a tenth of the classes is a number from 0 to 9, not {}", tenth));
  }
  const std::int64_t classes = all->class_count();
  const auto first = [&](std::int64_t part) { return (part * classes + 9) / 10; };
  return with_labels(std::move(all), first(tenth), first(tenth + 1), inside);
}

}  // namespace facet
