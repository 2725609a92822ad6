#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "ir/attributes.h"

namespace facet {

/// An operand of one instruction: a value number or a literal.
struct ElementwiseArgument {
  bool is_literal = false;
  double literal = 0;
  std::size_t value = 0;
};
struct ElementwiseInstruction {
  std::string op;
  std::vector<ElementwiseArgument> arguments;
};

/// Reads the program of an `elementwise` node: each line is "op a b ..." over value numbers; inputs
/// are 0..inputs-1, line j defines value inputs+j; "#0.5" is a literal. "prelu x s" is
/// max(x, 0) + s * min(x, 0), "clamp x lo hi" bounds x, "where c a b" is c != 0 ? a : b. Throws Error(usage) that quotes the line for
/// an unknown op, a wrong count or a value that is not defined yet.
std::vector<ElementwiseInstruction> parse_elementwise(const Strings& program, std::size_t inputs);
std::string to_string(const ElementwiseInstruction& instruction);

/// Operands of the scalar function `op`: 1, 2 or 3; 0 when it is not one.
int elementwise_arity(std::string_view op);

}  // namespace facet
