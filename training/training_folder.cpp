#include "training/training_folder.h"

#include <fmt/format.h>

#include <system_error>

#include "ir/error.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/formats/safetensors.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCheckpoint = "checkpoint.safetensors";
constexpr const char* kRecipe = "recipe.toml";
constexpr const char* kValidationNote = "validation_fingerprint";

/// What a write that was cut short leaves: see AtomicFile.
bool is_leftover(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with('.') && name.ends_with(".tmp");
}

[[noreturn]] void fail(const fs::path& path, const std::error_code& error) {
  throw failure(fmt::format("{}: {}", path.string(), error.message()));
}

bool has_files(const fs::path& path) {
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    if (!is_leftover(entry->path())) return true;
  }
  if (error) fail(path, error);
  return false;
}

void remove_leftovers(const fs::path& path) {
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (is_leftover(entry->path())) fs::remove(entry->path(), ignored);
  }
  if (error) fail(path, error);
}

/// `now` with the fields of `before` that change no result.
Recipe with_free_fields(Recipe now, const Recipe& before) {
  now.data.train = before.data.train;
  now.data.validation = before.data.validation;
  now.data.root = before.data.root;
  now.data.on_bad_image = before.data.on_bad_image;
  now.data.loader_threads = before.data.loader_threads;
  now.training.log_every = before.training.log_every;
  now.training.checkpoint_every = before.training.checkpoint_every;
  now.training.on_nan = before.training.on_nan;
  return now;
}

}  // namespace

TrainingFolder::TrainingFolder(const fs::path& path, bool resume) : path_(path) {
  std::error_code error;
  if (!fs::exists(path_, error)) return;
  if (!fs::is_directory(path_, error)) {
    throw usage_error(fmt::format("{}: is a file; name a folder for the results", path_.string()));
  }
  if (!has_files(path_)) return;
  if (!resume) {
    throw usage_error(fmt::format("{}: the folder has files already; --resume goes on with the "
                                  "training in it, or choose another folder", path_.string()));
  }
  if (!fs::exists(path_ / kCheckpoint) && !fs::exists(path_ / kRecipe)) {
    throw usage_error(fmt::format("{}: there is no training to resume: it has neither {} nor {}",
                                  path_.string(), kCheckpoint, kRecipe));
  }
}

void TrainingFolder::make() const {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) fail(path_, error);
  remove_leftovers(path_);
}

std::optional<Checkpoint> TrainingFolder::checkpoint() const {
  if (!fs::exists(path_ / kCheckpoint)) return std::nullopt;
  return read_checkpoint(path_ / kCheckpoint);
}

void TrainingFolder::write(const Checkpoint& checkpoint) const {
  write_checkpoint(path_ / kCheckpoint, checkpoint);
}

void TrainingFolder::write(const Recipe& recipe) const {
  AtomicFile file(path_ / kRecipe);
  file.write(to_toml(recipe));
  file.commit();
}

void TrainingFolder::write(const std::string& name, const TensorMap& tensors) const {
  if (tensors.empty()) return;
  write_safetensors(path_ / (name + ".safetensors"), {tensors.begin(), tensors.end()});
}

void write_identity(const TrainingIdentity& identity, Checkpoint& checkpoint) {
  checkpoint.recipe = to_toml(identity.recipe);
  checkpoint.model_fingerprint = identity.network;
  checkpoint.data_fingerprint = identity.data;
  checkpoint.notes[kValidationNote] = fmt::format("{}", identity.validation);
}

void check_identity(const TrainingIdentity& now, const TensorMap& expected,
                    const Checkpoint& checkpoint) {
  const Recipe before = parse_recipe(checkpoint.recipe, "the checkpoint's recipe");
  const std::string changes = describe_changes(before, with_free_fields(now.recipe, before));
  if (!changes.empty()) {
    throw usage_error(fmt::format("the training cannot go on with another recipe; give the one it "
                                  "began with or begin in another folder:\n{}", changes));
  }
  if (checkpoint.data_fingerprint != now.data) {
    throw failure("the training set has changed since the checkpoint was written: other pictures, "
                  "labels, names or sizes; restore it or begin in another folder");
  }
  const auto validation = checkpoint.notes.find(kValidationNote);
  if (validation == checkpoint.notes.end() ||
      validation->second != fmt::format("{}", now.validation)) {
    throw failure("the validation set has changed since the checkpoint was written: the best result "
                  "could not be compared; restore it or begin in another folder");
  }
  const std::string difference = describe_difference(expected, checkpoint.tensors);
  if (!difference.empty()) {
    throw failure(fmt::format("the checkpoint is of another network: {}", difference));
  }
  if (checkpoint.model_fingerprint != now.network) {
    throw failure("the checkpoint is of another network: the tensors are the same, what is computed "
                  "with them is not");
  }
}

}  // namespace facet
