// Arithmetic of integers and booleans, mod and bitwise. f64 holds them exactly up to 2^53.

#include "backends/reference/whole_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/reference/broadcast.h"
#include "ir/error.h"

namespace facet::reference {
namespace {

using Whole = std::int64_t;
using Bits = std::uint64_t;

Whole whole(double value) {  // of a value that may be beyond i64, or NaN
  constexpr double kTwo63 = 9223372036854775808.0;
  if (value >= kTwo63) return std::numeric_limits<Whole>::max();
  if (value < -kTwo63) return std::numeric_limits<Whole>::min();
  return std::isnan(value) ? 0 : static_cast<Whole>(value);
}

Whole wrap(Whole value, DType dtype) {
  switch (dtype) {
    case DType::i32:
      return static_cast<std::int32_t>(value);
    case DType::i8:
      return static_cast<std::int8_t>(value);
    case DType::u8:
      return static_cast<std::uint8_t>(value);
    case DType::boolean:
      return value != 0 ? 1 : 0;
    default:
      return value;
  }
}

Whole wrapping(Bits bits) { return static_cast<Whole>(bits); }

Whole divide(Whole a, Whole b) {
  if (b == 0) return 0;
  return b == -1 ? wrapping(Bits{0} - static_cast<Bits>(a)) : a / b;
}

Whole remainder(Whole a, Whole b) { return b == 0 || b == -1 ? 0 : a % b; }

Whole modulo(Whole a, Whole b) {
  const Whole rest = remainder(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Whole power(Whole base, Whole exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 == 0 ? 1 : -1) : 0;
  Bits result = 1;
  for (Bits square = static_cast<Bits>(base); exponent > 0; exponent /= 2, square *= square) {
    if (exponent % 2 != 0) result *= square;
  }
  return wrapping(result);
}

Whole shift_left(Whole a, Whole by) {
  return by < 0 || by > 63 ? 0 : wrapping(static_cast<Bits>(a) << by);
}
Whole shift_right(Whole a, Whole by) { return by < 0 || by > 63 ? 0 : a >> by; }

using Function = Whole (*)(Whole a, Whole b);
struct Named {
  std::string_view name;
  Function function;
};
constexpr Named kFunctions[] = {
    {"add", [](Whole a, Whole b) { return wrapping(static_cast<Bits>(a) + static_cast<Bits>(b)); }},
    {"sub", [](Whole a, Whole b) { return wrapping(static_cast<Bits>(a) - static_cast<Bits>(b)); }},
    {"mul", [](Whole a, Whole b) { return wrapping(static_cast<Bits>(a) * static_cast<Bits>(b)); }},
    {"div", divide},
    {"maximum", [](Whole a, Whole b) { return std::max(a, b); }},
    {"minimum", [](Whole a, Whole b) { return std::min(a, b); }},
    {"pow", power},
    {"greater", [](Whole a, Whole b) { return Whole{a > b}; }},
    {"greater_equal", [](Whole a, Whole b) { return Whole{a >= b}; }},
    {"equal", [](Whole a, Whole b) { return Whole{a == b}; }},
    {"mod", modulo},
    {"remainder", remainder},
    {"and", [](Whole a, Whole b) { return a & b; }},
    {"or", [](Whole a, Whole b) { return a | b; }},
    {"xor", [](Whole a, Whole b) { return a ^ b; }},
    {"shift_left", shift_left},
    {"shift_right", shift_right},
};

Function find(std::string_view name) {
  for (const Named& entry : kFunctions) {
    if (entry.name == name) return entry.function;
  }
  throw failure(fmt::format("'{}' is no function of two whole numbers", name));
}

DType result_dtype(const Call& call) { return call.node.result_types()[0].dtype; }

std::vector<HostTensor> bitwise(const Call& call) {
  return {whole_binary(call.attributes().text("function"),
                       broadcast_to(call.operand(0), call.shape()),
                       broadcast_to(call.operand(1), call.shape()), result_dtype(call))};
}

std::vector<HostTensor> mod(const Call& call) {
  const HostTensor a = broadcast_to(call.operand(0), call.shape());
  const HostTensor b = broadcast_to(call.operand(1), call.shape());
  const bool truncated = call.attributes().boolean("truncated");
  if (!is_float(result_dtype(call))) {
    return {whole_binary(truncated ? "remainder" : "mod", a, b, result_dtype(call))};
  }
  HostTensor result = call.result();
  for (std::int64_t i = 0; i < result.element_count(); ++i) {
    double rest = std::fmod(a.at(i), b.at(i));
    if (!truncated && rest != 0 && (rest < 0) != (b.at(i) < 0)) rest += b.at(i);
    result.as_mutable<double>()[i] = rest;
  }
  return {result};
}

}  // namespace

HostTensor whole_binary(std::string_view function, const HostTensor& a, const HostTensor& b,
                        DType dtype) {
  const Function apply = find(function);
  HostTensor result(DType::f64, a.shape());
  double* to = result.as_mutable<double>();
  for (std::int64_t i = 0; i < result.element_count(); ++i) {
    to[i] = static_cast<double>(wrap(apply(whole(a.at(i)), whole(b.at(i))), dtype));
  }
  return result;
}

HostTensor wrapped(HostTensor values, DType dtype) {
  if (is_float(dtype)) return values;
  double* to = values.as_mutable<double>();
  for (std::int64_t i = 0; i < values.element_count(); ++i) {
    to[i] = static_cast<double>(wrap(whole(to[i]), dtype));
  }
  return values;
}

void add_whole_number_ops(EvaluatorTable& table) {
  table["bitwise"] = bitwise;
  table["mod"] = mod;
}

}  // namespace facet::reference
