#include "cli/embedding_writer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <iterator>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "cli/common.h"
#include "ir/error.h"
#include "runtime/formats/mapped_file.h"
#include "runtime/formats/npy.h"
#include "runtime/formats/safetensors.h"

namespace facet::cli {
namespace {

/// An empty file of its own beside `output`; without one where the system keeps such files.
std::string temporary_beside(const std::string& output) {
  const std::filesystem::path folder = output.empty() ? std::filesystem::temp_directory_path()
                                                      : std::filesystem::path(output).parent_path();
  std::string name = (folder / ".facet-rows-XXXXXX").string();
  const int descriptor = ::mkstemp(name.data());
  if (descriptor < 0) {
    throw failure(fmt::format("{}: no file can be made there: {}", name,
                              std::generic_category().message(errno)));
  }
  ::close(descriptor);
  return name;
}

}  // namespace

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted.push_back('"');
    quoted.push_back(c);
  }
  return quoted + "\"";
}

EmbeddingWriter::EmbeddingWriter(std::string output, const std::string& csv)
    : output_(std::move(output)) {
  if (!output_.empty()) AtomicFile(std::filesystem::path(output_));
  if (!csv.empty()) csv_ = std::make_unique<AtomicFile>(csv);
  rows_path_ = temporary_beside(output_);
  rows_.open(rows_path_, std::ios::binary);
}

EmbeddingWriter::~EmbeddingWriter() {
  std::error_code ignored;
  std::filesystem::remove(rows_path_, ignored);
}

void EmbeddingWriter::add(const std::string& name, std::span<const double> values) {
  const std::vector<float> row(values.begin(), values.end());
  std::string line;
  if (names_.empty()) {
    width_ = static_cast<std::int64_t>(row.size());
    if (csv_) {
      line = "name";
      for (std::int64_t i = 0; i < width_; ++i) fmt::format_to(std::back_inserter(line), ",{}", i);
      line += "\n";
    }
  }
  rows_.write(reinterpret_cast<const char*>(row.data()),
              static_cast<std::streamsize>(row.size() * sizeof(float)));
  if (!rows_) throw failure(fmt::format("{}: cannot be written; is the disk full?", rows_path_));
  if (csv_) {
    line += csv_field(name);
    for (const float value : row) fmt::format_to(std::back_inserter(line), ",{}", value);
    csv_->write(line + "\n");
  }
  names_.push_back(name);
}

HostTensor EmbeddingWriter::finish(const std::string& model) {
  rows_.close();
  if (!rows_) throw failure(fmt::format("{}: cannot be written; is the disk full?", rows_path_));
  const HostTensor table =
      tensor_in(MappedFile::open(rows_path_), DType::f32, {count(), width_}, 0);
  if (output_.ends_with(".npy")) {
    std::string lines;
    for (const std::string& name : names_) lines += name + "\n";
    write_text(std::filesystem::path(output_).replace_extension(".names.txt").string(), lines);
    write_npy(output_, table);
  } else if (!output_.empty()) {
    const nlohmann::json list = names_;
    write_safetensors(
        output_, {{"embeddings", table}},
        {{"model", model},
         {"names", list.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)}});
  }
  if (csv_) csv_->commit();
  return table;
}

}  // namespace facet::cli
