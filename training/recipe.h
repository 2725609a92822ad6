#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/compile.h"
#include "runtime/formats/preprocess.h"
#include "training/augment.h"
#include "training/scales.h"
#include "training/schedule.h"

namespace facet {

struct ModelRecipe {
  std::string name;                             ///< of the zoo, as `facet models` lists it, or a file *.ir
  std::map<std::string, std::string> settings;  ///< section [model.settings]: the network's options
  std::string init;  ///< file of initial weights (`load_weights`); empty: fresh ones by the seed
  /// What `init` does not give: keys that begin with one of these keep fresh values, and tensors of
  /// the file that do are not read, whatever their shape. All others must fit.
  std::vector<std::string> init_skip;
  /// Deep Coupled ResNet, behind `init`: every branch begins as the trunk. Its fc1 becomes the identity
  /// without bias, its fc2 a copy of the trunk's.
  bool init_branches = false;
  /// Keys that begin with one of these are not trained. Statistics of their batch norms go on moving
  /// unless `fixed_bn` is set.
  std::vector<std::string> frozen;
  /// Batch norms of the whole network use their running statistics in training, too, and leave them
  /// as they are.
  bool fixed_bn = false;
};

/// data.kind = "synth": faces that are rendered as they are loaded (training/synth/synth_sets.h).
struct SynthRecipe {
  std::int64_t identities = 500;
  std::int64_t images_per_identity = 20;
  /// Other pictures of each trained person, for the validation during training; 0: none.
  std::int64_t validation_images = 2;
  std::uint64_t seed = 1;  ///< of the persons and pictures
  double difficulty = 1;   ///< 0: passport photos; to 2
};

struct DataRecipe {
  enum class Kind { fashion_mnist, folder, synth, record, list, scface };
  enum class BadImage {
    skip,  ///< count it; training takes the next readable one, validation goes on without it
    stop
  };
  enum class Sampler {
    shuffle,  ///< every picture once in an epoch
    classes   ///< as many pictures of every class: LoaderOptions::per_class
  };
  Kind kind = Kind::fashion_mnist;
  /// folder: a folder per class. record: a file .rec. list: a text (see open_list_dataset). scface:
  /// its folder. fashion_mnist: the folder of both sets, empty: Debian's.
  std::string train;
  std::string description;  ///< what the pictures are: for who has to find them
  /// folder, record, list: as `train`, empty: no validation. Not used by the others.
  std::string validation;
  std::string root;  ///< list: the folder that paths are relative to, empty: that of the list
  /// record, list: labels from this number on cannot be used; 0: the set says how many there are.
  std::int64_t classes = 0;
  /// list: the tenth of the classes (0 to 9) that is kept from training, as DCR's --subset; -1: none.
  std::int64_t holdout = -1;
  std::int64_t height = 0;  ///< pixels of the network's input; 0: what the network declares
  std::int64_t width = 0;
  std::array<float, 3> mean = {0.5F, 0.5F, 0.5F};  ///< of values in [0, 1], per channel
  std::array<float, 3> std = {0.5F, 0.5F, 0.5F};
  /// How a picture is cut that is not cropped at random: see Preprocess.
  Preprocess::Fit fit = Preprocess::Fit::stretch;
  std::int64_t resize = 0;  ///< pixels of the shorter side before a cut: Preprocess::shorter_side
  Filter filter = Filter::bilinear;
  BadImage on_bad_image = BadImage::stop;
  std::int64_t loader_threads = 1;  ///< that decode and augment
  SynthRecipe synth;                ///< synth: section [synth]
  Sampler sampler = Sampler::shuffle;
  std::int64_t per_class = 4;  ///< classes: pictures of a class that follow each other
  /// false: what is left at the end of an epoch is a smaller batch of its own.
  bool drop_last = true;
};

struct LossRecipe {
  enum class Kind { cross_entropy, arcface, cosface, dcr_trunk, dcr_coupled };
  /// How the gradient passes the margin of arcface and cosface.
  enum class Variant { straight_through, threshold, autograd };
  Kind kind = Kind::cross_entropy;
  double label_smoothing = 0;  ///< cross_entropy; in [0, 1)
  double scale = 64;           ///< arcface, cosface
  double margin = 0.5;         ///< arcface: radians; cosface: cosine
  Variant variant = Variant::straight_through;
  double filter_threshold =
      0;  ///< arcface, cosface: other classes' cosines above it count as 0; 0: off
  double center_weight = 0.008;    ///< dcr_*: of the distance to the class's centre
  double distance_weight = 0.008;  ///< dcr_coupled: of the distance between resolutions
  double center_update = 0.6;      ///< dcr_*: how far a centre moves to its batch's mean, 0 to 1
};

/// Which of a margin loss's class centres take part in a step.
struct PartialFcRecipe {
  enum class Version {
    v1,  ///< centres that are not sampled stay as they are, their moments too
    v2   ///< momentum and weight decay move them all the same; kind "sgd" only
  };
  /// The part of them in (0, 1]; 1: all. The classes of the batch are always in; there are never fewer
  /// centres than pictures in a step.
  double sample_rate = 1;
  Version version = Version::v2;
};

struct OptimizerRecipe {
  enum class Kind { sgd, adam, adamw, lars };
  Kind kind = Kind::sgd;
  double learning_rate = 0.1;  ///< the base rate: [schedule] gives factors of it
  double momentum = 0.9;       ///< sgd, lars
  bool nesterov = false;       ///< sgd
  double beta1 = 0.9;          ///< adam, adamw
  double beta2 = 0.999;
  double epsilon = 1e-8;  ///< adam, adamw, lars
  double weight_decay = 0;
  bool decay_norm_and_bias = true;   ///< false: none for normalisation parameters and biases
  double clip_norm = 0;              ///< global L2 norm the gradients are scaled down to; 0: off
  std::int64_t accumulate = 1;       ///< batches whose gradients make one step
  double ema_decay = 0;              ///< of averaged weights, which are then validated; 0: off
  double trust_coefficient = 0.001;  ///< lars
};

struct TrainingRecipe {
  enum class OnNan {
    stop,  ///< with the first operation that made it named
    skip   ///< the step changes nothing
  };
  std::int64_t epochs = 10;
  std::int64_t batch = 64;
  Precision precision = Precision::f32;
  std::uint64_t seed = 1;             ///< of weights, order, augmentation and dropout
  std::int64_t validate_every = 1;    ///< epochs
  std::int64_t checkpoint_every = 0;  ///< iterations; 0: at the end of every epoch
  std::int64_t log_every = 20;        ///< iterations
  std::int64_t patience = 0;  ///< validations without a better one before training ends; 0: off
  OnNan on_nan = OnNan::stop;
  bool deterministic = false;  ///< bitwise repeatable at a fixed number of threads
  RecomputePolicy recompute;   ///< "none", "scope:layer1,layer2", "budget:0.5", "budget:800MB"
};

/// Protocols on faces that the training was not shown, in its course and in `facet eval`.
struct EvaluationRecipe {
  enum class Protocol { insightface, lscnn, dcr };  ///< see evaluation/verification.h
  enum class Flips {
    protocol,  ///< insightface: sum, lscnn: concatenate, dcr: none
    none,
    sum,
    concatenate
  };
  enum class Metric { top1, verification, rank1 };
  /// Sets of pairs: InsightFace's *.bin, LFW's pairs.txt beside its pictures, or "synth".
  std::vector<std::string> pairs;
  /// Galleries and probes: a folder of SCface, or "synth".
  std::vector<std::string> identification;
  Protocol protocol = Protocol::insightface;  ///< rank-k is by cosine; by L2 distance for dcr
  Flips flip = Flips::protocol;
  std::int64_t pca = 0;                      ///< insightface: principal components; 0: off
  std::vector<double> far = {0.1, 0.01, 0.001};  ///< at which acceptance rates are reported
  std::int64_t every = 0;  ///< iterations between evaluations; 0: with every validation
  /// What says which weights are the best and feeds training.patience: top1 of the validation set, the
  /// mean accuracy over `pairs`, or the mean rank-1 rate over groups of `identification`.
  Metric metric = Metric::top1;
  /// Verification accuracies: the first iteration that reaches one is reported.
  std::vector<double> levels = {0.8, 0.85, 0.9};
  std::string output;  ///< of the network, which has the embeddings; empty: "embedding" and the like
};

/// Everything that decides what a training computes, as a TOML file with the members as sections.
/// The sections [augmentation], [scales] and [schedule] are the structs of augment.h, scales.h and
/// schedule.h. With scales, a loss takes all of them as one batch, scale after scale with the labels
/// repeated; dcr_coupled takes each by an input of its own.
struct Recipe {
  ModelRecipe model;
  DataRecipe data;
  Scales scales;
  Augmentation augmentation;
  LossRecipe loss;
  PartialFcRecipe partial_fc;
  OptimizerRecipe optimizer;
  Schedule schedule;
  TrainingRecipe training;
  EvaluationRecipe evaluation;
};

/// A recipe's TOML and how messages name it: its file, or "recipe NAME".
struct RecipeText {
  std::string text;
  std::string origin;
};

/// Finds the recipe that the one of `origin` names as its base. Throws Error(usage) for an unknown
/// name, Error(failure) for a file that cannot be read.
using FindRecipe = std::function<RecipeText(const std::string& name, const std::string& origin)>;

/// The recipe of TOML `text`. Ahead of its sections it may say `base = "NAME"`: then what it does not
/// give is as in that recipe, which `find_base` finds and which may have a base itself; the options
/// of a network hold for another one no longer. Without a base fields that are not given keep their
/// defaults. Then `overrides` in order, each "section.field=value" as on a command line: strings
/// without quotes, lists as "1,2". `origin` names the text in messages. Throws Error(usage) that
/// names origin and field: unknown ones with the nearest names, values of another type or out of
/// range, fields given twice, what `check_recipe` finds, and bases that lead back to a recipe.
Recipe parse_recipe(std::string_view text, std::string_view origin,
                    const std::vector<std::string>& overrides = {},
                    const FindRecipe& find_base = {});

/// The same of a file. A base named *.toml or with a folder is a file, relative to the folder of the
/// recipe that names it; `find_base` finds the others. Throws Error(failure) if a file cannot be read.
Recipe read_recipe(const std::filesystem::path& path,
                   const std::vector<std::string>& overrides = {},
                   const FindRecipe& find_base = {});

/// Throws Error(usage) if fields do not fit each other.
void check_recipe(const Recipe& recipe);

/// All fields in a fixed order; `parse_recipe` reads the same recipe from it, to the bit.
std::string to_toml(const Recipe& recipe);

/// The fields in which two recipes differ, "optimizer.learning_rate: 0.1, was 0.05", one a line:
/// for a training that is resumed with another recipe. Empty if there are none.
std::string describe_changes(const Recipe& before, const Recipe& after);

}  // namespace facet
