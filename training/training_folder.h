#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "training/checkpoint.h"
#include "training/recipe.h"

namespace facet {

/// What a training was about, to be compared with what it is resumed with.
struct TrainingIdentity {
  Recipe recipe;
  std::uint64_t network = 0;     ///< fingerprint
  std::uint64_t data = 0;        ///< fingerprint of the training set
  std::uint64_t validation = 0;  ///< of the validation set; 0: there is none
};

/// The folder a training writes to:
///
///   recipe.toml              what is trained
///   checkpoint.safetensors   to go on from
///   log.csv, events.*        the numbers
///   weights.safetensors      the network's state_dict at the end
///   best.safetensors         that of the best validation
///   weights_ema.safetensors  averaged weights at the end
///   head.safetensors, best_head.safetensors, head_ema.safetensors
///                            what the loss added: centres of the classes
class TrainingFolder {
 public:
  /// A new folder, or with `resume` one that a training may have been begun in. Changes nothing.
  /// Throws Error(usage) for a folder that has files already and is not resumed, or is resumed and
  /// has files of another kind.
  TrainingFolder(const std::filesystem::path& path, bool resume);
  /// Makes the folder; leftovers of writes that were cut short go.
  void make() const;

  const std::filesystem::path& path() const { return path_; }
  /// The checkpoint to go on from; nothing if there is none yet.
  std::optional<Checkpoint> checkpoint() const;
  void write(const Checkpoint& checkpoint) const;
  /// recipe.toml.
  void write(const Recipe& recipe) const;
  /// NAME.safetensors; nothing if there are no tensors.
  void write(const std::string& name, const TensorMap& tensors) const;

 private:
  std::filesystem::path path_;
};

/// The identity as a checkpoint holds it.
void write_identity(const TrainingIdentity& identity, Checkpoint& checkpoint);

/// Throws if a training must not be resumed as `now` from the checkpoint: Error(usage) for a recipe
/// that computes something else, Error(failure) for other data, other tensors or another network.
/// What does not change results may differ: log_every, checkpoint_every, loader_threads, on_nan,
/// on_bad_image, and where the data lies.
void check_identity(const TrainingIdentity& now, const TensorMap& expected,
                    const Checkpoint& checkpoint);

}  // namespace facet
