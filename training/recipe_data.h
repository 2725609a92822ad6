#pragma once

#include <cstdint>
#include <memory>

#include "runtime/formats/preprocess.h"
#include "training/data/dataset.h"
#include "training/loader.h"
#include "training/recipe.h"

namespace facet {

/// The data sets a recipe names.
struct RecipeData {
  std::unique_ptr<Dataset> train;
  std::unique_ptr<Dataset> validation;  ///< null if there is none
};

/// Opens both; the validation set has the classes of the training set. Throws Error(failure) as
/// dataset.h and protocol_sets.h do, and if the training set has more classes than `classes`, the
/// network's (0: any).
RecipeData open_data(const DataRecipe& data, std::int64_t classes = 0);

/// How pictures become the network's input of this size; data.height and data.width win if given.
Preprocess preprocess_of(const DataRecipe& data, std::int64_t height, std::int64_t width);

/// Which pictures an epoch of training has.
SamplerOptions sampler_options(const Recipe& recipe);
/// Shuffled, endless and of whole batches unless data.drop_last is false, from (epoch, iteration) on.
LoaderOptions training_loader(const Recipe& recipe, std::int64_t first_epoch = 0,
                              std::int64_t first_iteration = 0);
/// One epoch by number, with the last batch. To be used with an empty Augmentation.
LoaderOptions validation_loader(const Recipe& recipe);

}  // namespace facet
