#include "runtime/formats/verification_bin.h"

#include <gmock/gmock.h>

#include "tests/formats/python.h"
#include "tests/formats/record_bytes.h"

namespace facet::test {
namespace {

using namespace std::string_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

VerificationBin read(const std::string& bytes) {
  return read_verification_bin(MappedFile::copy_of(std::as_bytes(std::span(bytes)), "x.bin"));
}

std::string refusal(const std::string& bytes) {
  return error_of([&] { read(bytes); });
}

std::vector<std::string> texts(const VerificationBin& bin) {
  std::vector<std::string> result;
  for (const auto picture : bin.pictures) {
    result.emplace_back(reinterpret_cast<const char*>(picture.data()), picture.size());
  }
  return result;
}

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// As cPickle of Python 2 writes it: strings of both lengths, memo and long memo, booleans as
/// singletons, one of them taken out of the memo.
TEST(VerificationBin, Protocol2OfPython2) {
  const std::string large(300, 'L');
  const std::string bytes =
      "\x80\x02]q\x01(U\x03"
      "abcq\x02T"s +
      raw(std::uint32_t{300}) + large +
      "r\x03\0\0\0U\0q\x04h\x02"
      "e]q\x05(\x88\x89"
      "e\x86q\x06."s;
  const VerificationBin bin = read(bytes);
  EXPECT_THAT(texts(bin), ElementsAre("abc", large, "", "abc"));
  EXPECT_THAT(bin.same, ElementsAre(true, false));
}

TEST(VerificationBin, Protocol4OfPython3) {
  const std::string bytes =
      "\x80\x04\x95\x20\0\0\0\0\0\0\0]\x94(C\x02"
      "ab\x94"
      "B"s +
      raw(std::uint32_t{3}) + "cde\x94\x8E"s + raw(std::uint64_t{1}) + "f\x94\x96" +
      raw(std::uint64_t{2}) +
      "gh\x94"
      "e]\x94(K\x01K\0e\x86\x94."s;
  const VerificationBin bin = read(bytes);
  EXPECT_THAT(texts(bin), ElementsAre("ab", "cde", "f", "gh"));
  EXPECT_THAT(bin.same, ElementsAre(true, false));
}

TEST(VerificationBin, WhatPython3WritesIsRead) {
  FACET_NEEDS_PYTHON();
  const TempFolder folder;
  for (const char* protocol : {"3", "4", "5"}) {
    python(
        "import pickle, sys\n"
        "bins = [bytes([i % 251]) * (i * 300) for i in range(300)]\n"
        "pickle.dump((bins, [i % 3 == 0 for i in range(150)]), open(sys.argv[1], 'wb'), " +
            std::string(protocol) + ")\n",
        {folder / "x.bin"});
    const VerificationBin bin = read_verification_bin(folder / "x.bin");
    ASSERT_EQ(bin.pictures.size(), 300U);
    for (std::size_t i = 0; i < bin.pictures.size(); ++i) {
      ASSERT_EQ(bin.pictures[i].size(), i * 300);
      if (i == 0) continue;
      EXPECT_EQ(bin.pictures[i].back(), static_cast<std::byte>(i % 251));
    }
    for (std::size_t i = 0; i < bin.same.size(); ++i) EXPECT_EQ(bin.same[i], i % 3 == 0);
  }
}

TEST(VerificationBin, Python3ReadsWhatIsWritten) {
  FACET_NEEDS_PYTHON();
  const TempFolder folder;
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  const std::vector<std::vector<std::byte>> pictures = {
      bytes_of(all), {}, bytes_of("b"), bytes_of(std::string(70'000, 'c'))};
  write_verification_bin(folder / "x.bin", pictures, {false, true});
  EXPECT_EQ(python("import pickle, sys\n"
                   "bins, same = pickle.load(open(sys.argv[1], 'rb'), encoding='bytes')\n"
                   "assert bins == [bytes(range(256)), b'', b'b', b'c' * 70000]\n"
                   "print(type(bins[0]).__name__, same)\n"
                   "bins, same = pickle.load(open(sys.argv[1], 'rb'), encoding='latin1')\n"
                   "assert bins[0].encode('latin1') == bytes(range(256))\n",
                   {folder / "x.bin"}),
            "bytes [False, True]\n");
}

TEST(VerificationBin, WritesWhatIsReadBack) {
  const TempFolder folder;
  const std::vector<std::vector<std::byte>> pictures = {bytes_of("a"), bytes_of("bb"), bytes_of(""),
                                                        bytes_of(std::string(1000, 'd'))};
  write_verification_bin(folder / "x.bin", pictures, {true, false});
  const VerificationBin bin = read_verification_bin(folder / "x.bin");
  EXPECT_THAT(texts(bin), ElementsAre("a", "bb", "", std::string(1000, 'd')));
  EXPECT_THAT(bin.same, ElementsAre(true, false));
  const auto usage = [&](std::size_t count, std::vector<bool> same) {
    return error_of(
        [&] { write_verification_bin(folder / "y.bin", std::span(pictures).first(count), same); },
        ErrorKind::usage);
  };
  EXPECT_THAT(usage(3, {true, false}), HasSubstr("3 pictures for 2 pairs"));
  EXPECT_THAT(usage(0, {}), HasSubstr("0 pictures"));
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(VerificationBin, OtherPicklesAreRefused) {
  EXPECT_THAT(refusal(""),
              AllOf(HasSubstr("x.bin: is no verification set"), HasSubstr("cut short")));
  EXPECT_THAT(refusal("\x80\x02N."), HasSubstr("something else than the two lists"));
  EXPECT_THAT(refusal("\x80\x02]]\x86."), HasSubstr("no pairs"));
  EXPECT_THAT(refusal("\x80\x02](U\x01"
                      "ae](\x88"
                      "e\x86."),
              HasSubstr("1 pictures for 1 pairs"));
  EXPECT_THAT(refusal("\x80\x02](K\x01K\x02"
                      "e](\x88"
                      "e\x86."),
              HasSubstr("picture 0 is no string"));
  EXPECT_THAT(refusal("\x80\x02](U\x01"
                      "aU\x01"
                      "be](K\x02"
                      "e\x86."),
              HasSubstr("for pair 0"));
  EXPECT_THAT(refusal("\x80\x02](U\x01"
                      "aU\x01"
                      "be](N"
                      "e\x86."),
              HasSubstr("True or False"));
  EXPECT_THAT(refusal("\x80\x02](cnumpy.core.multiarray\n_reconstruct\n"),
              AllOf(HasSubstr("\"numpy.core.multiarray._reconstruct\""),
                    HasSubstr("numpy arrays are not read")));
  EXPECT_THAT(refusal("\x80\x02](c_codecs\nencode\n"), HasSubstr("protocol 4"));
  EXPECT_THAT(refusal("\x80\x02](cos\nsystem\n"), HasSubstr("nothing was loaded"));
  EXPECT_THAT(error_of([] { read_verification_bin("nowhere/lfw.bin"); }), HasSubstr("lfw.bin"));
}

TEST(VerificationBin, CutShortOrChangedAnywhere) {
  const std::string bytes =
      "\x80\x02](U\x03"
      "abcT"s +
      raw(std::uint32_t{2}) +
      "deU\0U\x01xe](\x88\x89"
      "e\x86."s;
  EXPECT_EQ(read(bytes).same.size(), 2U);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_THAT(refusal(bytes.substr(0, length)), HasSubstr("x.bin: is no verification set"));
  }
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(value);
      try {
        const VerificationBin bin = read(damaged);
        EXPECT_EQ(bin.pictures.size(), 2 * bin.same.size());
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::failure);
      }
    }
  }
}

}  // namespace
}  // namespace facet::test
