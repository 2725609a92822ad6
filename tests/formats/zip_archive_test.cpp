#include "runtime/formats/zip_archive.h"

#include <gmock/gmock.h>

#include "tests/formats/temp_folder.h"
#include "tests/formats/zip_writer.h"

namespace facet::test {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const MappedFile> in_memory(const std::string& bytes) {
  return MappedFile::copy_of(std::as_bytes(std::span(bytes)), "x.zip");
}

std::string content(const ZipArchive& archive, std::string_view name) {
  const ZipEntry* entry = archive.find(name);
  if (entry == nullptr) return "(none)";
  MemoryBudget budget(1 << 20);
  const OwnedBytes bytes = archive.read(*entry, budget);
  return {reinterpret_cast<const char*>(bytes.bytes.data()), bytes.bytes.size()};
}

std::string refusal(const std::string& bytes) {
  return error_of([&] { ZipArchive archive(in_memory(bytes)); });
}

/// `bytes` with `patch` at the `nth` place where `mark` stands, plus `offset`.
std::string patched(std::string bytes, const std::string& mark, std::size_t offset,
                    const std::string& patch, int nth = 0) {
  std::size_t at = bytes.find(mark);
  while (nth-- > 0) at = bytes.find(mark, at + 1);
  return bytes.replace(at + offset, patch.size(), patch);
}

const std::string kLong(100'000, 'x');

class ZipKinds : public ::testing::TestWithParam<bool> {};

TEST_P(ZipKinds, StoredAndDeflatedEntriesAreRead) {
  const std::string bytes = make_zip(
      {{"a", "alpha"}, {"b/c", kLong, true}, {"empty", ""}, {"none", "", true}}, GetParam());
  const ZipArchive archive(in_memory(bytes));
  EXPECT_EQ(archive.entries().size(), 4);
  EXPECT_EQ(content(archive, "a"), "alpha");
  EXPECT_EQ(content(archive, "b/c"), kLong);
  EXPECT_EQ(content(archive, "empty"), "");
  EXPECT_EQ(content(archive, "none"), "");
  EXPECT_EQ(archive.find("c"), nullptr);
}

INSTANTIATE_TEST_SUITE_P(All, ZipKinds, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "Zip64" : "Plain"; });

TEST(ZipArchive, UnpackedSizesThatFillTheWindowAreRead) {
  for (const std::size_t size : {16383U, 16384U, 16385U, 32768U}) {
    const std::string text(size, 'y');
    EXPECT_EQ(content(ZipArchive(in_memory(make_zip({{"a", text, true}}))), "a"), text);
  }
}

TEST(ZipArchive, StoredEntriesStayInPlace) {
  const auto file = in_memory(make_zip({{"a", "alpha"}}));
  const ZipArchive archive(file);
  MemoryBudget budget(0);
  EXPECT_EQ(archive.read(*archive.find("a"), budget).owner, file);
}

TEST(ZipArchive, ACommentMayFollow) {
  const std::string bytes =
      patched(make_zip({{"a", "alpha"}}), "PK\x05\x06", 20, std::string("\x05\0", 2));
  EXPECT_EQ(content(ZipArchive(in_memory(bytes + "PK\x05\x06?")), "a"), "alpha");
}

TEST(ZipArchive, DamageIsFoundByTheChecksum) {
  for (const bool packed : {false, true}) {
    std::string bytes = make_zip({{"a", "alpha and omega", packed}});
    bytes[31 + 4] ^= 1;  // behind the local header of 30 bytes and the name
    const ZipArchive archive(in_memory(bytes));
    EXPECT_THAT(error_of([&] { content(archive, "a"); }), HasSubstr("\"a\" is damaged")) << packed;
  }
}

TEST(ZipArchive, AChecksumOfNothingIsNotCompared) {
  const std::string bytes =
      patched(make_zip({{"a", "alpha"}}), "PK\x01\x02", 16, std::string(4, '\0'));
  EXPECT_EQ(content(ZipArchive(in_memory(bytes)), "a"), "alpha");
}

TEST(ZipArchive, ABombIsRefused) {
  const std::string zeros(std::size_t{20} << 20, '\0');
  const ZipArchive archive(in_memory(make_zip({{"a", zeros, true}})));
  MemoryBudget budget(1 << 16);
  EXPECT_THAT(error_of([&] { archive.read(archive.entries()[0], budget); }),
              HasSubstr("more than a file of this size may ask for"));
}

TEST(ZipArchive, TheBudgetIsForAllEntries) {
  const std::string zeros(std::size_t{10} << 20, '\0');
  const ZipArchive archive(in_memory(make_zip({{"a", zeros, true}, {"b", zeros, true}})));
  MemoryBudget budget(0);
  archive.read(archive.entries()[0], budget);
  error_of([&] { archive.read(archive.entries()[1], budget); });
}

TEST(ZipArchive, SizesThatAreNotTrueAreRefused) {
  const std::string packed = make_zip({{"a", kLong, true}});
  const auto size = [&](std::uint32_t bytes) {
    return patched(packed, "PK\x01\x02", 24, little_endian(bytes));
  };
  EXPECT_THAT(refusal(size(0x7FFFFFFF)), HasSubstr("declares 2147483647 bytes"));
  for (const std::uint32_t wrong : {99'999U, 100'001U}) {
    const ZipArchive archive(in_memory(size(wrong)));
    EXPECT_THAT(error_of([&] { content(archive, "a"); }), HasSubstr("damaged"));
  }
  EXPECT_THAT(refusal(patched(make_zip({{"a", "alpha"}}), "PK\x01\x02", 24, "\x06")),
              HasSubstr("declares 6 bytes"));
}

TEST(ZipArchive, DirectoriesThatLieAreRefused) {
  const std::string good = make_zip({{"a", "alpha"}, {"b", "beta!"}});
  EXPECT_THAT(refusal(""), HasSubstr("too short"));
  EXPECT_THAT(refusal(std::string(1000, '\0')), HasSubstr("no zip directory"));
  EXPECT_THAT(refusal(good.substr(0, good.size() - 1)), HasSubstr("no zip directory"));
  EXPECT_THAT(refusal(patched(good, "PK\x05\x06", 16, "\xFF\xFF")),
              HasSubstr("not lie within the file"));
  EXPECT_THAT(refusal(patched(good, "PK\x05\x06", 10, "\x03")), HasSubstr("declares 3 entries"));
  EXPECT_THAT(refusal(patched(good, "PK\x05\x06", 10, "\x01")),
              HasSubstr("more entries than it declares"));
  EXPECT_THAT(refusal(patched(good, "PK\x01\x02", 0, "QQ")), HasSubstr("other than entries"));
  EXPECT_THAT(refusal(patched(good, "PK\x01\x02", 28, "\xFF\xFF")), HasSubstr("beyond its end"));
  EXPECT_THAT(refusal(patched(good, "PK\x01\x02", 42, "\x01")),
              HasSubstr("not where the directory says"));
  EXPECT_THAT(refusal(patched(good, "PK\x01\x02", 8, "\x01")), HasSubstr("encrypted"));
  EXPECT_THAT(refusal(patched(patched(good, "PK\x01\x02", 10, "\x0C"), "PK\x03\x04", 8, "\x0C")),
              HasSubstr("method 12"));
  EXPECT_THAT(refusal(make_zip({{"a", "alpha"}, {"a", "beta"}})), HasSubstr("two entries \"a\""));
}

TEST(ZipArchive, OverlappingEntriesAreRefused) {
  // "b" is read out of the content of "a".
  const std::string inner = make_zip({{"b", "beta"}}).substr(0, 35);
  std::string bytes = make_zip({{"a", inner}, {"b", "beta"}});
  bytes = patched(bytes, "PK\x01\x02", 42, little_endian<std::uint32_t>(31), 1);
  EXPECT_THAT(refusal(bytes), HasSubstr("overlap"));
}

TEST(ZipArchive, AZip64RecordElsewhereIsRefused) {
  const std::string good = make_zip({{"a", "alpha"}}, true);
  EXPECT_THAT(refusal(patched(good, "PK\x06\x07", 8, little_endian<std::uint64_t>(0))),
              HasSubstr("zip64 directory is not where it says"));
  EXPECT_THAT(refusal(patched(good, "PK\x06\x07", 8, little_endian<std::uint64_t>(~0ULL))),
              HasSubstr("beyond its end"));
  EXPECT_THAT(refusal(patched(good, "PK\x06\x06", 40, little_endian<std::uint64_t>(~0ULL))),
              HasSubstr("not lie within the file"));
  const std::size_t extra =
      46 + 1 + 4;  // the fields behind header, name and the field's own header
  EXPECT_THAT(refusal(patched(good, "PK\x01\x02", extra, little_endian<std::uint64_t>(1ULL << 60))),
              HasSubstr("declares"));
}

}  // namespace
}  // namespace facet::test
