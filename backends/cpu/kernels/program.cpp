#include "backends/cpu/kernels/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "ir/elementwise_program.h"
#include "ir/error.h"

namespace facet::cpu {
namespace {

/// In the order of Function; what only fusion makes has no name.
constexpr std::array<std::string_view, 39> kNames{
    "relu", "sigmoid", "tanh",    "exp",     "log",   "sqrt",  "rsqrt",   "reciprocal",
    "neg",  "abs",     "square",  "erf",     "floor", "ceil",  "round",   "sign",
    "sin",  "cos",     "tan",     "asin",    "acos",  "atan",  "sinh",    "cosh",
    "asinh", "acosh",  "atanh",   "add",     "sub",   "mul",   "div",     "maximum",
    "minimum", "pow",  "prelu",   "greater", "equal", "greater_equal",    "where"};

/// Appends instructions; a literal's number is fixed up once all are known (`finish`).
class ProgramWriter {
 public:
  explicit ProgramWriter(std::size_t inputs) { program_.inputs = inputs; }

  static constexpr std::size_t kLiteral = std::size_t{1} << 32;

  std::size_t literal(double value) {
    program_.literals.push_back(static_cast<float>(value));
    return kLiteral + program_.literals.size() - 1;
  }
  /// The number of the new value; numbers skip the literals until `finish`.
  std::size_t apply(Function function, std::vector<std::size_t> arguments) {
    program_.instructions.push_back({function, std::move(arguments)});
    return program_.inputs + program_.instructions.size() - 1;
  }
  std::size_t apply(std::string_view name, std::vector<std::size_t> arguments) {
    if (name == "clamp") {
      const std::size_t raised = apply(Function::maximum, {arguments[0], arguments[1]});
      return apply(Function::minimum, {raised, arguments[2]});
    }
    const auto found = std::find(kNames.begin(), kNames.end(), name);
    return apply(static_cast<Function>(found - kNames.begin()), std::move(arguments));
  }

  Program finish() {
    for (Instruction& instruction : program_.instructions) {
      for (std::size_t& argument : instruction.arguments) {
        if (argument >= kLiteral) {
          argument = argument - kLiteral + program_.inputs;
        } else if (argument >= program_.inputs) {
          argument += program_.literals.size();
        }
      }
    }
    return std::move(program_);
  }

 private:
  Program program_;
};

Program read_elementwise(const Node& node) {
  const auto inputs = static_cast<std::size_t>(node.operand_count());
  ProgramWriter writer(inputs);
  std::vector<std::size_t> numbers;  // of the node's values: clamp makes two of ours
  for (std::size_t i = 0; i < inputs; ++i) numbers.push_back(i);
  for (const auto& line : parse_elementwise(node.attributes().strings("program"), inputs)) {
    std::vector<std::size_t> arguments;
    for (const ElementwiseArgument& argument : line.arguments) {
      arguments.push_back(argument.is_literal ? writer.literal(argument.literal)
                                              : numbers[argument.value]);
    }
    numbers.push_back(writer.apply(line.op, std::move(arguments)));
  }
  return writer.finish();
}

Program batch_norm(const Node& node) {
  ProgramWriter writer(5);  // x, scale, bias, mean, var
  const std::size_t epsilon = writer.literal(node.attributes().number("epsilon"));
  const std::size_t variance = writer.apply(Function::add, {4, epsilon});
  const std::size_t inverse = writer.apply(Function::rsqrt, {variance});
  const std::size_t scale = writer.apply(Function::mul, {1, inverse});
  const std::size_t moved = writer.apply(Function::mul, {3, scale});
  const std::size_t shift = writer.apply(Function::sub, {2, moved});
  const std::size_t scaled = writer.apply(Function::mul, {0, scale});
  writer.apply(Function::add, {scaled, shift});
  return writer.finish();
}

/// Leaves out what does not lead to the last instruction.
Program without_dead_code(const Program& program) {
  const std::size_t first = program.first_result();
  std::vector<bool> live(program.values(), false);
  live.back() = true;
  for (std::size_t i = program.instructions.size(); i-- > 0;) {
    if (!live[first + i]) continue;
    for (const std::size_t argument : program.instructions[i].arguments) live[argument] = true;
  }
  Program result{program.inputs, program.literals, {}};
  std::vector<std::size_t> number(program.values());
  for (std::size_t v = 0; v < first; ++v) number[v] = v;
  for (std::size_t i = 0; i < program.instructions.size(); ++i) {
    if (!live[first + i]) continue;
    number[first + i] = first + result.instructions.size();
    Instruction instruction = program.instructions[i];
    for (std::size_t& argument : instruction.arguments) argument = number[argument];
    result.instructions.push_back(std::move(instruction));
  }
  return result;
}

/// where(greater(x, 0), a, 0), the gradient of relu, is one function; what it no longer reads is dead.
Program with_masks(Program program) {
  const auto is_zero = [&](std::size_t value) {
    return value >= program.inputs && value < program.first_result() &&
           program.literals[value - program.inputs] == 0;
  };
  for (Instruction& instruction : program.instructions) {
    if (instruction.function != Function::where || !is_zero(instruction.arguments[2])) continue;
    if (instruction.arguments[0] < program.first_result()) continue;
    const Instruction& condition =
        program.instructions[instruction.arguments[0] - program.first_result()];
    if (condition.function != Function::greater || !is_zero(condition.arguments[1])) continue;
    instruction = {Function::where_positive, {condition.arguments[0], instruction.arguments[1]}};
  }
  return program;
}

}  // namespace

Program make_program(const Node& node) {
  if (node.is("elementwise")) {
    return without_dead_code(with_masks(read_elementwise(node)));
  }
  if (node.is("batch_norm")) return batch_norm(node);
  const auto inputs = static_cast<std::size_t>(node.operand_count());
  ProgramWriter writer(inputs);
  if (node.is("clamp")) {
    const std::size_t low = writer.literal(node.attributes().number("min"));
    const std::size_t high = writer.literal(node.attributes().number("max"));
    writer.apply("clamp", {0, low, high});
  } else if (elementwise_arity(node.kind()) == node.operand_count()) {
    std::vector<std::size_t> arguments;
    for (std::size_t i = 0; i < inputs; ++i) arguments.push_back(i);
    writer.apply(node.kind(), std::move(arguments));
  } else {
    throw failure(
        fmt::format("'{}' ({}) is not an elementwise op", node.kind(), node.provenance().scope));
  }
  return writer.finish();
}

}  // namespace facet::cpu
