#include "training/event_file.h"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <vector>

#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// CRC-32C bit by bit, another way than the one tested.
std::uint32_t slow_crc(const std::string& bytes) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : bytes) {
    for (int bit = 0; bit < 8; ++bit) {
      const std::uint32_t low = (crc ^ static_cast<unsigned char>(byte) >> bit) & 1;
      crc = crc >> 1 ^ (low != 0 ? 0x82F63B78u : 0);
    }
  }
  return crc ^ 0xFFFFFFFFu;
}

template <class Number>
Number number_at(const std::string& bytes, std::size_t at) {
  Number value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

std::uint32_t masked(const std::string& bytes) {
  const std::uint32_t crc = slow_crc(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

/// The records of a TFRecord file; their checksums must be right.
std::vector<std::string> records_of(const std::string& bytes) {
  std::vector<std::string> records;
  for (std::size_t at = 0; at < bytes.size();) {
    const auto length = number_at<std::uint64_t>(bytes, at);
    EXPECT_EQ(number_at<std::uint32_t>(bytes, at + 8), masked(bytes.substr(at, 8)));
    records.push_back(bytes.substr(at + 12, length));
    EXPECT_EQ(number_at<std::uint32_t>(bytes, at + 12 + length), masked(records.back()));
    at += 16 + length;
  }
  return records;
}

/// The fields of a message by number; scalars as their little-endian bytes.
std::map<unsigned, std::string> fields_of(const std::string& message) {
  std::map<unsigned, std::string> fields;
  std::size_t at = 0;
  const auto varint = [&] {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(message.at(at++));
      value |= std::uint64_t{byte & 0x7Fu} << shift;
      if ((byte & 0x80) == 0) return value;
    }
  };
  while (at < message.size()) {
    const std::uint64_t key = varint();
    std::size_t size = 0;
    std::string value;
    switch (key & 7) {
      case 0: {
        const std::uint64_t number = varint();
        value.assign(reinterpret_cast<const char*>(&number), 8);
        break;
      }
      case 1:
        size = 8;
        break;
      case 2:
        size = varint();
        break;
      case 5:
        size = 4;
        break;
      default:
        ADD_FAILURE() << "wire type " << (key & 7);
    }
    if ((key & 7) != 0) {
      value = message.substr(at, size);
      at += size;
    }
    fields[static_cast<unsigned>(key >> 3)] = value;
  }
  return fields;
}

TEST(EventFile, Crc32cHasItsPublishedValues) {
  const auto crc = [](const std::string& text) { return crc32c(std::as_bytes(std::span(text))); };
  EXPECT_EQ(crc("123456789"), 0xE3069283u);
  EXPECT_EQ(crc(std::string(32, '\0')), 0x8A9136AAu);  // RFC 3720, B.4
  EXPECT_EQ(crc(std::string(32, '\xFF')), 0x62A8AB43u);
  EXPECT_EQ(crc(""), 0u);
}

TEST(EventFile, HoldsWhatWasWritten) {
  const TempFolder folder;
  EventFile events(folder / "logs/run");
  events.scalar("loss/train", 1, 2.5);
  events.scalar("loss/train", 300, std::nan(""));
  events.scalar("top1", std::int64_t{1} << 40, -0.125);
  EXPECT_THAT(events.path().filename().string(), StartsWith("events.out.tfevents."));
  const auto records = records_of(read_bytes(events.path()));  // while the file is still open
  ASSERT_EQ(records.size(), 4U);

  auto first = fields_of(records[0]);
  EXPECT_EQ(first[3], "brain.Event:2");
  EXPECT_GT(number_at<double>(first[1], 0), 1.6e9);

  const std::vector<std::int64_t> steps = {1, 300, std::int64_t{1} << 40};
  const std::vector<std::string> tags = {"loss/train", "loss/train", "top1"};
  for (std::size_t i = 0; i < 3; ++i) {
    auto event = fields_of(records[i + 1]);
    EXPECT_EQ(number_at<std::int64_t>(event[2], 0), steps[i]);
    auto value = fields_of(fields_of(event[5])[1]);
    EXPECT_EQ(value[1], tags[i]);
    const auto number = number_at<float>(value[2], 0);
    if (i == 1) {
      EXPECT_TRUE(std::isnan(number));
    } else {
      EXPECT_EQ(number, i == 0 ? 2.5F : -0.125F);
    }
  }
}

TEST(EventFile, ResumedItIsANewFileThatSaysWhere) {
  const TempFolder folder;
  EventFile first(folder / "run");
  first.scalar("loss", 7, 1);
  const std::string before = read_bytes(first.path());
  EventFile second(folder / "run", 5);
  EXPECT_NE(first.path(), second.path());
  EXPECT_EQ(read_bytes(first.path()), before);
  const auto records = records_of(read_bytes(second.path()));
  ASSERT_EQ(records.size(), 2U);
  auto start = fields_of(records[1]);
  EXPECT_EQ(number_at<std::int64_t>(start[2], 0), 5);
  EXPECT_EQ(number_at<std::int64_t>(fields_of(start[7])[1], 0), 1);  // SessionLog.START
}

TEST(EventFile, AFullDiskIsReported) {
  const TempFolder folder;
  EventFile events(folder / "run");
  const FileSizeLimit limit(200);
  EXPECT_THAT(error_of([&] {
                for (int i = 0; i < 100; ++i) events.scalar("loss", i, 0);
              }),
              HasSubstr("tfevents"));
}

TEST(EventFile, AFolderThatCannotBeIsNamed) {
  const TempFolder folder;
  write_bytes(folder / "file", "x");
  EXPECT_THAT(error_of([&] { EventFile(folder / "file/run"); }), HasSubstr("file/run"));
}

}  // namespace
}  // namespace facet::test
