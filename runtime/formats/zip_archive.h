#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/formats/mapped_file.h"
#include "runtime/formats/memory_budget.h"

namespace facet {

/// One file of an archive. The views point into the mapped archive.
struct ZipEntry {
  std::string_view name;
  std::span<const std::byte> stored;  ///< as they lie in the archive
  std::uint64_t size = 0;             ///< bytes when unpacked
  std::uint32_t checksum = 0;         ///< CRC-32 of the unpacked bytes
  bool deflated = false;              ///< else `stored` is the content
};

/// Bytes with what keeps them alive.
struct OwnedBytes {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

/// A zip archive, plain or zip64, with stored and deflated entries. Names are only compared, never
/// opened, so they may be anything. Immutable after construction.
/// Format: PKWARE's APPNOTE.TXT, 6.3.10.
class ZipArchive {
 public:
  /// Checks the whole directory before anything is unpacked: every entry lies within the file, no
  /// two overlap, none has another's name. Throws Error(failure) that says what is wrong; the
  /// caller adds the file.
  explicit ZipArchive(std::shared_ptr<const MappedFile> file);

  const std::vector<ZipEntry>& entries() const { return entries_; }
  /// Null if there is none of that name.
  const ZipEntry* find(std::string_view name) const;

  /// The content: in place if it is stored, else unpacked within `budget`. Compares size and
  /// checksum; a deflated entry is unpacked once to nowhere first, so that memory is only asked for
  /// what is really there. A checksum of 0 is not compared: PyTorch writes it when it is told to
  /// compute none. Throws Error(failure) that names the entry.
  OwnedBytes read(const ZipEntry& entry, MemoryBudget& budget) const;

 private:
  std::shared_ptr<const MappedFile> file_;
  std::vector<ZipEntry> entries_;
  std::map<std::string_view, std::size_t> index_;
};

}  // namespace facet
