#include <dnnl.h>
#include <fmt/format.h>
#include <omp.h>

#include <array>
#include <cstring>

#include "backends/cpu/cpu_backend.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace facet {
namespace {

#if defined(__x86_64__)

/// State components the operating system saves on a context switch (register XCR0).
std::uint64_t saved_state() {
  unsigned low = 0;
  unsigned high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

/// The compiler's feature test does not know AMX everywhere, so this reads CPUID itself.
bool has_amx_bf16() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return false;
  constexpr std::uint64_t kTileState = (1u << 17) | (1u << 18);
  if ((saved_state() & kTileState) != kTileState) return false;
  constexpr unsigned kAmxBf16 = 1u << 22;
  constexpr unsigned kAmxTile = 1u << 24;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAmxBf16) != 0 && (d & kAmxTile) != 0;
}

std::string processor_name() {
  std::array<unsigned, 12> words{};
  for (unsigned i = 0; i < 3; ++i) {
    unsigned* w = &words[4 * i];
    if (__get_cpuid(0x80000002u + i, w, w + 1, w + 2, w + 3) == 0) return "x86-64";
  }
  std::array<char, sizeof(words) + 1> text{};
  std::memcpy(text.data(), words.data(), sizeof(words));
  std::string name(text.data());
  const std::size_t first = name.find_first_not_of(' ');
  const std::size_t last = name.find_last_not_of(' ');
  return first == std::string::npos ? "x86-64" : name.substr(first, last - first + 1);
}

CpuFeatures detect() {
  __builtin_cpu_init();
  CpuFeatures features;
  features.avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  features.avx512 =
      __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  features.avx512_bf16 = features.avx512 && __builtin_cpu_supports("avx512bf16") != 0;
  features.amx_bf16 = features.avx512_bf16 && has_amx_bf16();
  return features;
}

#else

std::string processor_name() { return "processor"; }
CpuFeatures detect() { return {}; }

#endif

}  // namespace

CpuFeatures cpu_features() {
  CpuFeatures features = detect();
  const auto isa = static_cast<unsigned>(dnnl_get_effective_cpu_isa());
  const auto allows = [&](dnnl_cpu_isa_t wanted) {
    const auto bits = static_cast<unsigned>(wanted);
    return (isa & bits) == bits;
  };
  features.avx2 = features.avx2 && allows(dnnl_cpu_isa_avx2);
  features.avx512 = features.avx512 && allows(dnnl_cpu_isa_avx512_core);
  features.avx512_bf16 = features.avx512_bf16 && allows(dnnl_cpu_isa_avx512_core_bf16);
  features.amx_bf16 = features.amx_bf16 && allows(dnnl_cpu_isa_avx512_core_amx);
  return features;
}

std::string cpu_description() {
  const CpuFeatures features = cpu_features();
  std::string sets;
  for (const auto& [has, name] : {std::pair{features.avx2, " avx2"},
                                  {features.avx512, " avx512"},
                                  {features.avx512_bf16, " avx512_bf16"},
                                  {features.amx_bf16, " amx_bf16"}}) {
    if (has) sets += name;
  }
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}, {} threads,{}, oneDNN {}.{}.{}", processor_name(), omp_get_max_threads(),
                     sets.empty() ? " no vector extensions" : sets, version->major, version->minor,
                     version->patch);
}

}  // namespace facet
