#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "ir/host_tensor.h"

namespace facet {

/// Everything a training needs to go on as if it had not stopped. The draws of data, augmentation
/// and dropout are functions of seed and position, so no generator has a state to keep.
struct Checkpoint {
  TensorMap tensors;                    ///< the whole state by key: parameters, statistics, moments
  std::string recipe;                   ///< as `to_toml` wrote it
  std::uint64_t model_fingerprint = 0;  ///< of the graph that was trained
  std::uint64_t data_fingerprint = 0;   ///< Dataset::fingerprint of the training set
  std::int64_t iteration = 0;           ///< steps done since the beginning
  std::int64_t epoch = 0;               ///< of the next step
  std::int64_t epoch_iteration = 0;     ///< of the next step, within its epoch
  double best_metric = 0;               ///< meaningful if best_epoch is not -1
  std::int64_t best_epoch = -1;
  std::map<std::string, std::string> notes;  ///< whatever else, UTF-8
};

/// Writes one safetensors file, the rest in its metadata. The previous file stays until the new one
/// is complete on the disk, whenever the program is killed. Throws Error(failure) if that cannot be
/// done; the previous file is then as it was.
void write_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);

/// The tensors map the file. Throws Error(failure) that names the file: missing, damaged, cut
/// short, weights without the rest of a checkpoint, or written by a later version.
Checkpoint read_checkpoint(const std::filesystem::path& path);

/// What keeps `found`, a checkpoint's tensors, from being the state `expected` (its values do not
/// matter): "2 missing (a, b), 1 unexpected (c), 1 of another type (d: f32[3], should be f32[4])",
/// at most five names each. Empty if nothing does.
std::string describe_difference(const TensorMap& expected, const TensorMap& found);

}  // namespace facet
