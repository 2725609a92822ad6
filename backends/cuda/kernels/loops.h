#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"

/// What generated kernels share: loops over strided values, as text.
namespace facet::cuda {

/// A value along loops, outermost first; strides in elements, 0 where it does not vary.
struct Stream {
  DType dtype = DType::f32;
  std::vector<std::int64_t> strides;
};

/// Loops over several values at once, outermost first.
struct Loops {
  std::vector<std::int64_t> extents;
  std::vector<Stream> streams;

  std::int64_t elements() const;
};

/// "float", "facet::bf16" or "facet::f16". Throws Error(failure) for another type.
std::string_view type_name(DType dtype);

/// "unsigned short" and so on: a number as large as the type, where only bits are moved.
std::string_view bits_name(DType dtype);

/// The number as a float, with all its bits; one that is too large becomes infinite.
std::string float_literal(double value);

/// Strides of a value along the axes of extents `result`, with which it broadcasts. Throws
/// Error(failure) for a blocked layout.
Stream broadcast_stream(const View& view, const std::vector<std::int64_t>& result);

/// Loops over the given axes of the streams, those along which stream `leader` has the largest
/// strides outermost. Axes of extent 1 vanish, and a loop moves into its inner neighbour where
/// every stream goes on as the neighbour ends. There is always one loop.
Loops loops_over(const std::vector<std::size_t>& axes, const std::vector<std::int64_t>& extents,
                 std::span<const Stream> streams, std::size_t leader);

/// How many neighbours along the innermost loop can be moved at once, 16 bytes or more of each
/// stream that has them side by side: a power of two, 1 if extents or strides forbid more.
int vector_of(const Loops& loops);
/// The same where the first stream moves along `others`, too, in whose steps it must stay aligned.
int aligned_vector(const Loops& loops, const Loops& others);

/// Lines that define c0, c1, ... (the loops' positions, innermost last) from the number `from`.
std::string coordinates_text(const Loops& loops, std::string_view from);
/// "64LL * c0 + c1": the stream's offset there, in elements.
std::string offset_text(const Stream& stream, std::string_view position = "c");

}  // namespace facet::cuda
