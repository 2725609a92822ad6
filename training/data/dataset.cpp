#include "training/data/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "ir/error.h"
#include "ir/hash.h"
#include "runtime/formats/picture_files.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

class FashionMnistDataset : public Dataset {
 public:
  FashionMnistDataset(bool training, const fs::path& folder)
      : data_(read_fashion_mnist(training, folder)),
        name_((folder / (training ? "train" : "t10k")).string()) {
    if (size() == 0) throw failure(fmt::format("{}: the set has no pictures", name_));
    check_labels(*this, class_count());
    Hasher hasher;
    for (const HostTensor* tensor : {&data_.images, &data_.labels}) {
      hasher.bytes(tensor->data(), static_cast<std::size_t>(tensor->byte_count()));
    }
    fingerprint_ = hasher.value();
  }

  std::int64_t size() const override { return data_.labels.element_count(); }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::int64_t label(std::int64_t item) const override {
    return data_.labels.as<std::uint8_t>()[item];
  }
  std::string name(std::int64_t item) const override { return fmt::format("{}#{}", name_, item); }
  std::uint64_t fingerprint() const override { return fingerprint_; }

  Image load(std::int64_t item) const override {
    constexpr int kSide = 28;
    constexpr std::size_t kPixels = kSide * kSide;
    const auto* first = data_.images.as<std::uint8_t>() + item * static_cast<std::int64_t>(kPixels);
    return image_from_grey({first, kPixels}, kSide, kSide);
  }

 private:
  FashionMnist data_;
  std::string name_;
  std::vector<std::string> names_ = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                     "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
  std::uint64_t fingerprint_ = 0;
};

/// The names of the folders in `root`, sorted.
std::vector<std::string> folders_in(const fs::path& root) {
  std::error_code error;
  if (!fs::is_directory(root, error)) {
    throw failure(
        fmt::format("{}: there is no such folder; name one that has a folder of JPEG or "
                    "PNG files for every class",
                    root.string()));
  }
  std::vector<std::string> names;
  fs::directory_iterator entries(root, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    std::error_code ignored;
    const std::string name = entries->path().filename().string();
    if (entries->is_directory(ignored) && !name.starts_with('.')) names.push_back(name);
  }
  if (error) throw failure(fmt::format("{}: cannot be read: {}", root.string(), error.message()));
  if (names.empty()) {
    throw failure(
        fmt::format("{}: has no folders; the pictures of a class belong in a folder with "
                    "the name of the class",
                    root.string()));
  }
  std::ranges::sort(names);
  return names;
}

class FolderDataset : public Dataset {
 public:
  FolderDataset(const fs::path& root, const std::vector<std::string>& classes) {
    const std::vector<std::string> found = folders_in(root);
    class_names_ = classes.empty() ? found : classes;
    Hasher hasher;
    for (const std::string& name : class_names_) hasher.text(name);
    std::unordered_map<std::string_view, std::int64_t> labels;
    for (const std::string& name : class_names_) {
      labels.emplace(name, static_cast<std::int64_t>(labels.size()));
    }
    for (const std::string& name : found) {
      const auto label = labels.find(name);
      if (label == labels.end()) {
        const std::string hint = did_you_mean(name, class_names_);
        throw failure(fmt::format("{}: the training set has no class '{}'{}{}",
                                  (root / name).string(), name, hint.empty() ? "" : "; ", hint));
      }
      add_class(root / name, label->second, hasher);
    }
    fingerprint_ = hasher.value();
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(items_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::int64_t label(std::int64_t item) const override { return at(item).label; }
  std::string name(std::int64_t item) const override { return at(item).path; }
  Image load(std::int64_t item) const override { return read_image(at(item).path); }
  void load_into(std::int64_t item, Image& image) const override {
    read_image_into(at(item).path, image);
  }
  bool load_to(std::int64_t item, int width, int height,
               std::span<std::uint8_t> pixels) const override {
    return read_image_to(at(item).path, width, height, pixels);
  }
  std::uint64_t fingerprint() const override { return fingerprint_; }

 private:
  struct Item {
    std::string path;
    std::int64_t label;
  };

  const Item& at(std::int64_t item) const { return items_.at(static_cast<std::size_t>(item)); }

  void add_class(const fs::path& folder, std::int64_t label, Hasher& hasher) {
    std::vector<std::string> files = picture_files_below(folder);
    if (files.empty()) {
      throw failure(
          fmt::format("{}: the class has no .jpg, .jpeg or .png file; add pictures or "
                      "remove the folder",
                      folder.string()));
    }
    const std::size_t root_length = folder.string().size();
    for (std::string& file : files) {
      hasher.number(static_cast<std::uint64_t>(label));
      hasher.text(std::string_view(file).substr(root_length));
      std::error_code error;
      const auto bytes = fs::file_size(file, error);
      hasher.number(error ? 0 : bytes);  // a file that has gone since is noticed when it is loaded
      items_.push_back({std::move(file), label});
    }
  }

  std::vector<std::string> class_names_;
  std::vector<Item> items_;
  std::uint64_t fingerprint_ = 0;
};

}  // namespace

std::unique_ptr<Dataset> open_fashion_mnist(bool training, const fs::path& folder) {
  return std::make_unique<FashionMnistDataset>(training, folder);
}

std::unique_ptr<Dataset> open_image_folder(const fs::path& folder,
                                           const std::vector<std::string>& classes) {
  return std::make_unique<FolderDataset>(folder, classes);
}

void check_labels(const Dataset& dataset, std::int64_t classes) {
  for (std::int64_t item = 0; item < dataset.size(); ++item) {
    const std::int64_t label = dataset.label(item);
    if (label < 0 || label >= classes) {
      throw failure(
          fmt::format("{}: the label {} is out of range: there are {} classes (0 to {}); "
                      "correct the label or give the network more classes",
                      dataset.name(item), label, classes, classes - 1));
    }
  }
}

}  // namespace facet
