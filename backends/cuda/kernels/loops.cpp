#include "backends/cuda/kernels/loops.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <numeric>

#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr std::int64_t kVectorBytes = 16;

void merge_loops(Loops& loops) {
  for (std::size_t inner = loops.extents.size(); inner-- > 1;) {
    const std::size_t outer = inner - 1;
    const bool merges =
        std::all_of(loops.streams.begin(), loops.streams.end(), [&](const Stream& s) {
          return s.strides[outer] == s.strides[inner] * loops.extents[inner];
        });
    if (!merges) continue;
    loops.extents[inner] *= loops.extents[outer];
    const auto at = static_cast<std::ptrdiff_t>(outer);
    loops.extents.erase(loops.extents.begin() + at);
    for (Stream& s : loops.streams) s.strides.erase(s.strides.begin() + at);
  }
}

}  // namespace

std::int64_t Loops::elements() const {
  return std::accumulate(extents.begin(), extents.end(), std::int64_t{1}, std::multiplies<>());
}

std::string_view type_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float";
    case DType::bf16:
      return "facet::bf16";
    case DType::f16:
      return "facet::f16";
    default:
      throw failure(
          fmt::format("kernels of the GPU take f32, bf16 and f16, not {}", to_string(dtype)));
  }
}

std::string_view bits_name(DType dtype) {
  switch (size_of(dtype)) {
    case 1:
      return "unsigned char";
    case 2:
      return "unsigned short";
    case 4:
      return "unsigned";
    default:
      return "unsigned long long";
  }
}

std::string float_literal(double value) {
  const auto number = static_cast<float>(value);
  if (std::isnan(number)) return "facet::bits_to_float(0x7fc00000u)";
  if (std::isinf(number)) {
    return number > 0 ? "facet::bits_to_float(0x7f800000u)" : "facet::bits_to_float(0xff800000u)";
  }
  return fmt::format("{:a}f", number);
}

Stream broadcast_stream(const View& view, const std::vector<std::int64_t>& result) {
  const std::vector<std::int64_t> extents = static_extents(view.type.shape);
  if (view.strides.size() != extents.size()) {
    throw failure(fmt::format("the GPU reads plain layouts, not {}", to_string(view.type)));
  }
  Stream stream{view.type.dtype, std::vector<std::int64_t>(result.size(), 0)};
  const std::size_t missing = result.size() - extents.size();
  for (std::size_t i = 0; i < extents.size(); ++i) {
    stream.strides[missing + i] = extents[i] == 1 ? 0 : view.strides[i];
  }
  return stream;
}

Loops loops_over(const std::vector<std::size_t>& axes, const std::vector<std::int64_t>& extents,
                 std::span<const Stream> streams, std::size_t leader) {
  std::vector<std::size_t> order;
  std::copy_if(axes.begin(), axes.end(), std::back_inserter(order),
               [&](std::size_t axis) { return extents[axis] != 1; });
  const std::vector<std::int64_t>& along = streams[leader].strides;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return along[a] > along[b]; });
  Loops loops;
  for (const Stream& s : streams) loops.streams.push_back({s.dtype, {}});
  for (const std::size_t axis : order) {
    loops.extents.push_back(extents[axis]);
    for (std::size_t i = 0; i < streams.size(); ++i) {
      loops.streams[i].strides.push_back(streams[i].strides[axis]);
    }
  }
  if (order.empty()) {
    loops.extents.push_back(1);
    for (Stream& s : loops.streams) s.strides.push_back(1);
  }
  merge_loops(loops);
  return loops;
}

int vector_of(const Loops& loops) {
  std::int64_t smallest = 8;
  for (const Stream& s : loops.streams) smallest = std::min(smallest, size_of(s.dtype));
  std::int64_t vector = std::gcd(kVectorBytes / smallest, loops.extents.back());
  for (const Stream& s : loops.streams) {
    if (s.strides.back() != 1) continue;
    for (std::size_t i = 0; i + 1 < s.strides.size(); ++i) vector = std::gcd(vector, s.strides[i]);
  }
  return static_cast<int>(vector);
}

int aligned_vector(const Loops& loops, const Loops& others) {
  int vector = vector_of(loops);
  if (loops.streams[0].strides.back() != 1) return vector;
  for (const std::int64_t stride : others.streams[0].strides) {
    vector = static_cast<int>(std::gcd(std::int64_t{vector}, stride));
  }
  return vector;
}

std::string coordinates_text(const Loops& loops, std::string_view from) {
  if (loops.extents.size() == 1) return fmt::format("  const int c0 = {};\n", from);
  std::string text = fmt::format("  int rest = {};\n", from);
  for (std::size_t i = loops.extents.size(); i-- > 1;) {
    text += fmt::format("  const int c{} = rest % {};\n  rest /= {};\n", i, loops.extents[i],
                        loops.extents[i]);
  }
  return text + "  const int c0 = rest;\n";
}

std::string offset_text(const Stream& stream, std::string_view position) {
  std::vector<std::string> terms;
  for (std::size_t i = 0; i < stream.strides.size(); ++i) {
    if (stream.strides[i] == 1) terms.push_back(fmt::format("{}{}", position, i));
    if (stream.strides[i] != 0 && stream.strides[i] != 1)
      terms.push_back(fmt::format("{}LL * {}{}", stream.strides[i], position, i));
  }
  return terms.empty() ? "0" : fmt::format("{}", fmt::join(terms, " + "));
}

}  // namespace facet::cuda
