#include "runtime/formats/record_file.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "tests/formats/record_bytes.h"
#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string picture(const RecordFile& file, std::int64_t item) {
  const Record record = file.read(item);
  return {reinterpret_cast<const char*>(record.picture.data()), record.picture.size()};
}

RecordFile open(const std::string& records, const std::string& index) {
  return {MappedFile::copy_of(std::as_bytes(std::span(records)), "x.rec"),
          MappedFile::copy_of(std::as_bytes(std::span(index)), "x.idx")};
}

RecordFile scanned(const std::string& records) {
  return {MappedFile::copy_of(std::as_bytes(std::span(records)), "x.rec"), nullptr};
}

std::string refusal(const std::string& records, const std::string& index) {
  return error_of([&] { open(records, index); });
}

/// Three pictures of the classes 0, 1, 1 and two identities.
RecordBytes insight_face() {
  RecordBytes bytes;
  bytes.add(labels_record({4, 6}, ""));
  bytes.add(plain_record(0, "first"));
  bytes.add(labels_record({1, 7, 8}, "second picture"));
  bytes.add(plain_record(1, "3rd!"));
  bytes.add(labels_record({1, 2}, ""));
  bytes.add(labels_record({2, 4}, ""));
  return bytes;
}

TEST(RecordFile, InsightFaceKeepsIdentitiesOut) {
  const RecordBytes bytes = insight_face();
  for (const bool listed : {true, false}) {
    const RecordFile file = listed ? open(bytes.records, bytes.index) : scanned(bytes.records);
    ASSERT_EQ(file.size(), 3) << listed;
    EXPECT_EQ(picture(file, 0), "first");
    EXPECT_EQ(picture(file, 1), "second picture");
    EXPECT_EQ(picture(file, 2), "3rd!");
    EXPECT_THAT((std::vector{file.label(0), file.label(1), file.label(2)}), ElementsAre(0, 1, 1));
    EXPECT_THAT(file.read(1).labels, ElementsAre(1, 7, 8));
    EXPECT_EQ(file.name(2), "x.rec#3");
    EXPECT_EQ(file.key(0), 1);
  }
}

TEST(RecordFile, RecordZeroMayStandAnywhere) {
  RecordBytes bytes;
  bytes.add(1, plain_record(5, "a"));
  bytes.add(2, plain_record(6, "b"));
  bytes.add(3, labels_record({1, 3}, ""));
  bytes.add(0, labels_record({3, 4}, ""));
  for (const bool listed : {true, false}) {
    const RecordFile file = listed ? open(bytes.records, bytes.index) : scanned(bytes.records);
    ASSERT_EQ(file.size(), 2) << listed;
    EXPECT_EQ(picture(file, 1), "b");
    EXPECT_EQ(file.label(1), 6);
  }
}

TEST(RecordFile, OtherFilesHaveAPictureInEveryRecord) {
  RecordBytes bytes;
  bytes.add(7, plain_record(2, "a"));
  bytes.add(0, plain_record(1, "b"));  // record 0 is a picture
  bytes.add(3, labels_record({4, 9}, "c"));
  const RecordFile file = open(bytes.records, bytes.index);
  ASSERT_EQ(file.size(), 3);
  EXPECT_THAT((std::vector{file.key(0), file.key(1), file.key(2)}), ElementsAre(7, 0, 3));
  EXPECT_THAT((std::vector{file.label(0), file.label(1), file.label(2)}), ElementsAre(2, 1, 4));
  EXPECT_EQ(picture(file, 2), "c");
  // Two labels in record 0, but a picture, too.
  RecordBytes detection;
  detection.add(labels_record({2, 3}, "d"));
  detection.add(plain_record(0, "e"));
  EXPECT_EQ(open(detection.records, detection.index).size(), 2);
  // No key is behind the largest number there is.
  const std::int64_t largest = std::numeric_limits<std::int64_t>::max();
  const RecordFile far = open(bytes.records, fmt::format("{}\t0\n5\t0\n", largest));
  EXPECT_EQ(far.key(0), largest);
  EXPECT_EQ(far.key(1), 5);
}

TEST(RecordFile, PartsGetTheMagicBackBetweenThem) {
  const std::string magic = raw(0xCED7230AU);
  const std::string payload = record_payload(0, 3, {}, "");
  const std::string split = record_part(1, payload + "abcd") + record_part(2, "") +
                            record_part(2, "efgh") + record_part(3, "xyz");
  RecordBytes bytes;
  bytes.add(plain_record(1, "before"));
  bytes.add(split);
  bytes.add(record_part(1, payload.substr(0, 8)) + record_part(3, payload.substr(12) + "q"));
  bytes.add(plain_record(2, "after"));
  for (const bool listed : {true, false}) {
    const RecordFile file = listed ? open(bytes.records, bytes.index) : scanned(bytes.records);
    ASSERT_EQ(file.size(), 4) << listed;
    EXPECT_EQ(picture(file, 1), "abcd" + magic + magic + "efgh" + magic + "xyz");
    EXPECT_EQ(file.label(1), 3);
    EXPECT_EQ(picture(file, 2), "q") << "split within the header";
    EXPECT_EQ(picture(file, 3), "after");
  }
  const Record moved = open(bytes.records, bytes.index).read(1);
  EXPECT_EQ(moved.picture.size(), 23U) << "the bytes outlive the file";
}

TEST(RecordFile, DamagedRecordsAreNamed) {
  RecordBytes bytes = insight_face();
  bytes.index += "9\t4000\n";
  const auto at = [&](int key) { return bytes.index.find(std::to_string(key) + "\t"); };
  std::string index = bytes.index;
  index.replace(at(3), index.find('\n', at(3)) - at(3), "3\t100000");
  const RecordFile beyond = open(bytes.records, index);
  EXPECT_THAT(error_of([&] { beyond.read(2); }),
              AllOf(HasSubstr("x.rec#3: the record cannot begin at byte 100000"),
                    HasSubstr("copy both again")));
  index.replace(at(3), index.find('\n', at(3)) - at(3), "3\t44");
  const RecordFile elsewhere = open(bytes.records, index);
  EXPECT_THAT(error_of([&] { elsewhere.label(2); }),
              HasSubstr("x.rec#3: the record does not begin at byte 44"));

  RecordBytes other;
  other.add(plain_record(0.5F, "half"));
  other.add(plain_record(-1, "negative"));
  other.add(plain_record(std::nanf(""), "none"));
  other.add(plain_record(3e9F, "large"));
  other.add(record_part(0, "too short"));
  other.add(record_part(0, record_payload(1000, 0, {1}, "x")));
  other.add(record_part(2, record_payload(0, 0, {}, "x")));
  other.add(record_part(1, record_payload(0, 0, {}, "x")));
  other.add(plain_record(1, "good"));
  other.add(raw(0xCED7230AU) + raw(500U) + "short");
  const RecordFile file = open(other.records, other.index);
  for (int item = 0; item < 4; ++item) {
    EXPECT_FALSE(picture(file, item).empty());
    EXPECT_THAT(error_of([&] { file.label(item); }),
                AllOf(HasSubstr("x.rec#" + std::to_string(item) + ": its label"),
                      HasSubstr("is no class")));
  }
  const auto message = [&](int item) { return error_of([&] { file.read(item); }); };
  EXPECT_THAT(message(4), HasSubstr("has 9 bytes, its header needs 24"));
  EXPECT_THAT(message(5), HasSubstr("its header needs 4024"));
  EXPECT_THAT(message(6), HasSubstr("begins with a later part"));
  EXPECT_THAT(message(7),
              AllOf(HasSubstr("has no last part"), HasSubstr("the next record begins")));
  EXPECT_EQ(picture(file, 8), "good");
  EXPECT_THAT(message(9), AllOf(HasSubstr("declares 500 bytes"), HasSubstr("it is cut short")));
}

TEST(RecordFile, AScanGoesOnBehindDamage) {
  RecordBytes bytes = insight_face();
  const std::size_t second = bytes.records.find("second");
  std::string damaged = bytes.records;
  damaged[second - 44] = 'x';  // the magic: header of 24 and 3 labels behind 8
  const RecordFile file = scanned(damaged);
  ASSERT_EQ(file.size(), 3);
  EXPECT_EQ(picture(file, 0), "first");
  EXPECT_THAT(error_of([&] { file.read(1); }), HasSubstr("x.rec#2: the record does not begin"));
  EXPECT_EQ(picture(file, 2), "3rd!");
}

TEST(RecordFile, CutShortAtEveryLength) {
  const RecordBytes bytes = insight_face();
  for (std::size_t length = 0; length < bytes.records.size(); ++length) {
    const std::string cut = bytes.records.substr(0, length);
    std::int64_t readable = 0;
    std::int64_t bad = 0;
    try {
      const RecordFile file = open(cut, bytes.index);
      for (std::int64_t item = 0; item < file.size(); ++item) {
        try {
          const std::string text = picture(file, item);
          EXPECT_EQ(text, picture(open(bytes.records, bytes.index), item));
          ++readable;
        } catch (const Error& error) {
          EXPECT_THAT(error.what(), HasSubstr("x.rec#" + std::to_string(item + 1)));
          ++bad;
        }
      }
      EXPECT_EQ(readable + bad, 3);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("record 0")) << length;
      EXPECT_LT(length, 40U);
    }
    try {
      const RecordFile file = scanned(cut);
      for (std::int64_t item = 0; item < file.size(); ++item) {
        try {
          file.read(item);
        } catch (const Error&) {
          EXPECT_EQ(item, file.size() - 1) << "only the last can be cut short";
        }
      }
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("x.rec"));
    }
  }
}

TEST(RecordFile, FlippedBytesAreNeverWorseThanAnError) {
  const RecordBytes bytes = insight_face();
  int refused = 0;
  for (std::size_t at = 0; at < bytes.records.size(); ++at) {
    for (const int change : {0x01, 0x80, 0xFF}) {
      std::string damaged = bytes.records;
      damaged[at] = static_cast<char>(damaged[at] ^ change);
      for (const bool listed : {true, false}) {
        try {
          const RecordFile file = listed ? open(damaged, bytes.index) : scanned(damaged);
          for (std::int64_t item = 0; item < file.size(); ++item) {
            file.read(item);
            file.label(item);
          }
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::failure);
          EXPECT_THAT(error.what(), HasSubstr("x."));
          ++refused;
        }
      }
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(RecordFile, AnIndexThatDoesNotFitIsRefused) {
  const RecordBytes bytes = insight_face();
  EXPECT_THAT(refusal(bytes.records, "0\t0\nx\t9\n"),
              AllOf(HasSubstr("x.idx: line 2 is \"x\\t9\""), HasSubstr("without the file")));
  EXPECT_THAT(refusal(bytes.records, "0\n"), HasSubstr("line 1"));
  EXPECT_THAT(refusal(bytes.records, "0\t-5\n"), HasSubstr("line 1"));
  EXPECT_THAT(refusal(bytes.records, "0\t5 6\n"), HasSubstr("line 1"));
  EXPECT_THAT(refusal(bytes.records, "0\t99999999999999999999999\n"), HasSubstr("line 1"));
  EXPECT_THAT(refusal(bytes.records, bytes.index + "2\t0\n"), HasSubstr("has the key 2 twice"));
  EXPECT_THAT(refusal(bytes.records, ""), HasSubstr("no records of pictures"));
  EXPECT_THAT(refusal(bytes.records, bytes.index.substr(0, bytes.index.find("3\t"))),
              AllOf(HasSubstr("x.idx: lacks the key 3"), HasSubstr("up to key 3")));
  EXPECT_THAT(refusal(bytes.records, "0\t4\n1\t5\n"), HasSubstr("x.rec: record 0, which says"));
  RecordBytes odd;
  odd.add(labels_record({2.5F, 3}, ""));
  EXPECT_THAT(refusal(odd.records, odd.index), HasSubstr("before key 2.5"));
  // Blanks, Windows' line ends and empty lines do not matter.
  std::string spaced = bytes.index;
  for (std::size_t at = 0; (at = spaced.find('\n', at)) != std::string::npos; at += 4) {
    spaced.replace(at, 1, " \r\n\n");
  }
  EXPECT_EQ(open(bytes.records, spaced).size(), 3);
}

TEST(RecordFile, WhatIsNoRecordFileIsRefused) {
  EXPECT_THAT(error_of([&] { scanned(""); }), HasSubstr("does not begin as record files"));
  EXPECT_THAT(error_of([&] { scanned("this is a text"); }), HasSubstr("x.rec"));
  EXPECT_THAT(error_of([&] { scanned(labels_record({1, 1}, "")); }), HasSubstr("no records"));
  EXPECT_THAT(error_of([] { RecordFile("nowhere/at.rec"); }), HasSubstr("nowhere/at.rec"));
}

TEST(RecordFile, OpensTheIndexAndThePropertyBesideIt) {
  const TempFolder folder;
  const RecordBytes bytes = insight_face();
  write_bytes(folder / "train.rec", bytes.records);
  EXPECT_EQ(RecordFile(folder / "train.rec").key(0), 1);
  EXPECT_EQ(RecordFile(folder / "train.rec").declared_classes(), 0);
  write_bytes(folder / "train.idx", "not an index");
  EXPECT_THAT(error_of([&] { RecordFile(folder / "train.rec"); }), HasSubstr("train.idx: line 1"));
  write_bytes(folder / "train.idx", bytes.index);
  write_bytes(folder / "property", "85742,112,112");
  EXPECT_EQ(RecordFile(folder / "train.rec").declared_classes(), 85742);
  for (const char* wrong : {"", "many,112,112", "0,112,112", "85742"}) {
    write_bytes(folder / "property", wrong);
    EXPECT_THAT(error_of([&] { RecordFile(folder / "train.rec").declared_classes(); }),
                HasSubstr("property: is"));
  }
}

/// f32 cannot say how many there are from 2^24 on: 16777217 becomes 16777216, 16777219 becomes
/// 16777220.
TEST(RecordFile, RoundedNumbersOfPicturesAreFoundOut) {
  for (const std::int64_t base : {1 << 24, 1 << 25, 1 << 26}) {
    for (std::int64_t end = base - 9; end < base + 9; ++end) {
      const auto has_picture = [&](std::int64_t key) -> std::optional<bool> {
        if (key >= end + 3) return std::nullopt;
        return key < end;
      };
      EXPECT_EQ(end_of_pictures(static_cast<float>(end), has_picture), end);
      // Without identities the index ends there.
      EXPECT_EQ(end_of_pictures(static_cast<float>(end),
                                [&](std::int64_t key) -> std::optional<bool> {
                                  if (key >= end) return std::nullopt;
                                  return true;
                                }),
                end);
    }
  }
  EXPECT_EQ(end_of_pictures(5, [](std::int64_t) { return true; }), 5) << "small ones are exact";
}

}  // namespace
}  // namespace facet::test
