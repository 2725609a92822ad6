#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ir/host_tensor.h"
#include "runtime/formats/atomic_file.h"

namespace facet::cli {

/// Where embeddings go while they are computed, so that memory does not grow with their number:
/// rows to a temporary file beside the output, which takes its header when their number is known,
/// and lines to the CSV file. Files appear complete or not at all.
class EmbeddingWriter {
 public:
  /// `output` (*.safetensors or *.npy) and `csv` may be empty, not both. Throws Error(failure) if a
  /// folder is missing or not writable.
  EmbeddingWriter(std::string output, const std::string& csv);
  ~EmbeddingWriter();
  EmbeddingWriter(const EmbeddingWriter&) = delete;
  EmbeddingWriter& operator=(const EmbeddingWriter&) = delete;

  /// A row of as many numbers as the others; rounded to f32.
  void add(const std::string& name, std::span<const double> values);
  std::int64_t count() const { return static_cast<std::int64_t>(names_.size()); }
  std::int64_t width() const { return width_; }
  const std::vector<std::string>& names() const { return names_; }

  /// Writes the files. safetensors: the tensor `embeddings` f32 [count, width], the pictures' names
  /// as a JSON list in the metadata; npy: the names one a line in a file beside it; CSV: a line of
  /// the columns' names, then name and values. Returns the table, in the mapped temporary file.
  HostTensor finish(const std::string& model);

 private:
  std::string output_;
  std::string rows_path_;
  std::ofstream rows_;
  std::unique_ptr<AtomicFile> csv_;
  std::vector<std::string> names_;
  std::int64_t width_ = 0;
};

/// A field of a CSV file: in quotes where it has commas, quotes or line ends (RFC 4180).
std::string csv_field(const std::string& text);

}  // namespace facet::cli
