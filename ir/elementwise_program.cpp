#include "ir/elementwise_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>

#include "ir/error.h"

namespace facet {
namespace {

constexpr std::array<std::string_view, 27> kUnary{
    "relu", "sigmoid", "tanh",  "exp",  "log",  "sqrt", "rsqrt", "reciprocal", "neg",
    "abs",  "square",  "erf",   "floor", "ceil", "round", "sign", "sin",        "cos",
    "tan",  "asin",    "acos",  "atan", "sinh", "cosh", "asinh", "acosh",      "atanh"};
constexpr std::array<std::string_view, 11> kBinary{"add",     "sub", "mul",   "div",     "maximum",
                                                    "minimum", "pow", "prelu", "greater", "equal",
                                                    "greater_equal"};

ElementwiseArgument parse_argument(const std::string& word, std::size_t defined) {
  ElementwiseArgument argument;
  const char* const end = word.data() + word.size();
  if (word.front() == '#') {
    argument.is_literal = true;
    const auto [stop, error] = std::from_chars(word.data() + 1, end, argument.literal);
    if (error != std::errc() || stop != end) throw usage_error("'" + word + "' is not a number");
    return argument;
  }
  const auto [stop, error] = std::from_chars(word.data(), end, argument.value);
  if (error != std::errc() || stop != end || argument.value >= defined) {
    throw usage_error(fmt::format("'{}' is not one of the {} values defined so far", word, defined));
  }
  return argument;
}

}  // namespace

int elementwise_arity(std::string_view op) {
  if (std::find(kUnary.begin(), kUnary.end(), op) != kUnary.end()) return 1;
  if (std::find(kBinary.begin(), kBinary.end(), op) != kBinary.end()) return 2;
  return op == "clamp" || op == "where" ? 3 : 0;
}

std::vector<ElementwiseInstruction> parse_elementwise(const Strings& program, std::size_t inputs) {
  std::vector<ElementwiseInstruction> instructions;
  for (const std::string& line : program) {
    try {
      std::istringstream words(line);
      ElementwiseInstruction instruction;
      words >> instruction.op;
      for (std::string word; words >> word;) {
        instruction.arguments.push_back(parse_argument(word, inputs + instructions.size()));
      }
      const int arity = elementwise_arity(instruction.op);
      if (arity == 0) throw usage_error("'" + instruction.op + "' is no scalar function");
      if (static_cast<int>(instruction.arguments.size()) != arity) {
        throw usage_error(fmt::format("'{}' takes {} operands", instruction.op, arity));
      }
      instructions.push_back(std::move(instruction));
    } catch (const Error& error) {
      throw usage_error(fmt::format("elementwise program line \"{}\": {}", line, error.what()));
    }
  }
  return instructions;
}

std::string to_string(const ElementwiseInstruction& instruction) {
  std::string text = instruction.op;
  for (const ElementwiseArgument& argument : instruction.arguments) {
    text += argument.is_literal ? fmt::format(" #{}", argument.literal)
                                : fmt::format(" {}", argument.value);
  }
  return text;
}

}  // namespace facet
