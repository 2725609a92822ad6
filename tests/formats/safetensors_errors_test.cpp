#include <gmock/gmock.h>

#include "runtime/formats/safetensors.h"
#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string length_prefix(std::uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(length >> (8 * i) & 0xFF));
  return bytes;
}

std::string with_header(const std::string& header, std::size_t data_size) {
  return length_prefix(header.size()) + header + std::string(data_size, '\0');
}

std::string refusal(const std::string& bytes) {
  const TempFolder folder;
  write_bytes(folder / "x.safetensors", bytes);
  const std::string message = error_of([&] { read_safetensors(folder / "x.safetensors"); });
  EXPECT_THAT(message, HasSubstr("x.safetensors"));
  return message;
}

struct BadHeader {
  const char* name;
  const char* header;
  std::size_t data_size;
  const char* message;
};

void PrintTo(const BadHeader& bad, std::ostream* out) { *out << bad.name; }

class SafetensorsHeader : public ::testing::TestWithParam<BadHeader> {};

TEST_P(SafetensorsHeader, IsRefused) {
  const auto& bad = GetParam();
  EXPECT_THAT(refusal(with_header(bad.header, bad.data_size)), HasSubstr(bad.message));
}

INSTANTIATE_TEST_SUITE_P(
    All, SafetensorsHeader,
    ::testing::Values(
        BadHeader{"Empty", "", 0, "does not begin with '{'"},
        BadHeader{"Blank", " {}", 0, "does not begin with '{'"},
        BadHeader{"List", "[]", 0, "does not begin with '{'"},
        BadHeader{"Unclosed", "{", 0, "not valid JSON at its byte"},
        BadHeader{"TrailingText", "{} x", 0, "not valid JSON"},
        BadHeader{"NotUtf8", "{\"\xFF\":1}", 0, "not valid JSON"},
        BadHeader{"TensorIsNumber", R"({"a":1})", 0, "the number 1"},
        BadHeader{"TensorIsNull", R"({"a":null})", 0, "null"},
        BadHeader{"TensorIsList", R"({"a":[]})", 0, "a list"},
        BadHeader{"TensorIsText", R"({"a":"b"})", 0, "the text \"b\""},
        BadHeader{"TensorIsTruth", R"({"a":true})", 0, "a boolean"},
        BadHeader{"MetadataIsText", R"({"__metadata__":"b"})", 0, "the text \"b\""},
        BadHeader{"MetadataOfNumbers", R"({"__metadata__":{"k":1}})", 0, "the number 1"},
        BadHeader{"MetadataNested", R"({"__metadata__":{"k":{}}})", 0, "an object in __metadata__"},
        BadHeader{"MetadataTwice", R"({"__metadata__":{},"__metadata__":{}})", 0, "twice"},
        BadHeader{"MetadataKeyTwice", R"({"__metadata__":{"k":"a","k":"b"}})", 0, "\"k\" twice"},
        BadHeader{"NameTwice",
                  R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                  R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                  2, "\"a\" twice"},
        BadHeader{"FieldTwice",
                  R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1,
                  "\"dtype\" twice in tensor \"a\""},
        BadHeader{"UnknownField",
                  R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":1}})", 1,
                  "the field \"more\" in tensor \"a\""},
        BadHeader{"NoDType", R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1, "without dtype"},
        BadHeader{"NoShape", R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1, "without dtype"},
        BadHeader{"NoOffsets", R"({"a":{"dtype":"U8","shape":[1]}})", 1, "without dtype"},
        BadHeader{"UnknownDType", R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})",
                  1, "the dtype \"F8_E4M3\""},
        BadHeader{"DTypeIsNumber", R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,1]}})", 1,
                  "the number 1 in tensor \"a\""},
        BadHeader{"ShapeNegative", R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1,
                  "the negative number -1"},
        BadHeader{"ShapeFraction", R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1,
                  "the number \"1.0\""},
        BadHeader{"ShapeTooLargeNumber",
                  R"({"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]}})", 1,
                  "the number 9223372036854775808"},
        BadHeader{"ShapeNested", R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1,
                  "a list in tensor \"a\""},
        BadHeader{"ShapeOverflows",
                  R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                  "the shape of tensor \"a\" overflows"},
        BadHeader{"SizeOverflows",
                  R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0,
                  "overflows"},
        BadHeader{"OffsetsOne", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1]}})", 1,
                  "not a pair"},
        BadHeader{"OffsetsThree", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", 1,
                  "the number 2"},
        BadHeader{"OffsetsBackwards", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1,
                  "data offsets 1 to 0"},
        BadHeader{"OffsetsOutside", R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 1,
                  "data offsets 0 to 2 of 1 bytes"},
        BadHeader{"OffsetsHuge",
                  R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551615]}})", 1,
                  "data offsets"},
        BadHeader{"SizeMismatch", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,3]}})", 3,
                  "needs 4 bytes but has 3"},
        BadHeader{"Overlap",
                  R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                  R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                  4, "tensor \"b\" begins at data byte 2, before"},
        BadHeader{"Shared",
                  R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                  R"("b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})",
                  3, "begins at data byte 0, before"},
        BadHeader{"Gap",
                  R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                  R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                  4, "tensor \"b\" begins at data byte 2, after"},
        BadHeader{"TooMuchData", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 2,
                  "the tensors fill 1 bytes but 2 bytes"},
        BadHeader{"DataWithoutTensors", "{}", 1, "the tensors fill 0 bytes"}),
    [](const auto& item) { return std::string(item.param.name); });

TEST(SafetensorsErrors, BooleansAreZeroOrOne) {
  std::string bytes = with_header(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", 2);
  bytes.back() = '\x02';
  EXPECT_THAT(refusal(bytes), HasSubstr("BOOL tensor \"a\""));
}

TEST(SafetensorsErrors, LengthOfTheHeader) {
  EXPECT_THAT(refusal(""), HasSubstr("only 0 bytes"));
  EXPECT_THAT(refusal(std::string(7, '\0')), HasSubstr("only 7 bytes"));
  EXPECT_THAT(refusal(length_prefix(3) + "{}"), HasSubstr("cut short"));
  EXPECT_THAT(refusal(length_prefix(100'000'001) + "{}"), HasSubstr("more than the 100000000"));
  EXPECT_THAT(refusal(length_prefix(~std::uint64_t{0}) + "{}"), HasSubstr("more than the"));
}

TEST(SafetensorsErrors, DeepNestingAndLongShapesAreCheap) {
  EXPECT_THAT(refusal(with_header(R"({"a":)" + std::string(5'000'000, '['), 0)),
              HasSubstr("a list"));
  std::string objects = "{";
  for (int i = 0; i < 100'000; ++i) objects += R"("a":{)";
  EXPECT_THAT(refusal(with_header(objects, 0)), HasSubstr("the field \"a\""));
  std::string shape = R"({"a":{"dtype":"U8","shape":[1)";
  for (int i = 0; i < 100; ++i) shape += ",1";
  EXPECT_THAT(refusal(with_header(shape + R"(],"data_offsets":[0,1]}})", 1)),
              HasSubstr("more than 64 dimensions"));
}

TEST(SafetensorsErrors, HostileNamesAreCutAndEscapedInMessages) {
  const std::string name(100'000, 'n');
  EXPECT_LT(refusal(with_header("{\"" + name + "\":1}", 0)).size(), 1000U);
  const std::string message =
      refusal(with_header(R"({"\u001b[2J)" + name + R"(":{"dtype":"\u001b[2J","x":1}})", 0));
  EXPECT_LT(message.size(), 1000U);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

TEST(SafetensorsErrors, WhatIsNoFile) {
  const TempFolder folder;
  EXPECT_THAT(error_of([&] { read_safetensors(folder / "missing.safetensors"); }),
              AllOf(HasSubstr("missing.safetensors"), HasSubstr("No such file")));
  EXPECT_THAT(error_of([&] { read_safetensors(folder / ""); }), HasSubstr("not a regular file"));
}

std::string small_file() {
  const TempFolder folder;
  write_safetensors(folder / "x.safetensors",
                    {{"weight", HostTensor::from_floats({2, 3}, {1, 2, 3, 4, 5, 6})},
                     {"mask", HostTensor::from_floats({3}, {1, 0, 1}).cast(DType::boolean)},
                     {"steps", HostTensor::scalar(DType::i64, 3)}},
                    {{"format", "pt"}});
  return read_bytes(folder / "x.safetensors");
}

TEST(SafetensorsErrors, EveryTruncationIsNoticed) {
  const TempFolder folder;
  const auto path = folder / "x.safetensors";
  const std::string whole = small_file();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_bytes(path, whole.substr(0, size));
    EXPECT_THROW(read_safetensors(path), Error) << "cut to " << size << " bytes";
  }
  write_bytes(path, whole + '\0');
  EXPECT_THROW(read_safetensors(path), Error);
}

TEST(SafetensorsErrors, EveryBitFlipReadsOrThrows) {
  const TempFolder folder;
  const auto path = folder / "x.safetensors";
  const std::string whole = small_file();
  int refused = 0;
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    write_bytes(path, bytes);
    try {
      for (const auto& [name, tensor] : read_safetensors(path).tensors()) tensor.to_doubles();
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace facet::test
