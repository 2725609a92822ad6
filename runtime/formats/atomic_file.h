#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace facet {

/// Writes a file that is either complete or not there: bytes go to a hidden temporary file in the
/// same folder, `commit` flushes it to the disk and renames it over `path`. Without a `commit`, and
/// after any failure, the destructor removes the temporary file and `path` is as it was.
///
/// A symbolic link is followed, an existing file keeps its permission bits. If `path` names
/// something that is not a file (a pipe, /dev/stdout), the bytes go straight to it.
/// Not thread-safe; two writers of one path do not mix, the last `commit` wins.
class AtomicFile {
 public:
  /// Creates the temporary file. Throws Error(failure) if the folder is missing or not writable.
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends. Throws Error(failure) that names the file if the disk is full or the device fails.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  /// Replaces bytes that are written already, for a header that is known at the end. Throws
  /// Error(failure), also where the bytes went straight to a pipe.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);

  /// Puts the file in place. Nothing may be written afterwards. Throws Error(failure).
  void commit();

 private:
  [[noreturn]] void fail(std::string_view action);
  void discard() noexcept;

  std::filesystem::path path_;       // as the caller named it: for messages
  std::filesystem::path target_;     // with symbolic links resolved
  std::filesystem::path temporary_;  // empty when the bytes go straight to `target_`
  int descriptor_ = -1;
};

}  // namespace facet
