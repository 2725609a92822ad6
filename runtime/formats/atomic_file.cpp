#include "runtime/formats/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

#include "ir/error.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLargestWrite = std::size_t{1} << 30;  // Linux writes less than 2 GiB a call
constexpr int kAttempts = 100;                               // at a name nobody has
constexpr int kLargestHops = 40;  // along symbolic links, as Linux has it

std::string_view advice(int error) {
  switch (error) {
    case ENOSPC:
      return "free space on that disk or write to another one";
    case EDQUOT:
      return "free space within your disk quota or write to another disk";
    case EFBIG:
      return "raise the file size limit (ulimit -f) or write to another disk";
    case ENOENT:
    case ENOTDIR:
      return "create its folder first";
    case EACCES:
    case EPERM:
    case EROFS:
      return "choose a place you may write to";
    case EISDIR:
      return "name a file, not a folder";
    default:
      return "check the disk and write again";
  }
}

/// Creates a hidden file with a random suffix beside `target` and opens it. Returns -1 and sets errno on
/// failure.
int create_beside(const fs::path& target, mode_t mode, fs::path& temporary) {
  std::random_device random;
  // The name is cut so that the suffix never pushes it past the 255 bytes a file name may have.
  const std::string stem = target.filename().string().substr(0, 200);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    temporary = target.parent_path() / fmt::format(".{}.{:08x}.tmp", stem, random());
    const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (descriptor >= 0 || errno != EEXIST) return descriptor;
  }
  return -1;
}

/// Makes the rename itself durable. Some file systems cannot sync a folder; the file is complete
/// either way, so this is best effort.
void sync_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

AtomicFile::AtomicFile(const fs::path& path) : path_(path) {
  target_ = path;
  std::error_code error;
  for (int hops = 0; fs::is_symlink(target_, error); ++hops) {
    if (hops == kLargestHops) {
      errno = ELOOP;
      fail("create");
    }
    target_ = target_.parent_path() / fs::read_symlink(target_, error);
  }
  if (!target_.has_parent_path()) target_ = "." / target_;

  struct stat existing = {};
  const bool exists = ::stat(target_.c_str(), &existing) == 0;
  if (exists && S_ISDIR(existing.st_mode)) {
    errno = EISDIR;
    fail("create");
  }
  if (exists && !S_ISREG(existing.st_mode)) {
    descriptor_ = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor_ < 0) fail("open");
    return;
  }
  fs::path temporary;
  descriptor_ = create_beside(target_, 0666, temporary);
  if (descriptor_ < 0) fail("create");
  temporary_ = temporary;
  if (exists && ::fchmod(descriptor_, existing.st_mode & 07777) != 0)
    fail("set the permissions of");
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (descriptor_ < 0) throw usage_error(fmt::format("{}: written after its end", path_.string()));
  while (!bytes.empty()) {
    const ssize_t written =
        ::write(descriptor_, bytes.data(), std::min(bytes.size(), kLargestWrite));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail("write");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (descriptor_ < 0) throw usage_error(fmt::format("{}: written after its end", path_.string()));
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor_, bytes.data(), std::min(bytes.size(), kLargestWrite),
                                     static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail("write");
    }
    offset += static_cast<std::uint64_t>(written);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFile::commit() {
  if (descriptor_ < 0) throw usage_error(fmt::format("{}: committed twice", path_.string()));
  const bool direct = temporary_.empty();
  // Pipes and terminals cannot be synced; for a file this is where a full disk may first show.
  if (!direct && ::fsync(descriptor_) != 0) fail("write");
  const int closed = ::close(descriptor_);
  descriptor_ = -1;
  if (closed != 0 && errno != EINTR) fail("write");
  if (direct) return;
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("replace");
  temporary_.clear();
  sync_folder(target_.parent_path());
}

void AtomicFile::fail(std::string_view action) {
  const int error = errno;
  discard();
  throw failure(fmt::format("cannot {} {}: {}; {}", action, path_.string(), std::strerror(error),
                            advice(error)));
}

void AtomicFile::discard() noexcept {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

}  // namespace facet
