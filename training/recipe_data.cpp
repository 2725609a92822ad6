#include "training/recipe_data.h"

#include <fmt/format.h>

#include <utility>

#include "ir/error.h"
#include "training/data/protocol_sets.h"
#include "training/synth/synth_sets.h"

namespace facet {
namespace {

RecipeData open_synth(const SynthRecipe& recipe) {
  SynthOptions options;
  options.identities = recipe.identities;
  options.images_per_identity = recipe.images_per_identity;
  options.seed = recipe.seed;
  options.difficulty = recipe.difficulty;
  RecipeData result;
  result.train = open_synth_dataset(options);
  if (recipe.validation_images > 0) {
    options.first_image = options.images_per_identity;
    options.images_per_identity = recipe.validation_images;
    result.validation = open_synth_dataset(options);
  }
  return result;
}

RecipeData open_files(const DataRecipe& data) {
  DatasetOptions options;
  options.classes = data.classes;
  if (data.on_bad_image == DataRecipe::BadImage::skip) {
    options.bad_entries = BadEntries::leave_out;
  }
  const auto open = [&](const std::string& path) {
    return data.kind == DataRecipe::Kind::record ? open_record_dataset(path, options)
                                                 : open_list_dataset(path, data.root, options);
  };
  RecipeData result;
  if (data.kind == DataRecipe::Kind::scface) {
    result.train = open_scface_training(data.train, options.bad_entries);
    return result;
  }
  result.train = open(data.train);
  options.classes = result.train->class_count();
  if (!data.validation.empty()) result.validation = open(data.validation);
  if (data.holdout >= 0) {
    result.train = tenth_of_classes(std::move(result.train), data.holdout, false);
  }
  return result;
}

}  // namespace

RecipeData open_data(const DataRecipe& data, std::int64_t classes) {
  RecipeData result;
  if (data.kind == DataRecipe::Kind::fashion_mnist) {
    const std::string folder = data.train.empty() ? kFashionMnistFolder : data.train;
    result.train = open_fashion_mnist(true, folder);
    result.validation = open_fashion_mnist(false, folder);
  } else if (data.kind == DataRecipe::Kind::synth) {
    result = open_synth(data.synth);
  } else if (data.kind != DataRecipe::Kind::folder) {
    result = open_files(data);
  } else {
    result.train = open_image_folder(data.train);
    if (!data.validation.empty()) {
      result.validation = open_image_folder(data.validation, result.train->class_names());
    }
  }
  if (classes > 0 && result.train->class_count() > classes) {
    throw failure(
        fmt::format("the training set has {} classes, the network {}; set its number of "
                    "classes in [model.settings]",
                    result.train->class_count(), classes));
  }
  return result;
}

Preprocess preprocess_of(const DataRecipe& data, std::int64_t height, std::int64_t width) {
  Preprocess settings;
  settings.height = static_cast<int>(data.height > 0 ? data.height : height);
  settings.width = static_cast<int>(data.width > 0 ? data.width : width);
  settings.fit = data.fit;
  settings.shorter_side = static_cast<int>(data.resize);
  settings.filter = data.filter;
  settings.mean = data.mean;
  settings.std = data.std;
  return settings;
}

SamplerOptions sampler_options(const Recipe& recipe) {
  SamplerOptions options;
  options.seed = recipe.training.seed;
  if (recipe.data.sampler == DataRecipe::Sampler::classes) options.per_class = recipe.data.per_class;
  return options;
}

LoaderOptions training_loader(const Recipe& recipe, std::int64_t first_epoch,
                              std::int64_t first_iteration) {
  LoaderOptions options;
  options.batch = recipe.training.batch;
  options.seed = recipe.training.seed;
  options.scales = recipe.scales;
  options.drop_last = recipe.data.drop_last;
  options.per_class = sampler_options(recipe).per_class;
  options.threads = static_cast<int>(recipe.data.loader_threads);
  const bool skip = recipe.data.on_bad_image == DataRecipe::BadImage::skip;
  options.on_bad_image = skip ? OnBadImage::replace : OnBadImage::stop;
  options.first_epoch = first_epoch;
  options.first_iteration = first_iteration;
  return options;
}

LoaderOptions validation_loader(const Recipe& recipe) {
  LoaderOptions options = training_loader(recipe);
  options.shuffle = false;
  options.scales = {};
  options.per_class = 0;
  options.drop_last = false;
  options.end_epoch = 1;
  if (options.on_bad_image == OnBadImage::replace) options.on_bad_image = OnBadImage::leave_out;
  return options;
}

}  // namespace facet
