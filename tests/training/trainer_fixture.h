#pragma once

#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ir/dsl.h"
#include "runtime/formats/safetensors.h"
#include "runtime/threads.h"
#include "tests/formats/temp_folder.h"
#include "tests/training/pictures.h"
#include "training/trainer.h"

namespace facet::test {

/// Pictures of 8 x 8 whose brightest channel is their class, with a pattern of their own.
class ColouredPictures : public Dataset {
 public:
  explicit ColouredPictures(std::int64_t count, std::uint64_t fingerprint = 1, std::int64_t classes = 3)
      : count_(count), fingerprint_(fingerprint) {
    for (std::int64_t i = 0; i < classes; ++i) names_.push_back("class" + std::to_string(i));
  }
  std::int64_t size() const override { return count_; }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::int64_t label(std::int64_t item) const override { return item % 3; }
  std::string name(std::int64_t item) const override { return "picture#" + std::to_string(item); }
  std::uint64_t fingerprint() const override { return fingerprint_; }
  Image load(std::int64_t item) const override {
    Image image = numbered_image(8, 8, item);
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      const bool bright = static_cast<std::int64_t>(i % 3) == label(item);
      image.pixels[i] = static_cast<std::uint8_t>(image.pixels[i] / 2 + (bright ? 120 : 0));
    }
    return image;
  }

 private:
  std::int64_t count_;
  std::uint64_t fingerprint_;
  std::vector<std::string> names_;
};

struct SmallOptions {
  bool norm = true;      ///< a batch norm that is applied twice
  bool logarithm = false;  ///< log of the picture's mean, not finite for dark ones
  std::int64_t classes = 3;
  std::int64_t width = 8;
};

/// Pictures [N, 3, 8, 8] to `embedding` [N, width] and `logits` [N, classes].
inline Graph small_network(const SmallOptions& options = {}) {
  Network network("small");
  Tensor x = network.input("input", {"N", 3, 8, 8});
  const Scope root = network.root();
  Tensor h = root.conv("conv", x, {.out = options.width, .kernel = 3, .stride = 2, .padding = 1});
  if (options.norm) {
    h = relu(root.batch_norm("bn", h));
    h = root.shared().batch_norm("bn", h);
  }
  Tensor embedding = root.linear("embed", flatten(mean(relu(h), {2, 3})), {.out = options.width});
  if (options.logarithm) embedding = embedding + flatten(log(mean(x, {1, 2, 3})));
  network.output("embedding", embedding);
  network.output("logits", root.linear("fc", embedding, {.out = options.classes}));
  return network.finish();
}

inline Recipe small_recipe() {
  Recipe recipe;
  recipe.model.name = "small";
  recipe.augmentation.flip = 0.5;
  recipe.optimizer.learning_rate = 0.05;
  recipe.training.epochs = 2;
  recipe.training.batch = 4;
  recipe.training.log_every = 2;
  return recipe;
}

/// What a training left that must not depend on interruptions.
struct Remains {
  std::vector<std::pair<std::string, std::string>> files;  ///< name, bytes
  std::vector<std::string> rows;                           ///< of log.csv without images/s
  friend bool operator==(const Remains&, const Remains&) = default;
};

inline std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t end; (end = text.find(separator, begin)) != std::string::npos; begin = end + 1) {
    parts.push_back(text.substr(begin, end - begin));
  }
  parts.push_back(text.substr(begin));
  return parts;
}

inline Remains remains_of(const std::filesystem::path& folder) {
  Remains remains;
  for (const char* name : {"weights", "weights_ema", "best", "head", "head_ema", "best_head"}) {
    remains.files.emplace_back(name, read_bytes(folder / (std::string(name) + ".safetensors")));
  }
  for (const std::string& line : split(read_bytes(folder / "log.csv"), '\n')) {
    std::vector<std::string> fields = split(line, ',');
    if (fields.size() > 4) fields.erase(fields.begin() + 4);
    std::string row;
    for (const std::string& field : fields) row += field + ",";
    remains.rows.push_back(row);
  }
  return remains;
}

inline TensorMap tensors_in(const std::filesystem::path& file) { return read_safetensors(file).to_map(); }

/// A training in `folder`, quiet.
struct Small {
  SmallOptions network;
  Recipe recipe = small_recipe();
  ColouredPictures train{18};
  ColouredPictures validation{7, 2};
  bool validate = true;
  TrainerOptions options;

  TrainingResult run(const std::filesystem::path& folder, bool resume = false) {
    set_threads(1);
    options.output = folder;
    options.resume = resume;
    options.quiet = true;
    return Trainer(small_network(network), recipe, train, validate ? &validation : nullptr, options)
        .run();
  }
};

}  // namespace facet::test
