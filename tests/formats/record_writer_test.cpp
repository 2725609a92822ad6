#include <gmock/gmock.h>

#include "runtime/formats/record_file.h"
#include "tests/formats/python.h"
#include "tests/formats/record_bytes.h"

namespace facet::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

/// Pictures with the magic at offsets that split a record and at one that does not.
std::vector<std::pair<std::int64_t, std::string>> pictures() {
  const std::string magic = raw(0xCED7230AU);
  return {{0, "plain"},
          {0, magic},
          {0, magic + magic + "a"},
          {2, "abcd" + magic},
          {2, "abc" + magic},
          {2, "abcdef" + magic + "gh" + magic + "x"},
          {2, ""},
          {3, std::string(5000, 'y') + magic}};
}

void write(const std::filesystem::path& path, std::int64_t classes = 0) {
  RecordWriter writer(path, 96, 112);
  for (const auto& [label, picture] : pictures()) writer.add(label, bytes_of(picture));
  writer.finish(classes);
}

TEST(RecordWriter, WritesWhatIsReadBack) {
  const TempFolder folder;
  write(folder / "train.rec");
  EXPECT_EQ(folder.file_count(), 3);
  EXPECT_EQ(read_bytes(folder / "property"), "4,112,96");
  for (const bool listed : {true, false}) {
    if (!listed) std::filesystem::remove(folder / "train.idx");
    const RecordFile file(folder / "train.rec");
    const auto expected = pictures();
    ASSERT_EQ(file.size(), static_cast<std::int64_t>(expected.size()));
    for (std::int64_t item = 0; item < file.size(); ++item) {
      const auto& [label, picture] = expected[static_cast<std::size_t>(item)];
      const Record record = file.read(item);
      EXPECT_EQ(
          std::string(reinterpret_cast<const char*>(record.picture.data()), record.picture.size()),
          picture);
      EXPECT_EQ(file.label(item), label);
      EXPECT_EQ(file.key(item), item + 1);
    }
    EXPECT_EQ(file.declared_classes(), 4);
  }
}

/// The reader is that of the format's description, in a few lines of another language.
constexpr const char* kReader = R"(
import struct, sys
rec = open(sys.argv[1], 'rb').read()
idx = dict(map(int, line.split('\t')) for line in open(sys.argv[2]))
def payload(at):
    whole = b''
    while True:
        magic, word = struct.unpack_from('<II', rec, at)
        assert magic == 0xCED7230A
        kind, size = word >> 29, word & 0x1FFFFFFF
        whole += rec[at + 8:at + 8 + size]
        at += 8 + (size + 3) // 4 * 4
        if kind in (0, 3): return whole, at
        whole += struct.pack('<I', magic)
def unpack(key):
    data, _ = payload(idx[key])
    flag, label, number, second = struct.unpack_from('<IfQQ', data)
    labels = struct.unpack_from('<%df' % flag, data, 24) if flag else (label,)
    return labels, number, second, data[24 + 4 * flag:]
labels, number, second, body = unpack(0)
end, last = map(int, labels)
assert body == b'' and second == 1 and set(idx) == set(range(last))
for key in range(1, end):
    labels, number, second, body = unpack(key)
    assert number == key and second == 0
    print(key, int(labels[0]), body.hex())
for key in range(end, last):
    labels, number, second, body = unpack(key)
    assert body == b'' and len(labels) == 2
    print('identity', key, *map(int, labels))
at, count = 0, 0
while at < len(rec):
    assert at in idx.values()
    _, at = payload(at)
    count += 1
assert count == len(idx) and at == len(rec)
)";

TEST(RecordWriter, AnotherReaderFindsTheSame) {
  FACET_NEEDS_PYTHON();
  const TempFolder folder;
  write(folder / "train.rec", 5);
  std::string expected;
  int key = 1;
  for (const auto& [label, picture] : pictures()) {
    expected += std::to_string(key++) + " " + std::to_string(label) + " ";
    for (const char c : picture) {
      char hex[3];
      std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned char>(c));
      expected += hex;
    }
    expected += "\n";
  }
  expected +=
      "identity 9 1 4\nidentity 10 4 4\nidentity 11 4 8\nidentity 12 8 9\nidentity 13 9 9\n";
  EXPECT_EQ(python(kReader, {folder / "train.rec", folder / "train.idx"}), expected);
  EXPECT_EQ(read_bytes(folder / "property"), "5,112,96");
}

TEST(RecordWriter, NothingAppearsBeforeItIsWhole) {
  const TempFolder folder;
  write_bytes(folder / "train.idx", "before");
  {
    RecordWriter writer(folder / "train.rec");
    writer.add(0, bytes_of(std::string(3'000'000, 'x')));
    EXPECT_FALSE(std::filesystem::exists(folder / "train.rec"));
  }
  EXPECT_EQ(folder.file_count(), 1) << "the temporary files are gone";
  EXPECT_EQ(read_bytes(folder / "train.idx"), "before");
  const auto full_disk = [&] {
    const FileSizeLimit limit(100'000);
    RecordWriter writer(folder / "train.rec");
    for (int i = 0; i < 300; ++i) writer.add(0, bytes_of(std::string(1000, 'x')));
    writer.finish();
  };
  EXPECT_THAT(error_of(full_disk), HasSubstr("train.rec"));
  EXPECT_EQ(folder.file_count(), 1);
  EXPECT_THAT(error_of([&] { RecordWriter(folder / "no/train.rec"); }), HasSubstr("folder first"));
}

TEST(RecordWriter, WrongCallsAreRefused) {
  const TempFolder folder;
  const auto refusal = [](const std::function<void()>& work) {
    return error_of(work, ErrorKind::usage);
  };
  EXPECT_THAT(refusal([&] { RecordWriter(folder / "train.bin"); }), HasSubstr("named *.rec"));
  RecordWriter writer(folder / "train.rec");
  EXPECT_THAT(refusal([&] { writer.finish(); }), HasSubstr("without pictures"));
  writer.add(3, bytes_of("x"));
  EXPECT_THAT(refusal([&] { writer.add(2, bytes_of("x")); }), HasSubstr("class by class"));
  EXPECT_THAT(refusal([&] { writer.add(-1, bytes_of("x")); }), HasSubstr("class -1"));
  EXPECT_THAT(refusal([&] { writer.add(1 << 24, bytes_of("x")); }), HasSubstr("to 16777215"));
  EXPECT_THAT(refusal([&] { writer.finish(3); }), HasSubstr("do not hold the label 3"));
  EXPECT_EQ(writer.size(), 1);
  writer.finish();
  EXPECT_THAT((std::vector{RecordFile(folder / "train.rec").label(0)}), ElementsAre(3));
}

}  // namespace
}  // namespace facet::test
