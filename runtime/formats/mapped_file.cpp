#include "runtime/formats/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "ir/error.h"

namespace facet {
namespace {

/// Closes on every way out; a mapping outlives its descriptor.
struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

Error cannot_read(const std::filesystem::path& path, std::string_view why) {
  return failure(
      fmt::format("cannot read {}: {}; check the name and its permissions", path.string(), why));
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe that nobody writes would wait for ever.
  const Descriptor descriptor{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (descriptor.value < 0) throw cannot_read(path, std::strerror(errno));
  struct stat status = {};
  if (::fstat(descriptor.value, &status) != 0) throw cannot_read(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) throw cannot_read(path, "it is not a regular file");

  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return file;  // a mapping of no bytes is not possible
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.value, 0);
  if (address == MAP_FAILED) throw cannot_read(path, std::strerror(errno));
  file->bytes_ = {static_cast<const std::byte*>(address), size};
  return file;
}

std::shared_ptr<const MappedFile> MappedFile::copy_of(std::span<const std::byte> bytes,
                                                      std::string name) {
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = std::move(name);
  file->copy_.assign(bytes.begin(), bytes.end());
  file->bytes_ = file->copy_;
  return file;
}

MappedFile::~MappedFile() {
  if (copy_.empty() && !bytes_.empty())
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

HostTensor tensor_in(const std::shared_ptr<const MappedFile>& file, DType dtype,
                     std::vector<std::int64_t> shape, std::size_t offset) {
  const std::byte* bytes = file->bytes().data() + offset;
  const HostTensor view(dtype, std::move(shape), bytes, file);
  const auto misaligned =
      reinterpret_cast<std::uintptr_t>(bytes) % static_cast<std::uintptr_t>(size_of(dtype));
  return misaligned == 0 ? view : view.clone();
}

}  // namespace facet
