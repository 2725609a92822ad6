#include "training/stepper.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "tests/training/trainer_fixture.h"

namespace facet::test {
namespace {

constexpr std::int64_t kBatch = 4;

Batch batch_of(int number) {
  Batch batch;
  batch.pixels = HostTensor(DType::u8, {kBatch, 8, 8, 3});
  auto* pixels = batch.pixels.as_mutable<std::uint8_t>();
  for (std::int64_t i = 0; i < batch.pixels.element_count(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(i * (number + 3) % 251);
  }
  batch.labels = HostTensor(DType::i64, {kBatch});
  for (std::int64_t i = 0; i < kBatch; ++i) {
    batch.labels.as_mutable<std::int64_t>()[i] = (i + number) % 3;
  }
  return batch;
}

void expect_same_bits(const TensorMap& a, const TensorMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [key, tensor] : a) {
    EXPECT_TRUE(std::equal(tensor.data(), tensor.data() + tensor.byte_count(), b.at(key).data()))
        << key;
  }
}

TEST(Stepper, BatchesPreparedDuringAStepGiveTheSameBits) {
  set_threads(1);
  Stepper plain(small_network(), small_recipe(), 3);
  Stepper ahead(small_network(), small_recipe(), 3);
  EXPECT_FALSE(ahead.prepares()) << "on the host nothing is gained";
  std::vector<Batch> next = {batch_of(0)};
  for (int i = 0; i < 4; ++i) {
    const StepResult expected = plain.step(std::vector{batch_of(i)}, 0.1 / (i + 1));
    const std::vector<Batch> now = next;
    const StepResult found = ahead.step(now, 0.1 / (i + 1), [&] {
      next = {batch_of(i + 1)};
      ahead.prepare(next, 0.1 / (i + 2));
    });
    EXPECT_EQ(found.loss, expected.loss) << i;
    EXPECT_EQ(found.correct, expected.correct);
  }
  expect_same_bits(ahead.tensors(), plain.tensors());
}

TEST(Stepper, WhatGoesWrongMeanwhileComesOutBehindAWholeStep) {
  set_threads(1);
  Stepper plain(small_network(), small_recipe(), 3);
  Stepper disturbed(small_network(), small_recipe(), 3);
  const std::vector<Batch> batches = {batch_of(1)};
  plain.step(batches, 0.1);
  EXPECT_THROW(disturbed.step(batches, 0.1, [] { throw std::runtime_error("no more pictures"); }),
               std::runtime_error);
  expect_same_bits(disturbed.tensors(), plain.tensors());
  plain.step(batches, 0.1);
  disturbed.step(batches, 0.1);
  expect_same_bits(disturbed.tensors(), plain.tensors());
}

}  // namespace
}  // namespace facet::test
