#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/kernels/vector.h"

namespace facet::cpu {

/// One scalar function over value numbers: the inputs come first, then the literals, then the
/// results of the instructions in order.
struct Instruction {
  Function function;
  std::vector<std::size_t> arguments;
};

/// What an elementwise node computes, whatever op it is.
struct Program {
  std::size_t inputs = 0;
  std::vector<float> literals;
  std::vector<Instruction> instructions;

  std::size_t first_result() const { return inputs + literals.size(); }
  std::size_t values() const { return first_result() + instructions.size(); }
};

/// The program of a unary or binary node, clamp, prelu, batch_norm or `elementwise`; instructions
/// whose result nothing reads are left out. batch_norm is x * s + (bias - mean * s) with
/// s = scale / sqrt(var + epsilon). Throws Error(failure) for another op.
Program make_program(const Node& node);

/// A value that a stage reads: operand or literal `index`, or the scratch bytes from `index` on.
struct Source {
  enum class Place { operand, literal, scratch } place = Place::operand;
  std::size_t index = 0;
  Float type = Float::f32;
  std::vector<std::int64_t> strides;  ///< per loop of the stage, in elements
};

/// A value that a stage leaves in memory: in result 0, or in scratch as f32.
struct Sink {
  std::size_t value = 0;  ///< stage value number
  bool is_result = false;
  std::size_t index = 0;  ///< byte in the scratch
  Float type = Float::f32;
  std::vector<std::int64_t> strides;
};

/// Instructions over one iteration space. Values are the sources, then the instructions' results;
/// every instruction's result varies along every loop.
struct Stage {
  std::vector<std::int64_t> extents;
  std::vector<Source> sources;
  std::vector<Instruction> instructions;
  std::vector<Sink> sinks;
};

struct StagedProgram {
  std::vector<float> literals;
  std::vector<Stage> stages;  ///< in the order they run
  std::size_t scratch_bytes = 0;
};

/// Splits a program by what its values vary along: what depends on fewer axes than the result (the
/// gate's map, batch_norm's scale) is computed once, in a stage of its own, and kept in scratch.
/// Products whose only reader adds to them become multiply_add, sums under a relu add_relu.
StagedProgram make_stages(const Node& node, const Program& program, std::span<const View> operands,
                          const View& result);

}  // namespace facet::cpu
