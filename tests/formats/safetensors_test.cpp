#include "runtime/formats/safetensors.h"

#include <gmock/gmock.h>

#include <array>
#include <cstring>
#include <optional>

#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr std::array kAllDTypes = {DType::f32, DType::bf16, DType::f16, DType::f64,    DType::i64,
                                   DType::i32, DType::i8,   DType::u8,  DType::boolean};

/// Values 0, 1, 1, 0, 1, 1, ...: every dtype has them.
HostTensor pattern(DType dtype, const std::vector<std::int64_t>& shape) {
  std::vector<double> values(static_cast<std::size_t>(element_count(shape)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 3 == 0 ? 0 : 1;
  return HostTensor::from_doubles(shape, values).cast(dtype);
}

void expect_equal(const HostTensor& a, const HostTensor& b) {
  ASSERT_EQ(a.dtype(), b.dtype());
  ASSERT_EQ(a.shape(), b.shape());
  EXPECT_EQ(std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.byte_count())), 0);
}

TEST(Safetensors, KeepsEveryDTypeTheOrderAndTheMetadata) {
  const TempFolder folder;
  NamedTensors tensors;
  for (const DType dtype : kAllDTypes) {
    tensors.emplace_back("z." + std::string(to_string(dtype)), pattern(dtype, {3, 5}));
  }
  tensors.emplace_back("a.scalar", HostTensor::scalar(DType::i64, 7));
  tensors.emplace_back("none", pattern(DType::f32, {0, 4}));
  tensors.emplace_back("ünïcode \"quoted\"\n", HostTensor::from_floats({1}, {1.5F}));
  const Metadata metadata = {{"format", "pt"}, {"note", "a \"b\"\n\u00e9"}};
  write_safetensors(folder / "x.safetensors", tensors, metadata);

  const SafetensorsFile file = read_safetensors(folder / "x.safetensors");
  EXPECT_EQ(file.metadata(), metadata);
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(file.tensors()[i].first, tensors[i].first);
    expect_equal(file.tensors()[i].second, tensors[i].second);
  }
  EXPECT_EQ(file.at("a.scalar").at(0), 7);
  EXPECT_EQ(file.find("b"), nullptr);
  EXPECT_EQ(file.to_map().size(), tensors.size());
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(Safetensors, WritesAlignedData) {
  const TempFolder folder;
  write_safetensors(folder / "x.safetensors", {{"byte", pattern(DType::u8, {3})},
                                               {"half", pattern(DType::f16, {3})},
                                               {"wide", pattern(DType::f64, {3})},
                                               {"float", pattern(DType::f32, {3})}});
  const SafetensorsFile file = read_safetensors(folder / "x.safetensors");
  const auto base = reinterpret_cast<std::uintptr_t>(file.at("wide").data());
  EXPECT_EQ(base % 64, 0U);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.at("float").data()), base + 24);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.at("half").data()), base + 36);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.at("byte").data()), base + 42);
}

// The bytes of the format's documentation, put together by hand.
TEST(Safetensors, ReadsAFileMadeByHand) {
  const TempFolder folder;
  const std::string header =
      R"({"__metadata__":{"k":"v"},"b":{"dtype":"I32","shape":[2],"data_offsets":[4,12]},)"
      R"("a":{"shape":[],"data_offsets":[0,4],"dtype":"F32"}})";
  std::string bytes = {static_cast<char>(header.size()), 0, 0, 0, 0, 0, 0, 0};
  bytes += header;
  bytes += {'\x00', '\x00', '\xC0', '\xBF'};                                  // -1.5
  bytes += {'\x01', '\x00', '\x00', '\x00', '\xFE', '\xFF', '\xFF', '\xFF'};  // 1, -2
  write_bytes(folder / "x.safetensors", bytes);
  const SafetensorsFile file = read_safetensors(folder / "x.safetensors");
  ASSERT_EQ(file.tensors().size(), 2U);
  EXPECT_EQ(file.tensors()[0].first, "b");
  EXPECT_THAT(file.tensors()[0].second.to_doubles(), ElementsAre(1, -2));
  EXPECT_EQ(file.tensors()[1].first, "a");
  EXPECT_EQ(file.tensors()[1].second.rank(), 0);
  EXPECT_EQ(file.tensors()[1].second.at(0), -1.5);
  EXPECT_THAT(file.metadata(), ElementsAre(Pair("k", "v")));
}

TEST(Safetensors, WritesTheDocumentedBytes) {
  const TempFolder folder;
  write_safetensors(folder / "x.safetensors", {{"a", HostTensor::from_floats({2, 1}, {1, -2})}});
  std::string header = R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})";
  header.resize(64 - 8, ' ');
  std::string expected = {static_cast<char>(header.size()), 0, 0, 0, 0, 0, 0, 0};
  expected += header;
  expected += {'\x00', '\x00', '\x80', '\x3F', '\x00', '\x00', '\x00', '\xC0'};
  EXPECT_EQ(read_bytes(folder / "x.safetensors"), expected);
}

TEST(Safetensors, CopiesDataThatIsNotAligned) {
  const TempFolder folder;
  const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("b":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}})";
  std::string bytes = {static_cast<char>(header.size()), 0, 0, 0, 0, 0, 0, 0};
  bytes += header;
  bytes += {'\x05', '\0', '\0', '\0', '\0', '\0', '\0', '\xF8', '\x3F'};  // 5, 1.5
  write_bytes(folder / "x.safetensors", bytes);
  const SafetensorsFile file = read_safetensors(folder / "x.safetensors");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.at("b").data()) % 8, 0U);
  EXPECT_EQ(*file.at("b").as<double>(), 1.5);
}

TEST(Safetensors, TensorsOutliveTheFile) {
  const TempFolder folder;
  const auto path = folder / "x.safetensors";
  write_safetensors(path, {{"a", HostTensor::from_floats({2}, {1, 2})}});
  std::optional<SafetensorsFile> file = read_safetensors(path);
  const HostTensor tensor = file->at("a");
  file.reset();
  // Written over and removed: the mapped bytes are those of the old file.
  write_safetensors(path, {{"a", HostTensor::from_floats({2}, {3, 4})}});
  std::filesystem::remove(path);
  EXPECT_THAT(tensor.to_doubles(), ElementsAre(1, 2));
}

TEST(Safetensors, HoldsNothing) {
  const TempFolder folder;
  write_safetensors(folder / "x.safetensors", {});
  EXPECT_TRUE(read_safetensors(folder / "x.safetensors").tensors().empty());
}

TEST(Safetensors, SuggestsANameThatIsThere) {
  const TempFolder folder;
  write_safetensors(folder / "x.safetensors", {{"layer1.weight", pattern(DType::f32, {1})}});
  const SafetensorsFile file = read_safetensors(folder / "x.safetensors");
  EXPECT_THAT(error_of([&] { file.at("layer2.weight"); }),
              AllOf(HasSubstr("x.safetensors"), HasSubstr("layer2.weight"),
                    HasSubstr("did you mean 'layer1.weight'")));
}

TEST(SafetensorsWriter, RefusesWhatTheFormatCannotHold) {
  const TempFolder folder;
  const auto path = folder / "x.safetensors";
  const HostTensor one = pattern(DType::f32, {1});
  const auto refuse = [&](const NamedTensors& tensors, const Metadata& metadata = {}) {
    return error_of([&] { write_safetensors(path, tensors, metadata); }, ErrorKind::usage);
  };
  EXPECT_THAT(refuse({{"a", one}, {"b", one}, {"a", one}}),
              HasSubstr("two tensors are named \"a\""));
  EXPECT_THAT(refuse({{"__metadata__", one}}), HasSubstr("__metadata__"));
  EXPECT_THAT(refuse({{"a", HostTensor()}}), HasSubstr("no bytes"));
  EXPECT_THAT(refuse({{"\xFF", one}}), HasSubstr("UTF-8"));
  EXPECT_THAT(refuse({{"a", one}}, {{"key", "\xC3"}}), HasSubstr("UTF-8"));
  EXPECT_EQ(folder.file_count(), 0);
}

TEST(SafetensorsWriter, LeavesNothingBehindOnAFullDisk) {
  const TempFolder folder;
  const auto path = folder / "x.safetensors";
  write_safetensors(path, {{"old", pattern(DType::f32, {4})}});
  const std::string before = read_bytes(path);
  {
    const FileSizeLimit limit(1000);
    EXPECT_THAT(error_of([&] {
                  write_safetensors(path, {{"new", pattern(DType::f32, {1000})}});
                }),
                HasSubstr("x.safetensors"));
  }
  EXPECT_EQ(read_bytes(path), before);
  EXPECT_EQ(folder.file_count(), 1);
}

}  // namespace
}  // namespace facet::test
