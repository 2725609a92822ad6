#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "backends/cuda/nvrtc.h"
#include "tests/formats/temp_folder.h"

namespace facet {
namespace {

using cuda::CompiledKernel;
using cuda::KernelCache;
using cuda::KernelSource;
using ::testing::HasSubstr;

constexpr std::size_t kPlenty = 1 << 24;

/// Writes `value`, so that different values are different kernels.
KernelSource kernel(int value) {
  return {"fill",
          "extern \"C\" __global__ void fill(float* y) { y[threadIdx.x] = " +
              std::to_string(value) + "; }\n",
          32,
          1,
          {}};
}

TEST(KernelCache, CompilesOnceForAllWhoUseTheFolder) {
  const test::TempFolder folder;
  KernelCache first(folder / "cache", kPlenty);
  const CompiledKernel made = first.get(kernel(1), 90);
  EXPECT_EQ(first.compiled(), 1);
  KernelCache second(folder / "cache", kPlenty);
  const CompiledKernel read = second.get(kernel(1), 90);
  EXPECT_EQ(second.compiled(), 0);
  EXPECT_EQ(read.code, made.code);
  EXPECT_EQ(read.resources.registers, made.resources.registers);
  EXPECT_GT(made.resources.registers, 0);
}

TEST(KernelCache, AnotherSourceOrArchitectureIsAnotherKernel) {
  const test::TempFolder folder;
  KernelCache cache(folder / "cache", kPlenty);
  const std::string code = cache.get(kernel(1), 90).code;
  EXPECT_NE(cache.get(kernel(2), 90).code, code);
  EXPECT_NE(cache.get(kernel(1), 80).code, code);
  EXPECT_EQ(cache.compiled(), 3);
  cache.get(kernel(2), 90);
  EXPECT_EQ(cache.compiled(), 3);
}

TEST(KernelCache, BrokenFilesAreMadeAgain) {
  const test::TempFolder folder;
  KernelCache cache(folder / "cache", kPlenty);
  const std::string code = cache.get(kernel(1), 90).code;
  for (const auto& file : std::filesystem::directory_iterator(folder / "cache")) {
    const std::string whole = test::read_bytes(file.path());
    for (const std::string& broken :
         {std::string(), whole.substr(0, whole.size() / 2), whole + "x", "x" + whole.substr(1)}) {
      test::write_bytes(file.path(), broken);
      const int before = cache.compiled();
      EXPECT_EQ(cache.get(kernel(1), 90).code, code);
      EXPECT_EQ(cache.compiled(), before + 1);
    }
  }
}

TEST(KernelCache, KeepsToItsLimitAndDropsTheOldest) {
  const test::TempFolder folder;
  const std::filesystem::path path = folder / "cache";
  KernelCache(path, kPlenty).get(kernel(1), 90);
  const std::size_t size =
      std::filesystem::file_size(std::filesystem::directory_iterator(path)->path());
  // The first is now an hour older than any other.
  const auto now = std::filesystem::file_time_type::clock::now();
  std::filesystem::last_write_time(std::filesystem::directory_iterator(path)->path(),
                                   now - std::chrono::hours(1));
  KernelCache cache(path, size * 5 / 2);
  cache.get(kernel(2), 90);
  cache.get(kernel(3), 90);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path), {}), 2);
  cache.get(kernel(3), 90);
  EXPECT_EQ(cache.compiled(), 2);
  cache.get(kernel(1), 90);
  EXPECT_EQ(cache.compiled(), 3);
}

TEST(KernelCache, WithoutAFolderItCompilesEachTime) {
  const test::TempFolder folder;
  test::write_bytes(folder / "file", "no folder");
  KernelCache cache(folder / "file", kPlenty);
  EXPECT_FALSE(cache.get(kernel(1), 90).code.empty());
  EXPECT_FALSE(cache.get(kernel(1), 90).code.empty());
  EXPECT_EQ(cache.compiled(), 2);
}

TEST(Nvrtc, ErrorsHaveTheCompilersLog) {
  const KernelSource broken{
      "broken", "extern \"C\" __global__ void broken() { nothing_of_the_kind(); }\n", 1, 1, {}};
  const std::string error = test::error_of([&] { cuda::compile_kernel(broken, 90); });
  EXPECT_THAT(error, HasSubstr("the kernel broken does not compile (--gpu-architecture=sm_90)"));
  EXPECT_THAT(error, HasSubstr("nothing_of_the_kind"));
}

TEST(Nvrtc, ReportsLocalMemory) {
  const KernelSource hungry{
      "hungry",
      "extern \"C\" __global__ void hungry(float* x) { float a[64], sum = 0; "
      "for (int i = 0; i < 64; ++i) a[i] = x[i * threadIdx.x]; "
      "for (int i = 0; i < 64; ++i) sum += a[(i * (int)x[0]) & 63]; x[threadIdx.x] = sum; }\n",
      32,
      1,
      {}};
  EXPECT_GE(cuda::compile_kernel(hungry, 90).resources.stack_bytes, 256);
}

}  // namespace
}  // namespace facet
