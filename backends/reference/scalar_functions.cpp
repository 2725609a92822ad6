#include "backends/reference/scalar_functions.h"

#include <fmt/format.h>

#include <cmath>

#include "ir/error.h"

namespace facet::reference {
namespace {

template <class Function>
struct Named {
  std::string_view name;
  Function function;
};

// relu, maximum and minimum keep a NaN they are given.
constexpr Named<UnaryFunction> kUnary[] = {
    {"relu", [](double x) { return x < 0 ? 0 : x; }},
    {"sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
    {"tanh", [](double x) { return std::tanh(x); }},
    {"exp", [](double x) { return std::exp(x); }},
    {"log", [](double x) { return std::log(x); }},
    {"sqrt", [](double x) { return std::sqrt(x); }},
    {"rsqrt", [](double x) { return 1 / std::sqrt(x); }},
    {"reciprocal", [](double x) { return 1 / x; }},
    {"neg", [](double x) { return -x; }},
    {"abs", [](double x) { return std::fabs(x); }},
    {"square", [](double x) { return x * x; }},
    {"erf", [](double x) { return std::erf(x); }},
    {"floor", [](double x) { return std::floor(x); }},
    {"ceil", [](double x) { return std::ceil(x); }},
    {"round", [](double x) { return std::nearbyint(x); }},
    {"sign", [](double x) { return x > 0 ? 1.0 : x < 0 ? -1.0 : x; }},
    {"sin", [](double x) { return std::sin(x); }},
    {"cos", [](double x) { return std::cos(x); }},
    {"tan", [](double x) { return std::tan(x); }},
    {"asin", [](double x) { return std::asin(x); }},
    {"acos", [](double x) { return std::acos(x); }},
    {"atan", [](double x) { return std::atan(x); }},
    {"sinh", [](double x) { return std::sinh(x); }},
    {"cosh", [](double x) { return std::cosh(x); }},
    {"asinh", [](double x) { return std::asinh(x); }},
    {"acosh", [](double x) { return std::acosh(x); }},
    {"atanh", [](double x) { return std::atanh(x); }},
};

constexpr Named<BinaryFunction> kBinary[] = {
    {"add", [](double a, double b) { return a + b; }},
    {"sub", [](double a, double b) { return a - b; }},
    {"mul", [](double a, double b) { return a * b; }},
    {"div", [](double a, double b) { return a / b; }},
    {"maximum", [](double a, double b) { return std::isnan(a) || a > b ? a : b; }},
    {"minimum", [](double a, double b) { return std::isnan(a) || a < b ? a : b; }},
    {"pow", [](double a, double b) { return std::pow(a, b); }},
    {"greater", [](double a, double b) { return a > b ? 1.0 : 0.0; }},
    {"equal", [](double a, double b) { return a == b ? 1.0 : 0.0; }},
    {"greater_equal", [](double a, double b) { return a >= b ? 1.0 : 0.0; }},
    {"prelu", [](double x, double slope) { return x > 0 ? x : slope * x; }},
};

template <class Table>
auto find(const Table& table, std::string_view name) {
  for (const auto& entry : table) {
    if (entry.name == name) return entry.function;
  }
  throw failure(fmt::format("'{}' is no scalar function of this arity", name));
}

}  // namespace

UnaryFunction unary_function(std::string_view name) { return find(kUnary, name); }
BinaryFunction binary_function(std::string_view name) { return find(kBinary, name); }

}  // namespace facet::reference
