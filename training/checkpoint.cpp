#include "training/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

#include "ir/error.h"
#include "runtime/formats/safetensors.h"

namespace facet {
namespace {

constexpr const char* kVersionKey = "facet.checkpoint";
constexpr const char* kVersion = "1";
constexpr std::string_view kNotePrefix = "note.";
constexpr std::size_t kMostNames = 5;

/// The number under `key`; what `std::from_chars` takes, whole. For doubles the shortest text that
/// reads back the same.
template <class Number>
Number number_in(const Metadata& metadata, const std::string& key) {
  const auto entry = metadata.find(key);
  if (entry == metadata.end()) throw failure(fmt::format("its metadata lacks \"{}\"", key));
  const std::string& text = entry->second;
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw failure(fmt::format("its metadata has \"{}\" for \"{}\"", text, key));
  }
  return value;
}

Checkpoint from_metadata(const Metadata& metadata) {
  const auto version = metadata.find(kVersionKey);
  if (version == metadata.end()) {
    throw failure("it holds tensors but no training state; it can be given as initial weights");
  }
  if (version->second != kVersion) {
    throw failure(fmt::format("it is of version {}, this program reads version {}", version->second,
                              kVersion));
  }
  Checkpoint checkpoint;
  const auto recipe = metadata.find("recipe");
  if (recipe == metadata.end()) throw failure("its metadata lacks \"recipe\"");
  checkpoint.recipe = recipe->second;
  checkpoint.model_fingerprint = number_in<std::uint64_t>(metadata, "model_fingerprint");
  checkpoint.data_fingerprint = number_in<std::uint64_t>(metadata, "data_fingerprint");
  checkpoint.iteration = number_in<std::int64_t>(metadata, "iteration");
  checkpoint.epoch = number_in<std::int64_t>(metadata, "epoch");
  checkpoint.epoch_iteration = number_in<std::int64_t>(metadata, "epoch_iteration");
  checkpoint.best_metric = number_in<double>(metadata, "best_metric");
  checkpoint.best_epoch = number_in<std::int64_t>(metadata, "best_epoch");
  for (const auto& [key, value] : metadata) {
    if (key.starts_with(kNotePrefix)) checkpoint.notes[key.substr(kNotePrefix.size())] = value;
  }
  return checkpoint;
}

std::string describe(const HostTensor& tensor) {
  return fmt::format("{}[{}]", to_string(tensor.dtype()), fmt::join(tensor.shape(), ", "));
}

/// Appends "2 missing (a, b)".
void append(std::string& text, const std::vector<std::string>& names, std::string_view what) {
  if (names.empty()) return;
  if (!text.empty()) text += ", ";
  const std::vector<std::string> first(names.begin(),
                                       names.begin() + std::min(names.size(), kMostNames));
  text += fmt::format("{} {} ({}{})", names.size(), what, fmt::join(first, ", "),
                      names.size() > first.size() ? ", ..." : "");
}

}  // namespace

void write_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  Metadata metadata = {
      {kVersionKey, kVersion},
      {"recipe", checkpoint.recipe},
      {"model_fingerprint", fmt::format("{}", checkpoint.model_fingerprint)},
      {"data_fingerprint", fmt::format("{}", checkpoint.data_fingerprint)},
      {"iteration", fmt::format("{}", checkpoint.iteration)},
      {"epoch", fmt::format("{}", checkpoint.epoch)},
      {"epoch_iteration", fmt::format("{}", checkpoint.epoch_iteration)},
      {"best_metric", fmt::format("{}", checkpoint.best_metric)},
      {"best_epoch", fmt::format("{}", checkpoint.best_epoch)},
  };
  for (const auto& [key, value] : checkpoint.notes) {
    metadata[std::string(kNotePrefix) + key] = value;
  }
  write_safetensors(path, {checkpoint.tensors.begin(), checkpoint.tensors.end()}, metadata);
}

Checkpoint read_checkpoint(const std::filesystem::path& path) {
  SafetensorsFile file = read_safetensors(path);
  try {
    Checkpoint checkpoint = from_metadata(file.metadata());
    checkpoint.tensors = file.to_map();
    return checkpoint;
  } catch (const Error& error) {
    throw failure(fmt::format("{}: cannot be resumed: {}", path.string(), error.what()));
  }
}

std::string describe_difference(const TensorMap& expected, const TensorMap& found) {
  std::vector<std::string> missing;
  std::vector<std::string> unexpected;
  std::vector<std::string> other;
  for (const auto& [key, tensor] : expected) {
    const auto match = found.find(key);
    if (match == found.end()) {
      missing.push_back(key);
    } else if (match->second.shape() != tensor.shape() || match->second.dtype() != tensor.dtype()) {
      other.push_back(
          fmt::format("{}: {}, should be {}", key, describe(match->second), describe(tensor)));
    }
  }
  for (const auto& [key, tensor] : found) {
    if (!expected.contains(key)) unexpected.push_back(key);
  }
  std::string text;
  append(text, missing, "missing");
  append(text, unexpected, "unexpected");
  append(text, other, "of another type");
  return text;
}

}  // namespace facet
