#include "runtime/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ir/dsl.h"
#include "runtime/formats/safetensors.h"
#include "tests/formats/temp_folder.h"
#include "tests/support/paths.h"

namespace facet {
namespace {

using test::error_of;
using test::TempFolder;
using ::testing::HasSubstr;

Graph network(bool with_second = false) {
  Network network("net");
  const Tensor x = network.input("x", {"N", 3, 8, 8});
  const Scope root = network.root();
  Tensor y =
      root.conv("conv", x,
                {.out = 64, .kernel = 3, .init = Initializer{Initializer::Kind::normal, 0.5, 0.1}});
  y = root.batch_norm("bn", y);
  if (with_second) y = root.conv("second", y, {.out = 4});
  network.output("y", root.linear("fc", flatten(y), {.out = 7}));
  return network.finish();
}

struct Moments {
  double mean = 0;
  double deviation = 0;
};

Moments moments(const HostTensor& tensor) {
  Moments result;
  for (std::int64_t i = 0; i < tensor.element_count(); ++i) result.mean += tensor.at(i);
  result.mean /= static_cast<double>(tensor.element_count());
  for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
    result.deviation += std::pow(tensor.at(i) - result.mean, 2);
  }
  result.deviation = std::sqrt(result.deviation / static_cast<double>(tensor.element_count()));
  return result;
}

TEST(RandomWeights, FollowTheInitialisers) {
  const TensorMap weights = random_weights(network(), 1);
  const Moments normal = moments(weights.at("conv.weight"));  // 1728 numbers
  EXPECT_NEAR(normal.mean, 0.5, 0.01);
  EXPECT_NEAR(normal.deviation, 0.1, 0.01);
  const HostTensor& uniform = weights.at("fc.weight");  // +-1/sqrt(2304), 16128 numbers
  const double bound = 1 / std::sqrt(2304.0);
  EXPECT_NEAR(moments(uniform).mean, 0, 0.02 * bound);
  EXPECT_NEAR(moments(uniform).deviation, bound / std::sqrt(3.0), 0.02 * bound);
  for (std::int64_t i = 0; i < uniform.element_count(); ++i) {
    ASSERT_LE(std::abs(uniform.at(i)), bound * (1 + 1e-6));
  }
  EXPECT_EQ(weights.at("bn.running_var").at(63), 1);
  EXPECT_EQ(weights.at("bn.bias").at(0), 0);
  EXPECT_EQ(weights.at("bn.num_batches_tracked").dtype(), DType::i64);
}

TEST(RandomWeights, DependOnSeedAndKeyAlone) {
  const TensorMap first = random_weights(network(), 1);
  const TensorMap again = random_weights(network(true), 1);
  const TensorMap other = random_weights(network(), 2);
  EXPECT_EQ(first.at("conv.weight").to_doubles(), again.at("conv.weight").to_doubles());
  EXPECT_NE(first.at("conv.weight").to_doubles(), other.at("conv.weight").to_doubles());
  EXPECT_NE(first.at("fc.bias").at(0), first.at("conv.bias").at(0));
}

TEST(RandomWeights, NeighboursAreNotRelated) {
  const HostTensor values = random_weights(network(), 3).at("fc.weight");
  double products = 0;
  double squares = 0;
  for (std::int64_t i = 0; i + 1 < values.element_count(); ++i) {
    products += values.at(i) * values.at(i + 1);
    squares += values.at(i) * values.at(i);
  }
  EXPECT_LT(std::abs(products / squares), 0.04);  // five deviations of 16128 independent numbers
}

TEST(TrialWeights, KeepTheSizeOfActivations) {
  const TensorMap weights = trial_weights(network(), 4);
  const double bound = std::sqrt(6.0 / 2304);  // fan-in of fc
  EXPECT_NEAR(moments(weights.at("fc.weight")).deviation, bound / std::sqrt(3.0), 0.02 * bound);
  for (const double value : weights.at("bn.weight").to_doubles()) {
    EXPECT_GE(value, 0.4);
    EXPECT_LT(value, 0.6);
  }
}

class LoadWeights : public ::testing::Test {
 protected:
  std::string save(const TensorMap& weights) const {
    write_safetensors(folder_ / "w.safetensors", {weights.begin(), weights.end()});
    return folder_ / "w.safetensors";
  }
  const TempFolder folder_;
  const Graph graph_ = network();
};

TEST_F(LoadWeights, ReadsBackWhatWasWritten) {
  const TensorMap written = random_weights(graph_, 5);
  const TensorMap read = load_weights(graph_, save(written));
  ASSERT_EQ(read.size(), graph_.parameters().size());
  for (const auto& [key, tensor] : written) {
    EXPECT_EQ(read.at(key).to_doubles(), tensor.to_doubles()) << key;
    EXPECT_EQ(read.at(key).dtype(), tensor.dtype()) << key;
  }
}

TEST_F(LoadWeights, StripsTheWrappersPrefixAndConvertsFloats) {
  TensorMap wrapped;
  for (const auto& [key, tensor] : random_weights(graph_, 5)) {
    wrapped.emplace("module." + key, tensor.dtype() == DType::f32 ? tensor.cast(DType::f16)
                                                                  : tensor.cast(DType::i32));
  }
  const TensorMap read = load_weights(graph_, save(wrapped));
  EXPECT_EQ(read.at("conv.weight").dtype(), DType::f32);
  EXPECT_EQ(read.at("conv.weight").at(5), wrapped.at("module.conv.weight").at(5));
  EXPECT_EQ(read.at("bn.num_batches_tracked").dtype(), DType::i64);
}

TEST_F(LoadWeights, ListsEverythingThatDoesNotFit) {
  TensorMap weights = random_weights(graph_, 5);
  weights.erase("bn.num_batches_tracked");
  weights.erase("fc.bias");
  weights.emplace("head.weight", HostTensor(DType::f32, {2, 3}));
  weights["conv.bias"] = HostTensor(DType::f32, {1, 64});
  weights["bn.weight"] = HostTensor(DType::i64, {64});
  const std::string message = error_of([&] { load_weights(graph_, save(weights)); });
  EXPECT_THAT(message, HasSubstr("w.safetensors"));
  EXPECT_THAT(message, HasSubstr("missing: bn.num_batches_tracked i64[]"));
  EXPECT_THAT(message, HasSubstr("missing: fc.bias f32[7]"));
  EXPECT_THAT(message, HasSubstr("unexpected: head.weight f32[2, 3]"));
  EXPECT_THAT(message, HasSubstr("ill-typed: conv.bias is f32[1, 64], should be f32[64]"));
  EXPECT_THAT(message, HasSubstr("ill-typed: bn.weight is i64[64], should be f32[64]"));
}

TEST_F(LoadWeights, StripsPrefixesInAnyOrder) {
  const TensorMap weights = random_weights(graph_, 5);
  for (const std::string prefix : {"model.", "_orig_mod.", "module._orig_mod.", "model.module."}) {
    TensorMap wrapped;
    for (const auto& [key, tensor] : weights)
      wrapped.emplace(prefix + key, tensor.cast(DType::f64));
    if (prefix == "model.")
      wrapped["model.bn.num_batches_tracked"] = HostTensor::scalar(DType::i32, 3);
    else
      wrapped[prefix + "bn.num_batches_tracked"] = weights.at("bn.num_batches_tracked");
    const TensorMap read = load_weights(graph_, save(wrapped));
    EXPECT_EQ(read.at("conv.weight").to_doubles(), weights.at("conv.weight").to_doubles())
        << prefix;
    EXPECT_EQ(read.at("conv.weight").dtype(), DType::f32);
  }
}

TEST_F(LoadWeights, PrefixesOfTheNetworkStay) {
  Network network("net");
  const Tensor x = network.input("x", {"N", 2});
  network.output("y", network.root().linear("model", x, {.out = 1}));
  const Graph graph = network.finish();
  const TensorMap weights = random_weights(graph, 5);
  ASSERT_TRUE(weights.contains("model.weight"));
  EXPECT_EQ(load_weights(graph, save(weights)).size(), 2);
  EXPECT_EQ(load_weights(graph, save({{"module.model.weight", weights.at("model.weight")},
                                      {"module.model.bias", weights.at("model.bias")}}))
                .size(),
            2);
}

TEST_F(LoadWeights, SuggestsTheNearestMissingNames) {
  TensorMap weights = random_weights(graph_, 5);
  weights.emplace("conv.wieght", weights.at("conv.weight"));
  weights.erase("conv.weight");
  EXPECT_THAT(error_of([&] { load_weights(graph_, save(weights)); }),
              HasSubstr("unexpected: conv.wieght f32[64, 3, 3, 3]; did you mean 'conv.weight'"));
}

Graph network_of_data_files() {
  Network network("net");
  const Tensor x = network.input("x", {"N", 2, 3, 3});
  Tensor y = network.root().conv("conv", x, {.out = 3, .kernel = 3});
  y = network.root().batch_norm("bn", y);
  network.output("y", network.root().linear("fc", flatten(y), {.out = 4}));
  return network.finish();
}

/// Files that PyTorch wrote (tests/data/make_torch_files.py): element i is (i + first) / 8.
TEST_F(LoadWeights, ReadsWhatPyTorchSaves) {
  const Graph graph = network_of_data_files();
  for (const std::string name : {"state_dict.pth", "checkpoint.pth"}) {
    const TensorMap read = load_weights(graph, testing::test_data() / "data" / name);
    ASSERT_EQ(read.size(), 9);
    for (std::int64_t i = 0; i < 12; ++i)
      EXPECT_EQ(read.at("fc.weight").at(i), (7.0 + double(i)) / 8) << name;
    EXPECT_EQ(read.at("fc.weight").dtype(), DType::f32);
    EXPECT_EQ(read.at("bn.num_batches_tracked").at(0), 7);
  }
}

TEST_F(LoadWeights, ReadsAShardedModel) {
  const TensorMap weights = random_weights(graph_, 5);
  std::string map;
  NamedTensors first;
  NamedTensors second;
  for (const auto& [key, tensor] : weights) {
    (key.starts_with("bn") ? first : second).emplace_back("model." + key, tensor);
    map += (map.empty() ? "" : ",") + ("\"model." + key + "\":\"") +
           (key.starts_with("bn") ? "1" : "2") + ".safetensors\"";
  }
  write_safetensors(folder_ / "1.safetensors", first);
  write_safetensors(folder_ / "2.safetensors", second);
  test::write_bytes(folder_ / "w.index.json", "{\"weight_map\":{" + map + "}}");
  const TensorMap read = load_weights(graph_, folder_ / "w.index.json");
  ASSERT_EQ(read.size(), weights.size());
  EXPECT_EQ(read.at("fc.bias").to_doubles(), weights.at("fc.bias").to_doubles());
}

TEST_F(LoadWeights, RefusesAKeyWithAndWithoutThePrefix) {
  TensorMap weights = random_weights(graph_, 5);
  weights.emplace("module.fc.bias", weights.at("fc.bias"));
  EXPECT_THAT(error_of([&] { load_weights(graph_, save(weights)); }),
              HasSubstr("'module.fc.bias'"));
}

TEST_F(LoadWeights, SpecificationsAreSeedsOrFiles) {
  const TensorMap random = resolve_weights(graph_, "random:9");
  EXPECT_EQ(random.at("fc.bias").to_doubles(), trial_weights(graph_, 9).at("fc.bias").to_doubles());
  const TensorMap read = resolve_weights(graph_, save(random));
  EXPECT_EQ(read.at("fc.bias").to_doubles(), random.at("fc.bias").to_doubles());
  for (const std::string wrong : {"random", "random:", "random:-1", "random:1x"}) {
    EXPECT_THAT(error_of([&] { resolve_weights(graph_, wrong); }, ErrorKind::usage),
                HasSubstr("random:SEED"))
        << wrong;
  }
  error_of([&] { resolve_weights(graph_, folder_ / "none.safetensors"); });
}

}  // namespace
}  // namespace facet
