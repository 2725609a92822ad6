#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ir/host_tensor.h"

namespace facet {

/// A file mapped read-only into memory, or bytes that take the place of one. Immutable, so
/// concurrent reads are safe. Another program that shortens the file while it is mapped makes later
/// reads fail with SIGBUS; a file replaced by `AtomicFile` keeps its old bytes here.
class MappedFile {
 public:
  /// Throws Error(failure) if `path` cannot be opened or is not a regular file.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  /// A copy of `bytes` under a name for messages: for what did not come from a file of its own.
  static std::shared_ptr<const MappedFile> copy_of(std::span<const std::byte> bytes,
                                                   std::string name);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  /// As the caller named it.
  std::string path() const { return path_.string(); }

 private:
  MappedFile() = default;

  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
  std::vector<std::byte> copy_;  // empty if the bytes are mapped
};

/// The tensor at `offset` of `file`, in place and keeping `file` alive. Bytes that are not aligned
/// to the size of their elements are copied to where they are. The caller has checked that
/// `offset` plus the tensor's size lies within the file.
HostTensor tensor_in(const std::shared_ptr<const MappedFile>& file, DType dtype,
                     std::vector<std::int64_t> shape, std::size_t offset);

}  // namespace facet
