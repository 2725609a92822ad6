#include "runtime/formats/torch_file.h"

#include <gmock/gmock.h>

#include "tests/formats/temp_folder.h"
#include "tests/formats/torch_archive.h"
#include "tests/support/paths.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// The files beside tests/data/make_torch_files.py, which PyTorch wrote.
std::filesystem::path data_file(const std::string& name) {
  return testing::test_data() / "data" / name;
}

TensorMap read(const std::string& name) {
  const NamedTensors tensors = read_torch(data_file(name));
  return {tensors.begin(), tensors.end()};
}

std::string refusal(const std::string& bytes) {
  return error_of(
      [&] { read_torch(MappedFile::copy_of(std::as_bytes(std::span(bytes)), "x.pth")); });
}

/// (first + i) / 8: how the files are filled.
std::vector<double> counted(int size, int first) {
  std::vector<double> values;
  for (int i = 0; i < size; ++i) values.push_back((first + i) / 8.0);
  return values;
}

using Extents = std::vector<std::int64_t>;

TEST(TorchFile, AStateDictIsReadInItsOrder) {
  const NamedTensors tensors = read_torch(data_file("state_dict.pth"));
  std::vector<std::string> names;
  for (const auto& item : tensors) names.push_back(item.first);
  EXPECT_THAT(names, ::testing::ElementsAre("conv.weight", "conv.bias", "bn.weight", "bn.bias",
                                            "bn.running_mean", "bn.running_var",
                                            "bn.num_batches_tracked", "fc.weight", "fc.bias"));
  EXPECT_EQ(tensors[0].second.shape(), (Extents{3, 2, 3, 3}));
  EXPECT_EQ(tensors[0].second.to_doubles(), counted(54, 0));
  EXPECT_EQ(tensors[7].second.to_doubles(), counted(12, 7));
  EXPECT_EQ(tensors[6].second.dtype(), DType::i64);
  EXPECT_EQ(tensors[6].second.shape(), Extents{});
  EXPECT_EQ(tensors[6].second.at(0), 7);
}

TEST(TorchFile, ACheckpointsStateDictIsFound) {
  const TensorMap tensors = read("checkpoint.pth");
  EXPECT_EQ(tensors.size(), 9);
  EXPECT_EQ(tensors.at("module._orig_mod.fc.weight").dtype(), DType::f16);
  EXPECT_EQ(tensors.at("module._orig_mod.fc.weight").to_doubles(), counted(12, 7));
}

TEST(TorchFile, EveryTypeIsRead) {
  const TensorMap tensors = read("views.pth");
  int first = 1;
  for (const auto& [name, dtype] : {std::pair{"f64", DType::f64}, std::pair{"f32", DType::f32},
                                    std::pair{"f16", DType::f16}, std::pair{"bf16", DType::bf16}}) {
    EXPECT_EQ(tensors.at(name).dtype(), dtype);
    EXPECT_EQ(tensors.at(name).shape(), (Extents{2, 3}));
    EXPECT_EQ(tensors.at(name).to_doubles(), counted(6, first++)) << name;
  }
  const std::vector<double> whole = {-3, -2, -1, 0, 1, 2};
  EXPECT_EQ(tensors.at("i64").to_doubles(), whole);
  EXPECT_EQ(tensors.at("i32").to_doubles(), whole);
  EXPECT_EQ(tensors.at("i8").to_doubles(), whole);
  EXPECT_EQ(tensors.at("i8").dtype(), DType::i8);
  EXPECT_EQ(tensors.at("u8").to_doubles(), (std::vector<double>{250, 251, 252, 253, 254, 255}));
  EXPECT_EQ(tensors.at("bool").to_doubles(), (std::vector<double>{1, 0, 1}));
  EXPECT_EQ(tensors.at("bool").dtype(), DType::boolean);
  EXPECT_EQ(tensors.at("scalar").to_doubles(), std::vector<double>{2.5});
  EXPECT_EQ(tensors.at("none").shape(), (Extents{0, 3}));
  EXPECT_EQ(tensors.at("parameter").to_doubles(), counted(3, 5));
}

TEST(TorchFile, ViewsBecomeRowMajor) {
  const TensorMap tensors = read("views.pth");
  const std::vector<double> base = counted(24, 0);  // [4, 6]
  const auto expect = [&](const char* name, Extents shape, const std::vector<int>& places) {
    std::vector<double> values;
    for (const int place : places) values.push_back(base[static_cast<std::size_t>(place)]);
    EXPECT_EQ(tensors.at(name).shape(), shape);
    EXPECT_EQ(tensors.at(name).to_doubles(), values) << name;
  };
  expect("rows", {2, 6}, {6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17});
  expect("column", {4}, {2, 8, 14, 20});
  expect("every_other", {2, 3}, {1, 3, 5, 13, 15, 17});
  expect("transposed", {6, 4},
         {0, 6, 12, 18, 1, 7, 13, 19, 2, 8, 14, 20, 3, 9, 15, 21, 4, 10, 16, 22, 5, 11, 17, 23});
  EXPECT_EQ(tensors.at("repeated").to_doubles(),
            (std::vector<double>{0.75, 0.875, 1, 0.75, 0.875, 1}));
  // A storage is there once, whatever views it has.
  EXPECT_EQ(tensors.at("rows").data(), tensors.at("base").data() + 6 * sizeof(float));
}

TEST(TorchFile, LaterProtocolsAreRead) {
  EXPECT_EQ(read("protocol_4.pth").at("weight").to_doubles(), counted(6, 0));
}

TEST(TorchFile, WhatIsNoStateDictIsRefused) {
  const auto message = [](const std::string& name) {
    const std::string text = error_of([&] { read_torch(data_file(name)); });
    EXPECT_THAT(text, HasSubstr(name));
    return text;
  };
  EXPECT_THAT(message("legacy.pth"),
              AllOf(HasSubstr("before 1.6"), HasSubstr("torch.save(torch.load(")));
  EXPECT_THAT(message("module.pth"), AllOf(HasSubstr("torch.nn.modules.container.Sequential"),
                                           HasSubstr("nothing was loaded")));
  EXPECT_THAT(message("uint16.pth"), AllOf(HasSubstr("\"weight\""), HasSubstr("torch.uint16")));
  EXPECT_THAT(refusal("PK\x03\x04"), HasSubstr("too short"));
  EXPECT_THAT(refusal("GIF89a"), HasSubstr("not a zip archive"));
  EXPECT_THAT(refusal(make_zip({{"a/b/data.pkl", "N."}})), HasSubstr("without data.pkl"));
  EXPECT_THAT(refusal(make_zip({{"a/data.pkl", "N."}, {"b/data.pkl", "N."}})),
              HasSubstr("two entries"));
  EXPECT_THAT(refusal(make_zip({{"a/data.pkl", "N."}, {"a/constants.pkl", ""}})),
              HasSubstr("TorchScript"));
  EXPECT_THAT(refusal(make_zip({{"a/data.pkl", "N."}, {"a/byteorder", "big"}})),
              HasSubstr("little-endian"));
  EXPECT_THAT(refusal(make_zip({{"a/data.pkl", "N."}})), HasSubstr("no dictionary of tensors"));
  EXPECT_THAT(refusal(make_zip({{"a/data.pkl", "}X\x01" + std::string(3, '\0') + "kNs."}})),
              AllOf(HasSubstr("no tensors"), HasSubstr("\"k\"")));
}

TEST(TorchFile, CodeIsRefused) {
  const std::string pickle =
      "\x80\x02"
      "cos\nsystem\nX\x02" +
      std::string(3, '\0') + "ls\x85R.";
  EXPECT_THAT(
      refusal(make_zip({{"a/data.pkl", pickle}})),
      AllOf(HasSubstr("x.pth"), HasSubstr("\"os.system\""), HasSubstr("nothing was loaded")));
}

TEST(TorchFile, OtherValuesInAStateDictAreNamed) {
  EXPECT_THAT(refusal(torch_archive({}, {{"epoch", "K\x07"}})),
              AllOf(HasSubstr("1 entries that are no tensors"), HasSubstr("\"epoch\"")));
}

struct BadView {
  const char* name;
  TorchTensor tensor;
  const char* message;
};
void PrintTo(const BadView& bad, std::ostream* out) { *out << bad.name; }

class TorchViews : public ::testing::TestWithParam<BadView> {};

TEST_P(TorchViews, BeyondTheStorageAreRefused) {
  EXPECT_THAT(refusal(torch_archive(GetParam().tensor)),
              AllOf(HasSubstr("\"w\""), HasSubstr(GetParam().message)));
}

constexpr std::int64_t kHuge = std::int64_t{1} << 60;

INSTANTIATE_TEST_SUITE_P(
    All, TorchViews,
    ::testing::Values(
        BadView{"LongShape", {.shape = {7}, .strides = {1}}, "not within its storage"},
        BadView{"Offset", {.offset = 1, .shape = {6}, .strides = {1}}, "not within its storage"},
        BadView{"NegativeOffset", {.offset = -1, .shape = {2}, .strides = {1}}, "not within"},
        BadView{"NegativeStride", {.offset = 5, .shape = {2}, .strides = {-1}}, "not within"},
        BadView{"HugeStride", {.shape = {3}, .strides = {kHuge}}, "not within its storage"},
        BadView{"HugeStrides", {.shape = {9, 9}, .strides = {kHuge, kHuge}}, "not within"},
        BadView{"HugeShape", {.shape = {kHuge}, .strides = {1}}, "not within its storage"},
        BadView{"HugeProduct", {.shape = {kHuge, kHuge}, .strides = {0, 0}}, "not possible"},
        BadView{"NegativeShape", {.shape = {-2}, .strides = {1}}, "not possible"},
        BadView{"Repeated", {.shape = {std::int64_t{1} << 30}, .strides = {0}}, "of memory"},
        BadView{"RepeatedForEver", {.shape = {kHuge * 4}, .strides = {0}}, "overflows"},
        BadView{"Rank", {.shape = {2, 3}, .strides = {1}}, "differ in rank"},
        BadView{"ManyElements", {.elements = 7, .shape = {7}, .strides = {1}}, "24 bytes, not 7"},
        BadView{
            "HugeElements", {.elements = kHuge * 4, .shape = {1}, .strides = {1}}, "24 bytes, not"},
        BadView{
            "OtherType", {.type = "ShortStorage", .shape = {2}, .strides = {1}}, "ShortStorage"},
        BadView{"Missing", {.key = "9", .shape = {2}, .strides = {1}}, "storage \"9\" is missing"}),
    [](const auto& bad) { return bad.param.name; });

TEST(TorchFile, DimensionsOfOneMayHaveAnyStride) {
  const std::string bytes =
      torch_archive({.offset = 2, .shape = {1, 2, 1}, .strides = {kHuge * 7, 2, kHuge * 7}});
  const NamedTensors tensors =
      read_torch(MappedFile::copy_of(std::as_bytes(std::span(bytes)), "x.pth"));
  EXPECT_EQ(tensors[0].second.to_doubles(), (std::vector<double>{2, 4}));
}

TEST(TorchFile, PackedArchivesAreRead) {
  const std::string bytes = torch_archive({.shape = {2, 3}, .strides = {3, 1}}, {}, true);
  const NamedTensors tensors =
      read_torch(MappedFile::copy_of(std::as_bytes(std::span(bytes)), "x.pth"));
  EXPECT_EQ(tensors[0].second.to_doubles(), (std::vector<double>{0, 1, 2, 3, 4, 5}));
}

}  // namespace
}  // namespace facet::test
