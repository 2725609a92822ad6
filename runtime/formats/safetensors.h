#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/host_tensor.h"

namespace facet {

class MappedFile;

/// Tensors with their names, in the order of the file.
using NamedTensors = std::vector<std::pair<std::string, HostTensor>>;
/// The free text a safetensors file carries under `__metadata__`.
using Metadata = std::map<std::string, std::string>;

/// What a safetensors file holds. The tensors point into the mapped file and keep it alive, also
/// when copied out of this object. Immutable, so concurrent reads are safe.
class SafetensorsFile {
 public:
  SafetensorsFile(std::string path, NamedTensors tensors, Metadata metadata);

  /// In the order of the file's header.
  const NamedTensors& tensors() const& { return tensors_; }
  NamedTensors tensors() && { return std::move(tensors_); }
  const Metadata& metadata() const& { return metadata_; }
  Metadata metadata() && { return std::move(metadata_); }
  /// Null if there is no tensor of that name.
  const HostTensor* find(std::string_view name) const;
  /// Throws Error(failure) that suggests the nearest names.
  HostTensor at(std::string_view name) const;
  TensorMap to_map() const { return {tensors_.begin(), tensors_.end()}; }

 private:
  std::string path_;
  NamedTensors tensors_;
  Metadata metadata_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

/// Maps and checks a whole file before any tensor is handed out: the header (JSON, at most 100 MB,
/// at most the file), names (unique), dtypes, shapes (no overflow), and that the tensors fill the
/// data without gap or overlap to the last byte. Memory is at most some 20 times the header.
/// Throws Error(failure) that names the file, the tensor and what is wrong.
/// Format: https://github.com/huggingface/safetensors ("Format").
SafetensorsFile read_safetensors(const std::filesystem::path& path);
SafetensorsFile read_safetensors(const std::shared_ptr<const MappedFile>& file);

/// Writes atomically (see AtomicFile); the header keeps the order of `tensors`, the data is sorted
/// by element size so that every tensor is aligned. Throws Error(usage) for a name that is double,
/// reserved or not UTF-8 and for a tensor without bytes, Error(failure) if it cannot be written.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const Metadata& metadata = {});

}  // namespace facet
