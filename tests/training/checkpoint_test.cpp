#include "training/checkpoint.h"

#include <gmock/gmock.h>

#include <limits>

#include "runtime/formats/safetensors.h"
#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Checkpoint example() {
  Checkpoint checkpoint;
  checkpoint.tensors["conv.weight"] = HostTensor::from_floats({2, 2}, {1, -2, 3.5F, 1e-30F});
  checkpoint.tensors["optimizer.step"] = HostTensor::from_doubles({1}, {0.1});
  checkpoint.tensors["bn.num_batches_tracked"] = HostTensor::scalar(DType::i64, 7);
  checkpoint.recipe = "[model]\nname = \"a \\\"quoted\\\" name\"\n# ümlaut\n";
  checkpoint.model_fingerprint = 0xFEDCBA9876543210u;
  checkpoint.data_fingerprint = 3;
  checkpoint.iteration = (std::int64_t{1} << 53) + 1;
  checkpoint.epoch = 12;
  checkpoint.epoch_iteration = 34;
  checkpoint.best_metric = 0.1 + 0.2;
  checkpoint.best_epoch = 11;
  checkpoint.notes = {{"best.weights", "best.safetensors"}, {"empty", ""}};
  return checkpoint;
}

void expect_same(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(a.recipe, b.recipe);
  EXPECT_EQ(a.model_fingerprint, b.model_fingerprint);
  EXPECT_EQ(a.data_fingerprint, b.data_fingerprint);
  EXPECT_EQ(a.iteration, b.iteration);
  EXPECT_EQ(a.epoch, b.epoch);
  EXPECT_EQ(a.epoch_iteration, b.epoch_iteration);
  EXPECT_EQ(a.best_metric, b.best_metric);
  EXPECT_EQ(a.best_epoch, b.best_epoch);
  EXPECT_EQ(a.notes, b.notes);
  EXPECT_EQ(describe_difference(a.tensors, b.tensors), "");
  for (const auto& [key, tensor] : a.tensors) {
    EXPECT_EQ(tensor.to_doubles(), b.tensors.at(key).to_doubles()) << key;
  }
}

TEST(Checkpoint, ComesBackWhole) {
  const TempFolder folder;
  const auto path = folder / "last.safetensors";
  write_checkpoint(path, example());
  expect_same(read_checkpoint(path), example());
  EXPECT_EQ(read_safetensors(path).tensors().size(), 3U) << "the weights are readable as such";
  Checkpoint other = example();
  other.best_metric = -std::numeric_limits<double>::infinity();
  write_checkpoint(path, other);
  expect_same(read_checkpoint(path), other);
}

TEST(Checkpoint, WhatWasReadOutlivesTheFile) {
  const TempFolder folder;
  const auto path = folder / "last.safetensors";
  write_checkpoint(path, example());
  const Checkpoint before = read_checkpoint(path);
  Checkpoint other = example();
  other.tensors["conv.weight"] = HostTensor::from_floats({2, 2}, {9, 9, 9, 9});
  write_checkpoint(path, other);
  expect_same(before, example());
}

TEST(Checkpoint, AFailedWriteLeavesThePreviousOne) {
  const TempFolder folder;
  const auto path = folder / "last.safetensors";
  write_checkpoint(path, example());
  Checkpoint large = example();
  large.tensors["large"] = HostTensor(DType::f32, {100000});
  {
    const FileSizeLimit limit(20000);
    EXPECT_THAT(error_of([&] { write_checkpoint(path, large); }), HasSubstr("last.safetensors"));
  }
  expect_same(read_checkpoint(path), example());
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(Checkpoint, EveryTruncationIsNoticed) {
  const TempFolder folder;
  const auto path = folder / "last.safetensors";
  write_checkpoint(path, example());
  const std::string whole = read_bytes(path);
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    write_bytes(path, whole.substr(0, size));
    EXPECT_THAT(error_of([&] { read_checkpoint(path); }), HasSubstr("last.safetensors"));
  }
}

TEST(Checkpoint, ForeignFilesAreNamed) {
  const TempFolder folder;
  const auto path = folder / "x.safetensors";
  const auto refusal = [&] { return error_of([&] { read_checkpoint(path); }); };
  EXPECT_THAT(refusal(), HasSubstr("x.safetensors"));
  write_safetensors(path, {{"w", HostTensor::from_floats({1}, {1})}});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("no training state"), HasSubstr("initial weights")));
  write_safetensors(path, {}, {{"facet.checkpoint", "2"}});
  EXPECT_THAT(refusal(), HasSubstr("version 2"));
  write_safetensors(path, {}, {{"facet.checkpoint", "1"}});
  EXPECT_THAT(refusal(), HasSubstr("lacks \"recipe\""));

  write_checkpoint(path, example());
  Metadata metadata = read_safetensors(path).metadata();
  for (const char* broken : {"", "12 ", "x", "1e3"}) {
    metadata["iteration"] = broken;
    write_safetensors(path, {}, metadata);
    EXPECT_THAT(refusal(), HasSubstr(std::string("has \"") + broken + "\" for \"iteration\""));
  }
  metadata.erase("iteration");
  write_safetensors(path, {}, metadata);
  EXPECT_THAT(refusal(), HasSubstr("lacks \"iteration\""));
}

TEST(Checkpoint, DifferencesAreNamed) {
  const TensorMap expected = example().tensors;
  EXPECT_EQ(describe_difference(expected, expected), "");
  TensorMap found = expected;
  found["conv.weight"] = HostTensor(DType::f32, {4});
  found.erase("optimizer.step");
  for (char c = 'a'; c <= 'g'; ++c)
    found[std::string("extra.") + c] = HostTensor::scalar(DType::f32, 1);
  EXPECT_EQ(
      describe_difference(expected, found),
      "1 missing (optimizer.step), 7 unexpected (extra.a, extra.b, extra.c, extra.d, extra.e, "
      "...), 1 of another type (conv.weight: f32[4], should be f32[2, 2])");
  found = expected;
  found["bn.num_batches_tracked"] = HostTensor::scalar(DType::f32, 7);
  EXPECT_THAT(describe_difference(expected, found), HasSubstr("f32[], should be i64[]"));
}

}  // namespace
}  // namespace facet::test
