#include "backends/cuda/peaks.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "ir/error.h"
#include "tests/cuda/run/cuda_run.h"

namespace facet {
namespace {

TEST(CudaPeaks, AreWhatCopiesAndProductsTake) {
  const auto driver = std::make_shared<test::FakeDriver>();
  const auto backend = test::fake_cuda_backend(driver);
  constexpr std::int64_t kBytes = 3000;
  constexpr std::int64_t kExtent = 16;
  const Ceilings found = cuda::measure_peaks(*backend, *backend, {kBytes, kExtent});
  constexpr double kSeconds = 1.5e-3;  // whatever it is, for this driver
  EXPECT_DOUBLE_EQ(found.bandwidth_bytes, 2 * kBytes / kSeconds);
  constexpr double kFlops = 2 * kExtent * kExtent * kExtent / kSeconds;
  for (const double flops :
       {found.f32_flops, found.tf32_flops, found.bf16_flops, found.f16_flops}) {
    EXPECT_DOUBLE_EQ(flops, kFlops);
  }
  EXPECT_EQ(std::ranges::count(driver->log, "copy 3000"), 9) << "one warms up";
  EXPECT_EQ(std::ranges::count(driver->log, "matmul"), 4 * 9);
  EXPECT_EQ(driver->live_blocks(), 0U);
}

TEST(CudaPeaks, AreNotThereWithoutTheMemory) {
  const auto backend = test::fake_cuda_backend(std::make_shared<test::FakeDriver>(1'000'000));
  EXPECT_THROW(cuda::measure_peaks(*backend, *backend), Error);
  EXPECT_FALSE(backend->measure_ceilings().has_value());
}

}  // namespace
}  // namespace facet
