#include "runtime/formats/record_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "ir/error.h"
#include "runtime/formats/quoted.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kMagic = 0xCED7230A;
constexpr unsigned kLengthBits = 29;
constexpr std::uint32_t kLengthMask = (1U << kLengthBits) - 1;
constexpr std::size_t kPartHeader = 8;     // magic, kind and length
constexpr std::size_t kRecordHeader = 24;  // u32 flag, f32 label, u64 id, u64 id2
constexpr std::uint32_t kWhole = 0;
constexpr std::uint32_t kFirst = 1;
constexpr std::uint32_t kLast = 3;
constexpr float kLabelEnd = 2147483648.0F;
constexpr float kExactEnd = 16777216.0F;  // f32 has gaps between whole numbers from here on

template <class T>
T number_at(std::span<const std::byte> bytes, std::uint64_t offset) {
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

bool is_whole(float value) { return value >= 0 && value < kLabelEnd && std::floor(value) == value; }

std::shared_ptr<const MappedFile> index_beside(fs::path path) {
  path.replace_extension(".idx");
  std::error_code ignored;
  return fs::exists(path, ignored) ? MappedFile::open(path) : nullptr;
}

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

/// Reads a number and the blanks behind it off the front of `text`.
template <class Number>
bool take_number(std::string_view& text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r"), text.size()));
  return true;
}

}  // namespace

std::int64_t end_of_pictures(float stored,
                             const std::function<std::optional<bool>(std::int64_t)>& has_picture) {
  auto end = static_cast<std::int64_t>(stored);
  if (stored < kExactEnd) return end;
  end -= static_cast<std::int64_t>(stored - std::nextafter(stored, 0.0F));
  while (has_picture(end).value_or(false)) ++end;
  return end;
}

RecordFile::RecordFile(const fs::path& path)
    : RecordFile(MappedFile::open(path), index_beside(path)) {}

RecordFile::RecordFile(std::shared_ptr<const MappedFile> records,
                       const std::shared_ptr<const MappedFile>& index)
    : records_(std::move(records)) {
  if (index) {
    keep_listed(read_index(*index), index->path());
  } else {
    scan();
  }
  if (offsets_.empty()) {
    throw failure(
        fmt::format("{}: has no records of pictures; is it a record file (.rec)?", path()));
  }
  // Each key is asked for the one behind it; the largest number there is has none.
  const auto has_gap = [](std::int64_t key, std::int64_t next) {
    return key == std::numeric_limits<std::int64_t>::max() || next != key + 1;
  };
  if (!keys_.empty() && std::ranges::adjacent_find(keys_, has_gap) == keys_.end()) {
    first_key_ = keys_[0];
    keys_ = {};
  }
}

std::vector<RecordFile::Entry> RecordFile::read_index(const MappedFile& index) {
  std::vector<Entry> entries;
  std::string_view rest = text_of(index);
  for (std::int64_t line = 1; !rest.empty(); ++line) {
    const std::size_t length = std::min(rest.find('\n'), rest.size());
    std::string_view text = rest.substr(0, length);
    rest.remove_prefix(std::min(length + 1, rest.size()));
    if (text.empty() || text == "\r") continue;
    const std::string_view whole = text;
    Entry entry{};
    if (!take_number(text, entry.key) || !take_number(text, entry.offset) || !text.empty()) {
      throw failure(
          fmt::format("{}: line {} is {}, not a key and an offset with a tab between them; without "
                      "the file the records are found by themselves",
                      index.path(), line, in_quotes(whole)));
    }
    entries.push_back(entry);
  }
  return entries;
}

void RecordFile::keep_listed(const std::vector<Entry>& entries, const std::string& index) {
  std::vector<Entry> copy;
  if (!std::ranges::is_sorted(entries, {}, &Entry::key)) {
    copy = entries;
    std::ranges::sort(copy, {}, &Entry::key);
  }
  const std::vector<Entry>& sorted = copy.empty() ? entries : copy;
  const auto twice = std::ranges::adjacent_find(sorted, {}, &Entry::key);
  if (twice != sorted.end()) {
    throw failure(fmt::format(
        "{}: has the key {} twice; without the file the records are found by themselves", index,
        twice->key));
  }
  if (!sorted.empty() && sorted[0].key == 0) {
    Record first;
    try {
      first = read_at(sorted[0].offset);
    } catch (const Error& error) {
      throw failure(
          fmt::format("{}: record 0, which says what the others are, {}; copy the file again, or "
                      "remove {} to have the records found by themselves",
                      path(), error.what(), index));
    }
    if (first.picture.empty() && first.labels.size() == 2) {
      return keep_insight_face(sorted, first, index);
    }
  }
  for (const Entry& entry : entries) {
    keys_.push_back(entry.key);
    offsets_.push_back(entry.offset);
  }
}

/// The pictures are the keys from 1 to the first identity's.
void RecordFile::keep_insight_face(const std::vector<Entry>& entries, const Record& first,
                                   const std::string& index) {
  const float stored = first.labels[0];
  if (!is_whole(stored) || stored < 1) {
    throw failure(
        fmt::format("{}: record 0 says that the pictures end before key {}, which is no "
                    "whole number; copy the file again",
                    path(), stored));
  }
  const auto is_at = [&](std::int64_t key) {
    const auto place = static_cast<std::size_t>(key);
    return place < entries.size() && entries[place].key == key;
  };
  const std::int64_t end = end_of_pictures(stored, [&](std::int64_t key) -> std::optional<bool> {
    if (!is_at(key)) return std::nullopt;
    try {
      return !read_at(entries[static_cast<std::size_t>(key)].offset).picture.empty();
    } catch (const Error&) {
      return true;  // damaged: it counts as a picture and is named when it is read
    }
  });
  for (std::int64_t key = 1; key < end; ++key) {
    if (!is_at(key)) {
      throw failure(
          fmt::format("{}: lacks the key {}; record 0 promises pictures up to key {}; copy "
                      "the index again, or remove it to have the records found by "
                      "themselves",
                      index, key, end - 1));
    }
    keys_.push_back(key);
    offsets_.push_back(entries[static_cast<std::size_t>(key)].offset);
  }
}

void RecordFile::scan() {
  const std::span<const std::byte> bytes = records_->bytes();
  if (bytes.size() < kPartHeader || number_at<std::uint32_t>(bytes, 0) != kMagic) {
    throw failure(fmt::format("{}: does not begin as record files (.rec) do", path()));
  }
  std::uint64_t at = 0;
  for (std::int64_t key = 0; at < bytes.size(); ++key) {
    bool kept = true;
    std::uint64_t end = 0;
    try {
      const Record record = read_at(at, &end);
      kept = !record.picture.empty() || record.labels.size() < 2;
    } catch (const Error&) {  // named when it is read
      end = next_record(at + sizeof(kMagic));
    }
    if (kept) {
      keys_.push_back(key);
      offsets_.push_back(at);
    }
    at = end;
  }
}

/// The next place at which a whole record or a first part may begin; the end of the file if there
/// is none.
std::uint64_t RecordFile::next_record(std::uint64_t from) const {
  const std::span<const std::byte> bytes = records_->bytes();
  for (std::uint64_t at = from; at + kPartHeader <= bytes.size(); at += sizeof(kMagic)) {
    if (number_at<std::uint32_t>(bytes, at) != kMagic) continue;
    const auto word = number_at<std::uint32_t>(bytes, at + sizeof(kMagic));
    const std::uint32_t kind = word >> kLengthBits;
    if ((kind == kWhole || kind == kFirst) &&
        (word & kLengthMask) <= bytes.size() - at - kPartHeader) {
      return at;
    }
  }
  return bytes.size();
}

// What these two throw goes on behind "the record": the caller says which.

RecordFile::Part RecordFile::part_at(std::uint64_t offset) const {
  const std::span<const std::byte> bytes = records_->bytes();
  if (offset > bytes.size() || bytes.size() - offset < kPartHeader) {
    throw failure(
        fmt::format("cannot begin at byte {} of {} bytes; the file is cut short or the "
                    "index is that of another one, copy both again",
                    offset, bytes.size()));
  }
  if (number_at<std::uint32_t>(bytes, offset) != kMagic) {
    throw failure(
        fmt::format("does not begin at byte {}; the file is damaged or the index is that "
                    "of another one, copy both again",
                    offset));
  }
  const auto word = number_at<std::uint32_t>(bytes, offset + sizeof(kMagic));
  const std::uint64_t length = word & kLengthMask;
  const std::uint64_t begin = offset + kPartHeader;
  if (length > bytes.size() - begin) {
    throw failure(
        fmt::format("declares {} bytes at byte {}, of which the file has {}; it is cut "
                    "short or damaged, copy it again",
                    length, offset, bytes.size() - begin));
  }
  const std::uint64_t padded = begin + (length + 3) / 4 * 4;
  return {word >> kLengthBits, bytes.subspan(begin, length),
          std::min<std::uint64_t>(padded, bytes.size())};
}

Record RecordFile::read_at(std::uint64_t offset, std::uint64_t* end) const {
  Part part = part_at(offset);
  if (end != nullptr) *end = part.end;
  if (part.kind == kWhole) return parse(part.bytes, offset);
  if (part.kind != kFirst) {
    throw failure(
        fmt::format("begins with a later part at byte {}; the file is damaged or the index "
                    "is that of another one, copy both again",
                    offset));
  }
  std::vector<std::byte> joined(part.bytes.begin(), part.bytes.end());
  while (part.kind != kLast) {
    const std::uint64_t at = part.end;
    part = part_at(at);
    if (part.kind == kWhole || part.kind == kFirst) {
      throw failure(
          fmt::format("has no last part: at byte {} the next record begins; the file is "
                      "damaged, copy it again",
                      at));
    }
    // The parts were split where the payload has the magic, which is not in the file there.
    const auto magic = std::as_bytes(std::span(&kMagic, 1));
    joined.insert(joined.end(), magic.begin(), magic.end());
    joined.insert(joined.end(), part.bytes.begin(), part.bytes.end());
    if (end != nullptr) *end = part.end;
  }
  Record record = parse(joined, offset);
  record.joined = std::move(joined);  // the bytes stay where they are
  return record;
}

Record RecordFile::parse(std::span<const std::byte> payload, std::uint64_t offset) {
  const auto refuse = [&](std::uint64_t needed) {
    throw failure(
        fmt::format("at byte {} has {} bytes, its header needs {}; the file is damaged, "
                    "copy it again",
                    offset, payload.size(), needed));
  };
  if (payload.size() < kRecordHeader) refuse(kRecordHeader);
  const std::uint64_t count = number_at<std::uint32_t>(payload, 0);
  const std::uint64_t begin = kRecordHeader + count * sizeof(float);
  if (begin > payload.size()) refuse(begin);
  Record record;
  record.labels.resize(std::max<std::uint64_t>(count, 1));
  std::memcpy(record.labels.data(), payload.data() + (count == 0 ? 4 : kRecordHeader),
              record.labels.size() * sizeof(float));
  record.picture = payload.subspan(begin);
  return record;
}

std::int64_t RecordFile::key(std::int64_t item) const {
  return keys_.empty() ? first_key_ + item : keys_.at(static_cast<std::size_t>(item));
}

std::string RecordFile::name(std::int64_t item) const {
  return fmt::format("{}#{}", path(), key(item));
}

Record RecordFile::read(std::int64_t item) const {
  try {
    return read_at(offsets_.at(static_cast<std::size_t>(item)));
  } catch (const Error& error) {
    throw failure(fmt::format("{}: the record {}", name(item), error.what()));
  }
}

std::int64_t RecordFile::label(std::int64_t item) const {
  const float label = read(item).labels[0];
  if (!is_whole(label)) {
    throw failure(
        fmt::format("{}: its label {} (byte {}) is no class, a whole number from 0 on; "
                    "correct it where the file was made",
                    name(item), label, offsets_.at(static_cast<std::size_t>(item)) + kPartHeader));
  }
  return static_cast<std::int64_t>(label);
}

std::int64_t RecordFile::declared_classes() const {
  const fs::path property = fs::path(path()).parent_path() / "property";
  std::error_code ignored;
  if (!fs::exists(property, ignored)) return 0;
  const auto file = MappedFile::open(property);
  std::string_view text = text_of(*file);
  std::int64_t classes = 0;
  if (!take_number(text, classes) || classes < 1 || !text.starts_with(',')) {
    throw failure(fmt::format("{}: is {}, not \"classes,height,width\"; correct or remove it",
                              file->path(), in_quotes(text_of(*file))));
  }
  return classes;
}

}  // namespace facet
