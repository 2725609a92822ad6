#include "runtime/formats/weights_file.h"

#include <gmock/gmock.h>

#include "runtime/formats/weight_index.h"
#include "tests/formats/temp_folder.h"
#include "tests/support/paths.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::filesystem::path data_file(const std::string& name) {
  return testing::test_data() / "data" / name;
}

HostTensor numbers(float first) { return HostTensor::from_floats({2}, {first, first + 1}); }

TEST(WeightIndex, NamesAndFilesAreRead) {
  const WeightMap map = parse_weight_index(
      R"({"metadata": {"total_size": 16, "more": [1, {"x": null}], "weight_map": 3},
          "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}, "format": "pt"})");
  EXPECT_EQ(map, (WeightMap{{"a", "1.safetensors"}, {"b", "2.safetensors"}}));
}

TEST(WeightIndex, WhatIsNoIndexIsRefused) {
  const auto refusal = [](const std::string& json) {
    return error_of([&] { parse_weight_index(json); });
  };
  EXPECT_THAT(refusal(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("3"), HasSubstr("not an object"));
  EXPECT_THAT(refusal("[{\"weight_map\":{\"a\":\"b\"}}]"), HasSubstr("not an object"));
  EXPECT_THAT(refusal("{}"), HasSubstr("no \"weight_map\""));
  EXPECT_THAT(refusal(R"({"weight_map":{}})"), HasSubstr("no \"weight_map\""));
  EXPECT_THAT(refusal(R"({"x":{"weight_map":{"a":"b"}}})"), HasSubstr("no \"weight_map\""));
  EXPECT_THAT(refusal(R"({"weight_map":{"a":1}})"), HasSubstr("a number for \"a\""));
  EXPECT_THAT(refusal(R"({"weight_map":{"a":{}}})"), HasSubstr("an object for \"a\""));
  EXPECT_THAT(refusal(R"({"weight_map":{"a":"b","a":"c"}})"), HasSubstr("\"a\" twice"));
  EXPECT_THAT(refusal(R"({"weight_map":{"a":"b"},"weight_map":{"c":"d"}})"), HasSubstr("twice"));
  EXPECT_THAT(refusal(std::string(100'000, '[')), HasSubstr("not an object"));
  error_of([] { parse_weight_index("{\"x\":" + std::string(100'000, '[') + "}"); });
}

TEST(WeightIndex, ShardsLieBesideIt) {
  for (const std::string name :
       {"", ".", "..", "../a", "/etc/passwd", "a/b", "a\\\\b", "a\\u0000b"}) {
    EXPECT_THAT(error_of([&] { parse_weight_index(R"({"weight_map":{"a":")" + name + "\"}}"); }),
                HasSubstr("beside the index"))
        << name;
  }
}

class Sharded : public ::testing::Test {
 protected:
  Sharded() {
    write_safetensors(folder_ / "1.safetensors", {{"a", numbers(1)}, {"b", numbers(3)}},
                      {{"by", "x"}});
    write_safetensors(folder_ / "2.safetensors", {{"c", numbers(5)}});
  }
  std::filesystem::path index(const std::string& map) const {
    write_bytes(folder_ / "model.safetensors.index.json", "{\"weight_map\":" + map + "}");
    return folder_ / "model.safetensors.index.json";
  }
  std::string refusal(const std::string& map) const {
    const auto path = index(map);
    const std::string message = error_of([&] { read_weights_file(path); });
    EXPECT_THAT(message, HasSubstr("model.safetensors.index.json"));
    return message;
  }
  const TempFolder folder_;
};

TEST_F(Sharded, AllShardsAreRead) {
  const WeightsFile file =
      read_weights_file(index(R"({"c":"2.safetensors","a":"1.safetensors","b":"1.safetensors"})"));
  ASSERT_EQ(file.tensors.size(), 3);
  EXPECT_EQ(file.tensors[1].first, "b");
  EXPECT_EQ(file.tensors[2].second.at(1), 6);
  EXPECT_EQ(file.metadata.at("by"), "x");
}

TEST_F(Sharded, ShardsThatDoNotFitAreRefused) {
  EXPECT_THAT(refusal(R"({"a":"1.safetensors","b":"1.safetensors","c":"3.safetensors"})"),
              HasSubstr("\"3.safetensors\", which is not there"));
  EXPECT_THAT(refusal(R"({"a":"1.safetensors","c":"2.safetensors"})"),
              AllOf(HasSubstr("does not place there"), HasSubstr("\"b\"")));
  EXPECT_THAT(refusal(R"({"a":"1.safetensors","b":"2.safetensors","c":"2.safetensors"})"),
              HasSubstr("does not place there"));
  EXPECT_THAT(refusal(R"({"a":"1.safetensors","b":"1.safetensors","d":"1.safetensors"})"),
              AllOf(HasSubstr("1 of its 3"), HasSubstr("\"d\"")));
  EXPECT_THAT(refusal(R"({"a":"model.safetensors.index.json"})"),
              HasSubstr("not a valid safetensors"));
}

TEST_F(Sharded, LinksOutOfTheFolderAreNotFollowed) {
  const TempFolder other;
  write_safetensors(other / "secret.safetensors", {{"a", numbers(1)}});
  std::filesystem::create_symlink(other / "secret.safetensors", folder_ / "3.safetensors");
  EXPECT_THAT(refusal(R"({"a":"3.safetensors"})"), HasSubstr("link out of the index's folder"));
}

TEST_F(Sharded, AFolderOfLinksIsRead) {
  const auto path = index(R"({"c":"2.safetensors"})");
  const TempFolder cache;
  std::filesystem::create_symlink(path, cache / "model.safetensors.index.json");
  std::filesystem::create_symlink(folder_ / "2.safetensors", cache / "2.safetensors");
  EXPECT_EQ(read_weights_file(cache / "model.safetensors.index.json").tensors.size(), 1);
}

TEST_F(Sharded, ShardsMayBePyTorchs) {
  std::filesystem::copy_file(data_file("protocol_4.pth"), folder_ / "1.bin");
  EXPECT_EQ(read_weights_file(index(R"({"weight":"1.bin"})")).tensors[0].second.at(5), 0.625);
}

TEST(WeightsFile, TheKindIsSeenFromTheBytes) {
  const TempFolder folder;
  write_safetensors(folder / "a.pth", {{"a", numbers(1)}}, {{"by", "x"}});
  EXPECT_EQ(read_weights_file(folder / "a.pth").metadata.at("by"), "x");
  std::filesystem::copy_file(data_file("state_dict.pth"), folder / "b.safetensors");
  EXPECT_EQ(read_weights_file(folder / "b.safetensors").tensors.size(), 9);
  EXPECT_THAT(error_of([] { read_weights_file(data_file("legacy.pth")); }),
              HasSubstr("before 1.6"));
}

TEST(WeightsFile, ConvertedWeightsAreTheSame) {
  const TempFolder folder;
  EXPECT_EQ(convert_weights(data_file("views.pth"), folder / "views.safetensors"), 18);
  const NamedTensors before = read_weights_file(data_file("views.pth")).tensors;
  const NamedTensors after = read_weights_file(folder / "views.safetensors").tensors;
  ASSERT_EQ(after.size(), before.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(after[i].first, before[i].first);
    EXPECT_EQ(after[i].second.dtype(), before[i].second.dtype());
    EXPECT_EQ(after[i].second.shape(), before[i].second.shape());
    EXPECT_EQ(after[i].second.to_doubles(), before[i].second.to_doubles()) << before[i].first;
  }
  EXPECT_THAT(error_of([&] { convert_weights(data_file("views.pth"), folder / "x.pth"); },
                       ErrorKind::usage),
              HasSubstr("*.safetensors"));
}

}  // namespace
}  // namespace facet::test
