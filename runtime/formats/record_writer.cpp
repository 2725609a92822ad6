#include <fmt/format.h>

#include <cstring>

#include "ir/error.h"
#include "runtime/formats/record_file.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kMagic = 0xCED7230A;
constexpr std::uint64_t kMostBytes = (1U << 29U) - 1;  // of a payload: 29 bits hold its length
constexpr std::int64_t kLabelEnd = 1 << 24;  // f32 has gaps between whole numbers from here
constexpr std::size_t kPiece = std::size_t{1} << 20;

/// A payload without its picture. `labels` in place of the one in the header if there are several.
std::vector<std::byte> payload_of(std::span<const float> labels, std::uint64_t id,
                                  std::uint64_t id2) {
  const bool several = labels.size() > 1;
  const auto flag = static_cast<std::uint32_t>(several ? labels.size() : 0);
  const float label = several ? 0 : labels[0];
  std::vector<std::byte> bytes(sizeof flag + sizeof label + sizeof id + sizeof id2 +
                               (several ? labels.size_bytes() : 0));
  std::byte* end = bytes.data();
  const auto put = [&](const auto& value) {
    std::memcpy(end, &value, sizeof value);
    end += sizeof value;
  };
  put(flag);
  put(label);
  put(id);
  put(id2);
  if (several) {
    for (const float one : labels) put(one);
  }
  return bytes;
}

fs::path checked(const fs::path& path) {
  if (path.extension() == ".rec") return path;
  throw usage_error(fmt::format("{}: a record file is named *.rec", path.string()));
}

fs::path index_of(fs::path path) { return path.replace_extension(".idx"); }

}  // namespace

void RecordWriter::Stream::put(std::span<const std::byte> bytes) {
  waiting.insert(waiting.end(), bytes.begin(), bytes.end());
  size += bytes.size();
  if (waiting.size() >= kPiece) flush();
}

void RecordWriter::Stream::flush() {
  file.write(waiting);
  waiting.clear();
}

RecordWriter::RecordWriter(const fs::path& path, int width, int height)
    : width_(width),
      height_(height),
      records_(checked(path)),
      index_(index_of(path)),
      property_(path.parent_path() / "property") {
  // Record 0 says how many there are, so its place is kept until that is known.
  put_record(0, payload_of(std::vector<float>{0, 0}, 0, 1));
}

void RecordWriter::add(std::int64_t label, std::span<const std::byte> picture) {
  const auto least = static_cast<std::int64_t>(first_keys_.size()) - 1;
  if (label < 0 || label < least || label >= kLabelEnd) {
    throw usage_error(
        fmt::format("a picture of class {} behind class {}: pictures of record files are "
                    "written class by class, from 0 to {}",
                    label, std::max<std::int64_t>(least, 0), kLabelEnd - 1));
  }
  const float value = static_cast<float>(label);
  payload_ = payload_of({&value, 1}, static_cast<std::uint64_t>(key_), 0);
  payload_.insert(payload_.end(), picture.begin(), picture.end());
  if (payload_.size() > kMostBytes) {
    throw failure(fmt::format("a picture of {} bytes is too large for a record file ({} at most)",
                              picture.size(), kMostBytes - (payload_.size() - picture.size())));
  }
  put_record(key_, payload_);
  while (static_cast<std::int64_t>(first_keys_.size()) <= label) first_keys_.push_back(key_);
  ++key_;
}

void RecordWriter::finish(std::int64_t classes) {
  const auto named = static_cast<std::int64_t>(first_keys_.size());
  if (named == 0) throw usage_error("a record file without pictures");
  if (classes != 0 && classes < named) {
    throw usage_error(fmt::format("{} classes do not hold the label {}", classes, named - 1));
  }
  classes = std::max(classes, named);
  first_keys_.resize(static_cast<std::size_t>(classes) + 1, key_);  // the end of the last one, too
  const std::int64_t end = key_;
  for (std::size_t label = 0; label + 1 < first_keys_.size(); ++label, ++key_) {
    const std::vector<float> range = {static_cast<float>(first_keys_[label]),
                                      static_cast<float>(first_keys_[label + 1])};
    put_record(key_, payload_of(range, static_cast<std::uint64_t>(key_), 0));
  }
  records_.flush();
  const std::vector<float> all = {static_cast<float>(end), static_cast<float>(key_)};
  constexpr std::uint64_t kPayload = 2 * sizeof(std::uint32_t);
  records_.file.write_at(kPayload, payload_of(all, 0, 1));
  index_.flush();
  property_.put(fmt::format("{},{},{}", classes, height_, width_));
  property_.flush();
  records_.file.commit();
  index_.file.commit();
  property_.file.commit();
}

void RecordWriter::put_record(std::int64_t key, std::span<const std::byte> payload) {
  index_.put(fmt::format("{}\t{}\n", key, records_.size));
  const auto put_part = [&](std::uint32_t kind, std::span<const std::byte> part) {
    const std::uint32_t head[] = {kMagic, kind << 29U | static_cast<std::uint32_t>(part.size())};
    records_.put(std::as_bytes(std::span(head)));
    records_.put(part);
  };
  // A reader that looks for the next record must not find the magic within one: it is left out and
  // ends a part.
  std::size_t begin = 0;
  for (std::size_t at = 0; at + sizeof(kMagic) <= payload.size(); at += sizeof(kMagic)) {
    if (std::memcmp(payload.data() + at, &kMagic, sizeof(kMagic)) != 0) continue;
    put_part(begin == 0 ? 1 : 2, payload.subspan(begin, at - begin));
    begin = at + sizeof(kMagic);
  }
  put_part(begin == 0 ? 0 : 3, payload.subspan(begin));
  constexpr std::byte kZeros[3] = {};
  records_.put(std::span(kZeros).first((4 - payload.size() % 4) % 4));
}

}  // namespace facet
