#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "backends/cuda/cuda_queue.h"
#include "ir/error.h"
#include "tests/cuda/run/fake_driver.h"

// Copies, order, CUDA graphs and memory on a driver that keeps a log.
namespace facet {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Gpu {
  explicit Gpu(std::int64_t bytes = std::int64_t{1} << 30)
      : driver(std::make_shared<test::FakeDriver>(bytes)),
        memory(std::make_shared<cuda::DeviceMemory>(driver)),
        queue(std::make_unique<cuda::CudaQueue>(driver, memory)) {}

  std::shared_ptr<test::FakeDriver> driver;
  std::shared_ptr<cuda::DeviceMemory> memory;
  std::unique_ptr<cuda::CudaQueue> queue;
};

/// Adds to every byte of `block`, as work on the queue's stream.
QueuedStep step(const Gpu& gpu, std::byte* to, const std::byte* from, const std::string& name) {
  return {name, [&gpu, to, from] { gpu.queue->copy(to, from, 4); }};
}

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::failure);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

TEST(CudaQueue, CopiesLargeValuesThroughTwoPinnedBlocks) {
  const Gpu gpu;
  std::vector<std::uint32_t> values(5'500'000);  // 22 MB: three parts
  std::iota(values.begin(), values.end(), 1U);
  const auto bytes = static_cast<std::int64_t>(values.size() * 4);
  const auto block = gpu.queue->allocate(bytes, "values");
  gpu.driver->log.clear();
  std::vector<std::uint32_t> source = values;
  gpu.queue->write(block.get(), reinterpret_cast<const std::byte*>(source.data()), bytes);
  std::fill(source.begin(), source.end(), 0U);  // it was read before `write` returned
  EXPECT_THAT(gpu.driver->log,
              ElementsAre("record", "wait", "allocate_pinned 8388608", "copy_in 8388608", "record",
                          "allocate_pinned 8388608", "copy_in 8388608", "record", "synchronize",
                          "copy_in 5222784", "record", "wait"));
  std::vector<std::uint32_t> back(values.size());
  gpu.queue->read(reinterpret_cast<std::byte*>(back.data()), block.get(), bytes);
  EXPECT_EQ(back, values);
}

TEST(CudaQueue, AWriteWaitsForWorkBeforeItAndWorkBehindItForTheWrite) {
  const Gpu gpu;
  const auto a = gpu.queue->allocate(4, "a");
  const auto b = gpu.queue->allocate(4, "b");
  const auto c = gpu.queue->allocate(4, "c");
  const std::int32_t first = 11;
  const std::int32_t second = 22;
  const auto write = [&](const std::int32_t& value) {
    gpu.queue->write(a.get(), reinterpret_cast<const std::byte*>(&value), 4);
  };
  write(first);
  gpu.queue->copy(b.get(), a.get(), 4);
  write(second);
  gpu.queue->copy(c.get(), a.get(), 4);
  std::int32_t found = 0;
  gpu.queue->read(reinterpret_cast<std::byte*>(&found), b.get(), 4);
  EXPECT_EQ(found, first);
  gpu.queue->read(reinterpret_cast<std::byte*>(&found), c.get(), 4);
  EXPECT_EQ(found, second);
}

TEST(CudaQueue, AWriteAheadPassesTheWorkThatIsThereAndIsTakenWhenAskedFor) {
  const Gpu gpu;
  const auto staged = gpu.queue->allocate(4, "staged");
  const auto a = gpu.queue->allocate(4, "a");
  const auto b = gpu.queue->allocate(4, "b");
  const auto stage = [&](std::int32_t value) {
    gpu.queue->write_ahead(staged.get(), reinterpret_cast<const std::byte*>(&value), 4);
  };
  const auto found = [&](const std::shared_ptr<std::byte>& at) {
    std::int32_t value = 0;
    gpu.queue->read(reinterpret_cast<std::byte*>(&value), at.get(), 4);
    return value;
  };
  stage(11);
  gpu.queue->take_ahead();
  gpu.queue->copy(a.get(), staged.get(), 4);  // the first run reads what is staged
  gpu.queue->allow_ahead();
  gpu.queue->copy(b.get(), a.get(), 4);  // and works
  gpu.driver->log.clear();
  stage(22);
  EXPECT_THAT(gpu.driver->log,
              ElementsAre("wait", "allocate_pinned 8388608", "copy_in 4", "record"));
  EXPECT_EQ(found(b), 11);
  gpu.queue->take_ahead();
  gpu.queue->copy(a.get(), staged.get(), 4);
  EXPECT_EQ(found(a), 22);
}

TEST(CudaQueue, AllocatedMemoryIsZero) {
  const Gpu gpu;
  const auto block = gpu.queue->allocate(8, "block");
  std::int64_t found = 1;
  gpu.queue->read(reinterpret_cast<std::byte*>(&found), block.get(), 8);
  EXPECT_EQ(found, 0);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block.get()) % 64, 0U);
}

TEST(CudaQueue, AReplayIsOneGraphFromTheSecondRunOn) {
  const Gpu gpu;
  const auto a = gpu.queue->allocate(4, "a");
  const auto b = gpu.queue->allocate(4, "b");
  const auto c = gpu.queue->allocate(4, "c");
  const auto replay = gpu.queue->record(
      {step(gpu, b.get(), a.get(), "first"), step(gpu, c.get(), b.get(), "second")});
  EXPECT_EQ(replay->describe(), "one CUDA graph of 2 steps");
  const auto run = [&](std::int32_t value) {
    gpu.queue->write(a.get(), reinterpret_cast<const std::byte*>(&value), 4);
    gpu.queue->wait();
    gpu.driver->log.clear();
    replay->run();
    const std::vector<std::string> log = gpu.driver->log;
    std::int32_t found = 0;
    gpu.queue->read(reinterpret_cast<std::byte*>(&found), c.get(), 4);
    EXPECT_EQ(found, value);
    return log;
  };
  EXPECT_THAT(run(3), ElementsAre("copy 4", "copy 4"));
  EXPECT_THAT(run(4), ElementsAre("begin_capture", "captured copy 4", "captured copy 4",
                                  "end_capture", "graph of 2"));
  for (const std::int32_t value : {5, 6}) EXPECT_THAT(run(value), ElementsAre("graph of 2"));
}

TEST(CudaQueue, WhatIsNotCapturedRunsStepByStepAndSaysWhy) {
  const Gpu gpu;
  const auto a = gpu.queue->allocate(4, "a");
  const auto b = gpu.queue->allocate(4, "b");
  gpu.driver->refuses_capture_of = "copy";
  const auto replay = gpu.queue->record({step(gpu, b.get(), a.get(), "conv layer1.0")});
  const std::int32_t value = 7;
  gpu.queue->write(a.get(), reinterpret_cast<const std::byte*>(&value), 4);
  for (int i = 0; i < 3; ++i) replay->run();
  EXPECT_THAT(replay->describe(),
              AllOf(StartsWith("1 steps one by one: 'conv layer1.0' is not captured: "),
                    HasSubstr("not permitted when a stream is capturing")));
  std::int32_t found = 0;
  gpu.queue->read(reinterpret_cast<std::byte*>(&found), b.get(), 4);
  EXPECT_EQ(found, value);
  EXPECT_EQ(std::count(gpu.driver->log.begin(), gpu.driver->log.end(), "begin_capture"), 1);
}

TEST(CudaQueue, TimesAStepByEvents) {
  const Gpu gpu;
  bool ran = false;
  EXPECT_EQ(gpu.queue->milliseconds([&] { ran = true; }), 1.5);
  EXPECT_TRUE(ran);
}

TEST(CudaMemory, TooMuchNamesWhatThereIsAndWhoHasIt) {
  const Gpu gpu(10'000'000);
  const auto weights = gpu.queue->allocate(2'000'000, "weights");
  const auto arena = gpu.queue->allocate(5'000'000, "arena");
  EXPECT_THAT(error_of([&] { gpu.queue->allocate(4'000'000, "arena"); }),
              AllOf(HasSubstr("out of memory on fake GPU: 4.0 MB for arena"),
                    HasSubstr("3.0 MB of 10.0 MB are free"),
                    HasSubstr("7.0 MB (arena 5.0 MB, weights 2.0 MB)")));
  EXPECT_EQ(gpu.memory->taken(), 7'000'000);
}

TEST(CudaMemory, ALimitIsKeptAndFreedMemoryCountsNoMore) {
  const Gpu gpu;
  gpu.memory->set_limit(6'000'000);
  auto arena = gpu.queue->allocate(4'000'000, "arena");
  EXPECT_THAT(error_of([&] { gpu.queue->allocate(4'000'000, "arena"); }),
              HasSubstr("the limit is 6.0 MB"));
  arena.reset();
  EXPECT_EQ(gpu.memory->taken(), 0);
  EXPECT_NO_THROW(arena = gpu.queue->allocate(6'000'000, "arena"));
  EXPECT_EQ(gpu.memory->peak(), 6'000'000);
}

TEST(CudaMemory, BlocksOutliveTheirQueueAndAreFreedOnce) {
  auto gpu = std::make_unique<Gpu>();
  const std::shared_ptr<test::FakeDriver> driver = gpu->driver;
  auto block = gpu->queue->allocate(8, "block");
  gpu.reset();
  EXPECT_EQ(driver->live_blocks(), 1U);
  block.reset();
  EXPECT_EQ(driver->live_blocks(), 0U);
  EXPECT_THAT(driver->log, Contains("free 8"));
}

}  // namespace
}  // namespace facet
