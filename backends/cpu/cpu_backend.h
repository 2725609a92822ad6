#pragma once

#include <memory>
#include <string>

#include "backends/backend.h"

namespace facet {

/// The CPU: convolutions and matrix products by oneDNN, everything memory-bound by own vector
/// kernels (backends/cpu/kernels). Thread-safe; kernels keep what they need alive and may outlive
/// the backend. The number of OpenMP threads at `lower` is the number a kernel will use.
///
/// Layouts are oneDNN's tags over the value's logical axes, with two additions for weights:
///   "g4" in front:      conv weights [O, C/4, kh, kw] seen as [4, O/4, C/4, kh, kw]; the tag
///   behind
///                       it names these five axes ("g4Abcde16a");
///   "opaque<n>x<hex>":  n bytes in a layout no tag spells; the digits are oneDNN's own descriptor,
///                       so the text alone is enough to read the value again (by the same oneDNN);
///                       "opaque<n>xwinograd64": transformed for blocks of 64 channels
///                       (winograd.h).
std::unique_ptr<Backend> make_cpu_backend();

/// What the processor and the operating system offer, as far as oneDNN may use it: its setting
/// ONEDNN_MAX_CPU_ISA=AVX2 (AVX512_CORE, ...) holds for Facet's own kernels, too. Read once.
struct CpuFeatures {
  bool avx2 = false;    ///< with FMA
  bool avx512 = false;  ///< F, BW, DQ, VL
  bool avx512_bf16 = false;
  bool amx_bf16 = false;
};
CpuFeatures cpu_features();

/// "AMD EPYC, 2 threads, avx512 avx512_bf16, oneDNN 3.7.2": names the machine in reports and
/// caches.
std::string cpu_description();

}  // namespace facet
