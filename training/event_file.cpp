#include "training/event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "ir/error.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

// Protocol buffers, written by hand: a key is the field's number * 8 + the kind of its value.
enum class Wire { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };
// tensorflow/core/util/event.proto
constexpr unsigned kEventWallTime = 1;     // double, seconds since 1970
constexpr unsigned kEventStep = 2;         // int64
constexpr unsigned kEventFileVersion = 3;  // string
constexpr unsigned kEventSummary = 5;      // Summary
constexpr unsigned kEventSessionLog = 7;   // SessionLog
constexpr unsigned kSessionStatus = 1;     // enum
constexpr std::uint64_t kSessionStart = 1;
// tensorflow/core/framework/summary.proto
constexpr unsigned kSummaryValue = 1;      // Summary.Value
constexpr unsigned kValueTag = 1;          // string
constexpr unsigned kValueSimpleValue = 2;  // float

void put_varint(std::string& to, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) to.push_back(static_cast<char>(value | 0x80));
  to.push_back(static_cast<char>(value));
}

template <class Number>
void put_little_endian(std::string& to, Number value) {
  for (std::size_t i = 0; i < sizeof(Number); ++i) {
    to.push_back(static_cast<char>(value >> 8 * i & 0xFF));
  }
}

void put_key(std::string& to, unsigned field, Wire wire) {
  put_varint(to, field << 3 | static_cast<unsigned>(wire));
}

void put_number(std::string& to, unsigned field, std::uint64_t value) {
  put_key(to, field, Wire::varint);
  put_varint(to, value);
}

void put_bytes(std::string& to, unsigned field, std::string_view bytes) {
  put_key(to, field, Wire::bytes);
  put_varint(to, bytes.size());
  to.append(bytes);
}

std::uint32_t masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(bytes)));
  return std::rotr(crc, 15) + 0xA282EAD8u;
}

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0x82F63B78u : 0);
    table[i] = value;
  }
  return table;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

/// A name in `folder` that no file has.
fs::path new_path(const fs::path& folder) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(
      std::chrono::system_clock::now().time_since_epoch());
  const std::string name =
      fmt::format("events.out.tfevents.{}.{}.facet", seconds.count(), host_name());
  fs::path path = folder / name;
  for (int i = 1; fs::exists(path); ++i) path = folder / fmt::format("{}.{}", name, i);
  return path;
}

}  // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes) {
  static constexpr std::array<std::uint32_t, 256> kTable = make_crc_table();
  std::uint32_t crc = ~0u;
  for (const std::byte byte : bytes) {
    crc = kTable[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xFF] ^ crc >> 8;
  }
  return ~crc;
}

EventFile::EventFile(const fs::path& folder, std::int64_t resumed_at) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw failure(
        fmt::format("{}: the folder cannot be made: {}", folder.string(), error.message()));
  }
  path_ = new_path(folder);
  file_.open(path_, std::ios::binary);
  if (!file_) {
    throw failure(fmt::format("cannot create {}: {}", path_.string(), std::strerror(errno)));
  }
  std::string version;
  put_bytes(version, kEventFileVersion, "brain.Event:2");
  write_event(0, version);
  if (resumed_at < 0) return;
  std::string status;
  put_number(status, kSessionStatus, kSessionStart);
  std::string session;
  put_bytes(session, kEventSessionLog, status);
  write_event(resumed_at, session);
}

void EventFile::scalar(std::string_view tag, std::int64_t step, double value) {
  std::string entry;
  put_bytes(entry, kValueTag, tag);
  put_key(entry, kValueSimpleValue, Wire::fixed32);
  put_little_endian(entry, std::bit_cast<std::uint32_t>(static_cast<float>(value)));
  std::string summary;
  put_bytes(summary, kSummaryValue, entry);
  std::string event;
  put_bytes(event, kEventSummary, summary);
  write_event(step, event);
}

void EventFile::write_event(std::int64_t step, std::string_view fields) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  std::string event;
  put_key(event, kEventWallTime, Wire::fixed64);
  put_little_endian(event, std::bit_cast<std::uint64_t>(now.count()));
  put_number(event, kEventStep, static_cast<std::uint64_t>(step));
  event.append(fields);
  write_record(event);
}

/// TFRecord: the length, its checksum, the bytes, theirs.
void EventFile::write_record(std::string_view data) {
  std::string record;
  put_little_endian(record, static_cast<std::uint64_t>(data.size()));
  put_little_endian(record, masked_crc(record));
  record.append(data);
  put_little_endian(record, masked_crc(data));
  file_.write(record.data(), static_cast<std::streamsize>(record.size()));
  if (!file_.flush()) {
    throw failure(
        fmt::format("cannot write {}: {}; free some space", path_.string(), std::strerror(errno)));
  }
}

}  // namespace facet
