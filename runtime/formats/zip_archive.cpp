#include "runtime/formats/zip_archive.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "ir/error.h"
#include "runtime/formats/quoted.h"

namespace facet {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint32_t kLocalHeader = 0x04034B50;
constexpr std::uint32_t kDirectoryHeader = 0x02014B50;
constexpr std::uint32_t kDirectoryEnd = 0x06054B50;
constexpr std::uint32_t kDirectoryEnd64 = 0x06064B50;
constexpr std::uint32_t kDirectoryEnd64Locator = 0x07064B50;
constexpr std::size_t kLocalHeaderSize = 30;
constexpr std::size_t kDirectoryHeaderSize = 46;
constexpr std::size_t kDirectoryEndSize = 22;
constexpr std::size_t kDirectoryEnd64Size = 56;
constexpr std::size_t kLocatorSize = 20;
constexpr std::size_t kLongestComment = 0xFFFF;
constexpr std::uint16_t kZip64Extra = 0x0001;
constexpr std::uint16_t kEncrypted = 0x0001;
constexpr std::uint16_t kStored = 0;
constexpr std::uint16_t kDeflated = 8;
constexpr std::uint64_t kLargestExpansion = 1032;  // of deflate, by construction

/// Little-endian numbers of checked places.
class Fields {
 public:
  explicit Fields(Bytes bytes) : bytes_(bytes) {}

  template <class T>
  T at(std::uint64_t position) const {
    T value{};
    std::memcpy(&value, part(position, sizeof(T)).data(), sizeof(T));
    return value;
  }

  Bytes part(std::uint64_t position, std::uint64_t size) const {
    if (position > bytes_.size() || size > bytes_.size() - position) {
      throw failure("its directory points beyond its end; it may be cut short");
    }
    return bytes_.subspan(static_cast<std::size_t>(position), static_cast<std::size_t>(size));
  }

  std::size_t size() const { return bytes_.size(); }

 private:
  Bytes bytes_;
};

struct Directory {
  std::uint64_t begin = 0;
  std::uint64_t size = 0;
  std::uint64_t count = 0;
};

/// The record that ends the archive stands before a comment of unknown length: the last that fits.
std::size_t find_directory_end(const Fields& file) {
  if (file.size() < kDirectoryEndSize) throw failure("it is too short for a zip archive");
  const std::size_t last = file.size() - kDirectoryEndSize;
  const std::size_t first = last > kLongestComment ? last - kLongestComment : 0;
  for (std::size_t at = last + 1; at-- > first;) {
    if (file.at<std::uint32_t>(at) == kDirectoryEnd &&
        file.at<std::uint16_t>(at + 20) == last - at) {
      return at;
    }
  }
  throw failure("it has no zip directory at its end; it may be cut short");
}

Directory find_directory(const Fields& file) {
  const std::size_t end = find_directory_end(file);
  Directory directory{file.at<std::uint32_t>(end + 16), file.at<std::uint32_t>(end + 12),
                      file.at<std::uint16_t>(end + 10)};
  std::uint64_t limit = end;
  if (end >= kLocatorSize && file.at<std::uint32_t>(end - kLocatorSize) == kDirectoryEnd64Locator) {
    const auto record = file.at<std::uint64_t>(end - kLocatorSize + 8);
    file.part(record, kDirectoryEnd64Size);
    if (file.at<std::uint32_t>(record) != kDirectoryEnd64) {
      throw failure("its zip64 directory is not where it says");
    }
    directory = {file.at<std::uint64_t>(record + 48), file.at<std::uint64_t>(record + 40),
                 file.at<std::uint64_t>(record + 32)};
    limit = record;
  }
  if (directory.begin > limit || directory.size > limit - directory.begin) {
    throw failure("its directory does not lie within the file; it may be cut short");
  }
  if (directory.count > directory.size / kDirectoryHeaderSize) {
    throw failure(fmt::format("its directory declares {} entries but has room for {}",
                              directory.count, directory.size / kDirectoryHeaderSize));
  }
  return directory;
}

/// Sizes and place of an entry; where 32 bits do not hold one, the zip64 extra field does.
struct Extent {
  std::uint64_t size = 0;
  std::uint64_t stored_size = 0;
  std::uint64_t local_header = 0;
};

void apply_zip64(Bytes extra, Extent& extent) {
  const Fields fields(extra);
  for (std::size_t at = 0; at + 4 <= extra.size();) {
    const auto id = fields.at<std::uint16_t>(at);
    const Bytes body = fields.part(at + 4, fields.at<std::uint16_t>(at + 2));
    at += 4 + body.size();
    if (id != kZip64Extra) continue;
    const Fields numbers(body);
    std::size_t next = 0;
    for (std::uint64_t* value : {&extent.size, &extent.stored_size, &extent.local_header}) {
      if (*value != 0xFFFFFFFFU) continue;
      *value = numbers.at<std::uint64_t>(next);
      next += sizeof(std::uint64_t);
    }
    return;
  }
}

std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void check_method(const ZipEntry& entry, std::uint16_t flags, std::uint16_t method) {
  if ((flags & kEncrypted) != 0) {
    throw failure(fmt::format("its entry {} is encrypted; save it without a password",
                              in_quotes(entry.name)));
  }
  if (method != kStored && method != kDeflated) {
    throw failure(
        fmt::format("its entry {} is packed by method {}; only stored (0) and deflated (8) "
                    "entries are read",
                    in_quotes(entry.name), method));
  }
  if (entry.deflated ? entry.size / kLargestExpansion > entry.stored.size()
                     : entry.size != entry.stored.size()) {
    throw failure(fmt::format("its entry {} declares {} bytes, which its {} stored bytes are not",
                              in_quotes(entry.name), entry.size, entry.stored.size()));
  }
}

/// Where an entry lies in the file, its local header included.
using Place = std::pair<std::uint64_t, std::uint64_t>;

/// The entry whose directory header is at `at`, which moves on to the next.
std::pair<ZipEntry, Place> read_entry(const Fields& file, const Fields& directory,
                                      std::uint64_t& at, std::uint64_t data_end) {
  directory.part(at, kDirectoryHeaderSize);
  if (directory.at<std::uint32_t>(at) != kDirectoryHeader) {
    throw failure("its directory has something other than entries");
  }
  const auto name_size = directory.at<std::uint16_t>(at + 28);
  const auto extra_size = directory.at<std::uint16_t>(at + 30);
  ZipEntry entry;
  entry.name = text_of(directory.part(at + kDirectoryHeaderSize, name_size));
  entry.checksum = directory.at<std::uint32_t>(at + 16);
  Extent extent{directory.at<std::uint32_t>(at + 24), directory.at<std::uint32_t>(at + 20),
                directory.at<std::uint32_t>(at + 42)};
  apply_zip64(directory.part(at + kDirectoryHeaderSize + name_size, extra_size), extent);
  const auto method = directory.at<std::uint16_t>(at + 10);
  const auto flags = directory.at<std::uint16_t>(at + 8);
  at += kDirectoryHeaderSize + std::uint64_t{name_size} + extra_size +
        directory.at<std::uint16_t>(at + 32);

  const Bytes local = file.part(extent.local_header, kLocalHeaderSize);
  const Fields header(local);
  const std::uint64_t name_begin = extent.local_header + kLocalHeaderSize;
  const auto local_name_size = header.at<std::uint16_t>(26);
  if (header.at<std::uint32_t>(0) != kLocalHeader || header.at<std::uint16_t>(8) != method ||
      text_of(file.part(name_begin, local_name_size)) != entry.name) {
    throw failure(
        fmt::format("its entry {} is not where the directory says", in_quotes(entry.name)));
  }
  const std::uint64_t begin = name_begin + local_name_size + header.at<std::uint16_t>(28);
  entry.stored = file.part(begin, extent.stored_size);
  if (begin + extent.stored_size > data_end) {
    throw failure(fmt::format("its entry {} reaches into the directory", in_quotes(entry.name)));
  }
  entry.size = extent.size;
  entry.deflated = method == kDeflated;
  check_method(entry, flags, method);
  return {entry, {extent.local_header, begin + extent.stored_size}};
}

void check_places(std::vector<Place> places) {
  std::sort(places.begin(), places.end());
  for (std::size_t i = 1; i < places.size(); ++i) {
    if (places[i].first < places[i - 1].second) throw failure("entries of it overlap");
  }
}

/// Unpacks a raw deflate stream part by part.
class Inflater {
 public:
  explicit Inflater(Bytes packed) : packed_(packed) {
    if (inflateInit2(&stream_, -MAX_WBITS) != Z_OK) throw failure("zlib cannot start");
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  /// Fills as much of `to` as the stream has; fewer bytes mean that it ended. Nothing if it is
  /// damaged or cut short.
  std::optional<std::size_t> read(std::span<std::byte> to) {
    std::size_t filled = 0;
    while (filled < to.size() && !ended_) {
      if (stream_.avail_in == 0) feed();
      const auto room = static_cast<uInt>(std::min<std::size_t>(to.size() - filled, 1 << 30));
      stream_.next_out = reinterpret_cast<Bytef*>(to.data() + filled);
      stream_.avail_out = room;
      const int result = inflate(&stream_, Z_NO_FLUSH);
      filled += room - stream_.avail_out;
      ended_ = result == Z_STREAM_END;
      if (!ended_ && result != Z_OK) return std::nullopt;
    }
    return filled;
  }

 private:
  void feed() {
    const auto part = packed_.first(std::min<std::size_t>(packed_.size(), 1 << 30));
    packed_ = packed_.subspan(part.size());
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(part.data()));
    stream_.avail_in = static_cast<uInt>(part.size());
  }

  Bytes packed_;
  z_stream stream_ = {};
  bool ended_ = false;
};

std::uint32_t checksum_of(Bytes bytes, std::uint32_t before = 0) {
  return static_cast<std::uint32_t>(
      crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

Error damaged(const ZipEntry& entry) {
  return failure(fmt::format("its entry {} is damaged; download or save the file again",
                             in_quotes(entry.name)));
}

/// Unpacks to nowhere: the entry has the size and the checksum that it declares.
void check_deflated(const ZipEntry& entry) {
  Inflater inflater(entry.stored);
  std::array<std::byte, 16384> window;
  std::uint64_t size = 0;
  std::uint32_t checksum = 0;
  for (;;) {
    const auto count = inflater.read(window);
    if (!count || (size += *count) > entry.size) throw damaged(entry);
    checksum = checksum_of(std::span(window).first(*count), checksum);
    if (*count < window.size()) break;
  }
  if (size != entry.size || (entry.checksum != 0 && checksum != entry.checksum))
    throw damaged(entry);
}

}  // namespace

ZipArchive::ZipArchive(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {
  const Fields fields(file_->bytes());
  const Directory found = find_directory(fields);
  const Fields directory(fields.part(found.begin, found.size));
  std::vector<Place> places;
  entries_.reserve(found.count);
  places.reserve(found.count);
  std::uint64_t at = 0;
  for (std::uint64_t i = 0; i < found.count; ++i) {
    const auto [entry, place] = read_entry(fields, directory, at, found.begin);
    if (!index_.emplace(entry.name, entries_.size()).second) {
      throw failure(fmt::format("it has two entries {}", in_quotes(entry.name)));
    }
    entries_.push_back(entry);
    places.push_back(place);
  }
  if (at != found.size) throw failure("its directory has more entries than it declares");
  check_places(std::move(places));
}

const ZipEntry* ZipArchive::find(std::string_view name) const {
  const auto position = index_.find(name);
  return position == index_.end() ? nullptr : &entries_[position->second];
}

OwnedBytes ZipArchive::read(const ZipEntry& entry, MemoryBudget& budget) const {
  if (!entry.deflated) {
    if (entry.checksum != 0 && checksum_of(entry.stored) != entry.checksum) throw damaged(entry);
    return {entry.stored, file_};
  }
  check_deflated(entry);
  budget.take(entry.size, fmt::format("the unpacked entry {}", in_quotes(entry.name)));
  HostTensor unpacked(DType::u8, {static_cast<std::int64_t>(entry.size)});
  const std::span to(unpacked.mutable_data(), static_cast<std::size_t>(entry.size));
  Inflater inflater(entry.stored);
  if (inflater.read(to) != to.size()) throw damaged(entry);
  return {to, std::make_shared<const HostTensor>(std::move(unpacked))};
}

}  // namespace facet
