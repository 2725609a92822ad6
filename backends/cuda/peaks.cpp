#include "backends/cuda/peaks.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "ir/text.h"

namespace facet::cuda {
namespace {

constexpr int kRuns = 8;
constexpr double kBudgetMilliseconds = 100;

/// The shortest of a few runs behind one that warms up.
double best_milliseconds(DeviceQueue& queue, const std::function<void()>& run) {
  queue.milliseconds(run);
  double best = std::numeric_limits<double>::infinity();
  double spent = 0;
  for (int i = 0; i < kRuns && spent < kBudgetMilliseconds; ++i) {
    const double milliseconds = queue.milliseconds(run);
    best = std::min(best, milliseconds);
    spent += milliseconds;
  }
  return best;
}

double bandwidth(DeviceQueue& queue, std::int64_t bytes) {
  const auto from = queue.allocate(bytes, "copies that are timed");
  const auto to = queue.allocate(bytes, "copies that are timed");
  const double milliseconds =
      best_milliseconds(queue, [&] { queue.copy(to.get(), from.get(), bytes); });
  return 2e3 * static_cast<double>(bytes) / milliseconds;
}

std::uint16_t bits_of(DType dtype, float value) {
  return dtype == DType::bf16 ? bf16_from_float(value) : f16_from_float(value);
}

/// Numbers in [-1, 1), a pattern of them again and again: products of zeros are faster than others.
std::shared_ptr<std::byte> random_matrix(DeviceQueue& queue, DType dtype, std::int64_t count) {
  constexpr std::int64_t kPattern = 1 << 20;
  const std::int64_t size = size_of(dtype);
  const std::int64_t pattern = std::min(count, kPattern);
  std::vector<std::byte> bytes(static_cast<std::size_t>(pattern * size));
  std::uint32_t state = 1;
  for (std::int64_t i = 0; i < pattern; ++i) {
    state = state * 1664525u + 1013904223u;
    const float value = static_cast<float>(state >> 8) / 8388608.0F - 1.0F;
    if (dtype == DType::f32) {
      reinterpret_cast<float*>(bytes.data())[i] = value;
    } else {
      reinterpret_cast<std::uint16_t*>(bytes.data())[i] = bits_of(dtype, value);
    }
  }
  std::shared_ptr<std::byte> matrix = queue.allocate(count * size, "products that are timed");
  for (std::int64_t at = 0; at < count; at += pattern) {
    const std::int64_t part = std::min(pattern, count - at);
    queue.write(matrix.get() + at * size, bytes.data(), part * size);
  }
  queue.wait();
  return matrix;
}

double product_flops(const Backend& backend, DeviceQueue& queue, DType dtype, std::int64_t extent) {
  const Type type{dtype, {extent, extent}, {}};
  Graph graph("product");
  std::vector<Value> operands;
  for (const char* name : {"a", "b"}) {
    const Attributes attributes{{"name", std::string(name)}, {"type", to_string(type)}};
    operands.push_back(graph.create("input", {}, attributes)->result());
  }
  const Node* const product = graph.create("matmul", operands);
  const std::array<View, 2> views{dense_view(type), dense_view(type)};
  const auto kernel = backend.lower(*product, views, std::span(views).first(1));
  const auto scratch =
      queue.allocate(static_cast<std::int64_t>(kernel->scratch_bytes()), "scratch");
  const auto a = random_matrix(queue, dtype, extent * extent);
  const auto b = random_matrix(queue, dtype, extent * extent);
  const auto d = queue.allocate(byte_size(type), "products that are timed");
  const std::array<std::byte*, 2> from{a.get(), b.get()};
  const std::array<std::byte*, 1> to{d.get()};
  const double milliseconds =
      best_milliseconds(queue, kernel->bind(queue, from, to, scratch.get()));
  const auto n = static_cast<double>(extent);
  return 2e3 * n * n * n / milliseconds;
}

}  // namespace

Ceilings measure_peaks(const Backend& strict, const Backend& tf32, const PeakSizes& sizes) {
  const std::shared_ptr<DeviceQueue> queue = strict.make_queue();
  Ceilings found;
  found.bandwidth_bytes = bandwidth(*queue, sizes.bytes);
  found.f32_flops = product_flops(strict, *queue, DType::f32, sizes.extent);
  found.tf32_flops = product_flops(tf32, *queue, DType::f32, sizes.extent);
  found.bf16_flops = product_flops(strict, *queue, DType::bf16, sizes.extent);
  found.f16_flops = product_flops(strict, *queue, DType::f16, sizes.extent);
  return found;
}

}  // namespace facet::cuda
