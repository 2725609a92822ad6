#include "backends/cpu/peaks.h"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "backends/cpu/cpu_backend.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <sys/syscall.h>
#endif

namespace facet {
namespace {

/// Runs `rounds` rounds of independent multiply-adds in registers; returns a value that depends on
/// all of them, so that the compiler keeps them.
using Loop = float (*)(std::int64_t rounds);

/// Several streams keep more requests to memory in flight than one.
constexpr std::size_t kStreams = 4;
/// Bytes a reading step takes of each stream.
constexpr std::size_t kChunk = 128;

/// Enough chains to hide the latency of a multiply-add on two units.
constexpr int kChains = 12;

struct Engine {
  Loop loop;
  double flops_per_round;
};

float portable_loop(std::int64_t rounds) {
  constexpr int kLanes = 4;
  std::array<std::array<float, kLanes>, kChains> sums{};
  volatile float factor = 0.5f;
  const float x = factor;
  for (std::int64_t i = 0; i < rounds; ++i) {
    for (auto& sum : sums) {
      for (float& lane : sum) lane = lane * x + x;
    }
  }
  float total = 0;
  for (const auto& sum : sums) total += sum[0];
  return total;
}

#if defined(__x86_64__)

__attribute__((target("avx2,fma"))) float avx2_loop(std::int64_t rounds) {
  volatile float factor = 0.5f;
  const __m256 x = _mm256_set1_ps(factor);
  __m256 sums[kChains];
  for (__m256& sum : sums) sum = _mm256_setzero_ps();
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sums[c] = _mm256_fmadd_ps(sums[c], x, x);
  }
  float total = 0;
  for (const __m256& sum : sums) total += _mm256_cvtss_f32(sum);
  return total;
}

__attribute__((target("avx512f"))) float avx512_loop(std::int64_t rounds) {
  volatile float factor = 0.5f;
  const __m512 x = _mm512_set1_ps(factor);
  __m512 sums[kChains];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sums[c] = _mm512_fmadd_ps(sums[c], x, x);
  }
  float total = 0;
  for (const __m512& sum : sums) total += _mm512_cvtss_f32(sum);
  return total;
}

__attribute__((target("avx512f,avx512bf16"))) float bf16_loop(std::int64_t rounds) {
  volatile int ones = 0x3F003F00;  // two bf16 halves
  const __m512bh x = (__m512bh)_mm512_set1_epi32(ones);
  __m512 sums[kChains];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sums[c] = _mm512_dpbf16_ps(sums[c], x, x);
  }
  float total = 0;
  for (const __m512& sum : sums) total += _mm512_cvtss_f32(sum);
  return total;
}

/// Tiles of 16 rows of 64 bytes: four sums from two left and two right operands.
struct alignas(64) TileConfiguration {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::array<std::uint8_t, 14> reserved{};
  std::array<std::uint16_t, 16> row_bytes{};
  std::array<std::uint8_t, 16> rows{};
};

__attribute__((target("amx-tile,amx-bf16"))) float amx_loop(std::int64_t rounds) {
  TileConfiguration configuration;
  for (std::size_t tile = 0; tile < 8; ++tile) {
    configuration.row_bytes[tile] = 64;
    configuration.rows[tile] = 16;
  }
  alignas(64) std::array<std::uint16_t, 16 * 32> values;
  values.fill(0x3F00);
  alignas(64) std::array<float, 16 * 16> sums{};
  _tile_loadconfig(&configuration);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, values.data(), 64);
  _tile_loadd(5, values.data(), 64);
  _tile_loadd(6, values.data(), 64);
  _tile_loadd(7, values.data(), 64);
  for (std::int64_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  float total = 0;
  _tile_stored(0, sums.data(), 64);
  total += sums[0];
  _tile_stored(1, sums.data(), 64);
  total += sums[0];
  _tile_stored(2, sums.data(), 64);
  total += sums[0];
  _tile_stored(3, sums.data(), 64);
  total += sums[0];
  _tile_release();
  return total;
}

/// Linux hands out the tile registers on request only; the grant holds for all threads made later
/// and this one, so an OpenMP team that exists already has it from the process.
bool request_tiles() {
  constexpr int kRequestPermission = 0x1023;
  constexpr int kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Engine f32_engine(const CpuFeatures& features) {
  if (features.avx512) return {avx512_loop, 2.0 * 16 * kChains};
  if (features.avx2) return {avx2_loop, 2.0 * 8 * kChains};
  return {portable_loop, 2.0 * 4 * kChains};
}

Engine bf16_engine(const CpuFeatures& features) {
  if (features.amx_bf16 && request_tiles()) return {amx_loop, 4 * 2.0 * 16 * 16 * 32};
  if (features.avx512_bf16) return {bf16_loop, 2.0 * 32 * kChains};
  return f32_engine(features);
}

__attribute__((target("avx512f"))) void read_avx512(const std::byte* data, std::size_t bytes) {
  __m512i sum = _mm512_setzero_si512();
  const std::size_t stream = bytes / kStreams;
  for (std::size_t i = 0; i < stream; i += kChunk) {
    for (std::size_t s = 0; s < kStreams; ++s) {
      const auto* line = reinterpret_cast<const __m512i*>(data + s * stream + i);
      const __m512i pair = _mm512_xor_si512(_mm512_load_si512(line), _mm512_load_si512(line + 1));
      sum = _mm512_xor_si512(sum, pair);
    }
  }
  __asm__ volatile("" ::"v"(sum));
}

#else

Engine f32_engine(const CpuFeatures&) { return {portable_loop, 2.0 * 4 * kChains}; }
Engine bf16_engine(const CpuFeatures& features) { return f32_engine(features); }

#endif

void read_portable(const std::byte* data, std::size_t bytes) {
  std::array<std::uint64_t, kStreams> sums{};
  const std::size_t stream = bytes / kStreams;
  for (std::size_t i = 0; i < stream; i += sizeof(std::uint64_t)) {
    for (std::size_t s = 0; s < kStreams; ++s) {
      sums[s] ^= *reinterpret_cast<const std::uint64_t*>(data + s * stream + i);
    }
  }
  volatile std::uint64_t sink = 0;
  for (const std::uint64_t sum : sums) sink = sink ^ sum;
}

double seconds_of(const auto& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// What a ceiling may take, so that a busy machine does not make measuring long.
constexpr double kBudgetSeconds = 0.1;

/// Best rate of eight runs of about eight milliseconds.
double best_flops(const Engine& engine, int threads) {
  constexpr int kRuns = 8;
  constexpr double kRunSeconds = 0.008;
  const auto team = [&](std::int64_t rounds) {
    return seconds_of([&] {
#pragma omp parallel num_threads(threads)
      {
        volatile float sink = engine.loop(rounds);
        static_cast<void>(sink);
      }
    });
  };
  // How many rounds that is shows on one thread: a team also waits for whoever is late.
  const auto alone = [&](std::int64_t rounds) {
    double best = seconds_of([&] { engine.loop(rounds); });
    for (int i = 0; i < 2; ++i) best = std::min(best, seconds_of([&] { engine.loop(rounds); }));
    return best;
  };
  std::int64_t rounds = 1000;
  double seconds = alone(rounds);
  while (seconds < kRunSeconds / 16) {
    rounds *= 4;
    seconds = alone(rounds);
  }
  rounds = static_cast<std::int64_t>(static_cast<double>(rounds) * kRunSeconds / seconds) + 1;
  double best = 0;
  double spent = 0;
  for (int run = 0; run < kRuns && spent < kBudgetSeconds; ++run) {
    const double run_seconds = team(rounds);
    best = std::max(best, engine.flops_per_round * static_cast<double>(rounds) / run_seconds);
    spent += run_seconds;
  }
  return best * threads;
}

double best_bandwidth(const CpuFeatures& features, int threads) {
  constexpr int kRuns = 8;
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
  const std::size_t wanted = 4 * (cache > 0 ? static_cast<std::size_t>(cache) : 8 * kMiB);
  const std::size_t per_thread = std::clamp(wanted, 64 * kMiB, 512 * kMiB) /
                                 static_cast<std::size_t>(threads) / (kStreams * kChunk) *
                                 (kStreams * kChunk);
  const std::size_t bytes = per_thread * static_cast<std::size_t>(threads);
  const auto release = [](std::byte* data) { ::operator delete (data, std::align_val_t{4096}); };
  const std::unique_ptr<std::byte, decltype(release)> memory(
      static_cast<std::byte*>(::operator new (bytes, std::align_val_t{4096})), release);
  auto* read = read_portable;
#if defined(__x86_64__)
  if (features.avx512) read = read_avx512;
#else
  static_cast<void>(features);
#endif
  double best = 0;
  double spent = 0;
  for (int run = 0; run <= kRuns && spent < kBudgetSeconds; ++run) {
    const double seconds = seconds_of([&] {
#pragma omp parallel num_threads(threads)
      {
        std::byte* part =
            memory.get() + per_thread * static_cast<std::size_t>(omp_get_thread_num());
        // The thread that reads a page touches it first, so that it lies near.
        if (run == 0) {
          std::fill(part, part + per_thread, std::byte{1});
        } else {
          read(part, per_thread);
        }
      }
    });
    if (run == 0) continue;
    best = std::max(best, static_cast<double>(bytes) / seconds);
    spent += seconds;
  }
  return best;
}

}  // namespace

Ceilings measure_ceilings(int threads) {
  const CpuFeatures features = cpu_features();
  const int team = std::max(threads, 1);
  Ceilings ceilings;
  ceilings.f32_flops = best_flops(f32_engine(features), team);
  ceilings.bf16_flops = std::max(best_flops(bf16_engine(features), team), ceilings.f32_flops);
  ceilings.bandwidth_bytes = best_bandwidth(features, team);
  return ceilings;
}

}  // namespace facet
