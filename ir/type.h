#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <vector>

#include "ir/dtype.h"

namespace facet {

/// One extent of a shape: a number, or a whole multiple of a named symbol such as the batch `N`
/// (reshaping [N, 49] to [49*N] keeps the product).
struct Dim {
  std::int64_t factor = 1;
  std::string symbol;  ///< an identifier; empty: the extent is `factor`

  /// Any integer type, so that a literal 0 is not a null `const char*` too.
  template <std::integral Integer>
  Dim(Integer extent) : factor(static_cast<std::int64_t>(extent)) {}  // NOLINT
  Dim(std::string name, std::int64_t multiple = 1) : factor(multiple), symbol(std::move(name)) {}
  Dim(const char* name) : Dim(std::string(name)) {}  // NOLINT(google-explicit-constructor)

  bool is_static() const { return symbol.empty(); }
  friend bool operator==(const Dim&, const Dim&) = default;
};

/// "64", "N" or "49*N".
std::string to_string(const Dim& dim);

using Shape = std::vector<Dim>;

/// "[N, 64, 56, 56]".
std::string to_string(const Shape& shape);
bool is_static(const Shape& shape);
/// The extents of a static shape. Throws Error(usage) if a symbol is left.
std::vector<std::int64_t> static_extents(const Shape& shape);
/// Product of all extents; it may carry one symbol. Throws Error(usage) for two symbols.
Dim element_count(const Shape& shape);
/// NumPy broadcasting of two shapes. Throws Error(usage) that names both.
Shape broadcast(const Shape& a, const Shape& b);

/// How a dense value lies in memory, spelt as oneDNN spells its tags: letters are logical axes from
/// outermost to innermost, "acdb" is NHWC; a capital letter is an axis that a trailing block
/// ("16b") splits. Letters, digits and '_'. Empty means row-major in logical order.
using Layout = std::string;

/// What a Value is: element type, logical shape (images are [N, C, H, W]) and layout. The layout is
/// empty until the layout pass.
struct Type {
  DType dtype = DType::f32;
  Shape shape;
  Layout layout;

  std::int64_t rank() const { return static_cast<std::int64_t>(shape.size()); }
  friend bool operator==(const Type&, const Type&) = default;
};

/// "f32[N, 64, 56, 56]", with "@acdb" behind it when a layout is set.
std::string to_string(const Type& type);
/// Inverse of `to_string(Type)`. Throws Error(usage).
Type parse_type(std::string_view text);

}  // namespace facet
