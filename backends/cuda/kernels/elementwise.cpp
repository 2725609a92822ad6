#include "backends/cuda/kernels/elementwise.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>
#include <numeric>

#include "backends/cuda/kernels/loops.h"
#include "ir/elementwise_program.h"
#include "ir/error.h"
#include "ir/op.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;

/// Over the result, which is the last stream.
Loops make_loops(std::span<const PlacedView> inputs, const View& result) {
  const std::vector<std::int64_t> extents = static_extents(result.type.shape);
  std::vector<Stream> streams;
  for (const PlacedView& input : inputs) streams.push_back(broadcast_stream(input.view, extents));
  streams.push_back(broadcast_stream(result, extents));
  std::vector<std::size_t> axes(extents.size());
  std::iota(axes.begin(), axes.end(), std::size_t{0});
  return loops_over(axes, extents, streams, streams.size() - 1);
}

/// The program of any such node; value numbers as in ir/elementwise_program.h.
std::vector<ElementwiseInstruction> program_of(const Node& node) {
  const auto inputs = static_cast<std::size_t>(node.operand_count());
  if (node.is("elementwise"))
    return parse_elementwise(node.attributes().strings("program"), inputs);
  if (node.is("cast")) return {};
  ElementwiseInstruction only{std::string(node.kind()), {}};
  for (std::size_t i = 0; i < inputs; ++i) only.arguments.push_back({false, 0, i});
  if (node.is("clamp")) {
    for (const char* bound : {"min", "max"}) {
      only.arguments.push_back({true, node.attributes().number(bound), 0});
    }
  }
  return {only};
}

std::string load_text(const Stream& stream, std::size_t number) {
  const std::int64_t inner = stream.strides.back();
  if (inner == 0) {
    return fmt::format("  const float x{0} = facet::to_float(p{0}[{1}]);\n", number,
                       offset_text(stream));
  }
  const std::string stride = inner == 1 ? "" : fmt::format(", {}", inner);
  return fmt::format("  float x{0}[V];\n  facet::load(x{0}, p{0} + {1}{2});\n", number,
                     offset_text(stream), stride);
}

std::string argument_text(const ElementwiseArgument& argument, const Loops& loops) {
  if (argument.is_literal) return float_literal(argument.literal);
  const std::size_t operands = loops.streams.size() - 1;
  if (argument.value >= operands) return fmt::format("v{}", argument.value);
  const bool varies = loops.streams[argument.value].strides.back() != 0;
  return fmt::format("x{}{}", argument.value, varies ? "[i]" : "");
}

std::string instructions_text(std::span<const ElementwiseInstruction> program, const Loops& loops) {
  const std::size_t operands = loops.streams.size() - 1;
  std::string text;
  for (std::size_t j = 0; j < program.size(); ++j) {
    std::vector<std::string> arguments;
    for (const ElementwiseArgument& argument : program[j].arguments) {
      arguments.push_back(argument_text(argument, loops));
    }
    text += fmt::format("    const float v{} = facet::{}({});\n", operands + j, program[j].op,
                        fmt::join(arguments, ", "));
  }
  const std::string last = program.empty() ? argument_text({false, 0, 0}, loops)
                                           : fmt::format("v{}", operands + program.size() - 1);
  return text + fmt::format("    y[i] = {};\n", last);
}

}  // namespace

bool is_elementwise(const Node& node) {
  if (node.is("cast")) {
    return is_float(node.operand(0).dtype()) && is_float(node.result_types()[0].dtype);
  }
  return node.is("elementwise") || elementwise_arity(node.kind()) > 0;
}

View along_channels(View vector, std::int64_t rank) {
  if (vector.type.rank() != 1 || vector.type.shape == Shape{1} || rank < 3) return vector;
  const std::int64_t stride = vector.strides.at(0);
  vector.type.shape.resize(static_cast<std::size_t>(rank) - 1, Dim(1));
  vector.strides.assign(vector.type.shape.size(), 0);
  vector.strides[0] = stride;
  return vector;
}

KernelSource elementwise_kernel(const Node& node, std::span<const View> operands,
                                const View& result) {
  if (!is_elementwise(node)) {
    throw failure(fmt::format("'{}' is no elementwise function", node.kind()));
  }
  std::vector<View> views(operands.begin(), operands.end());
  if (node.is("prelu")) views[1] = along_channels(views[1], views[0].type.rank());
  return elementwise_kernel(program_of(node), views, result);
}

KernelSource elementwise_kernel(const std::vector<ElementwiseInstruction>& program,
                                std::span<const View> operands, const View& result) {
  std::vector<PlacedView> inputs;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    inputs.push_back({{KernelArgument::Place::operand, static_cast<int>(i)}, operands[i]});
  }
  return elementwise_kernel(program, inputs, {{KernelArgument::Place::result, 0}, result});
}

KernelSource elementwise_kernel(std::span<const ElementwiseInstruction> program,
                                std::span<const PlacedView> inputs, const PlacedView& result) {
  const Loops loops = make_loops(inputs, result.view);
  const int vector = vector_of(loops);
  const std::int64_t elements = loops.elements();
  if (elements > std::numeric_limits<std::int32_t>::max()) {
    throw failure(fmt::format("{} elements are too many for one elementwise kernel", elements));
  }
  const std::int64_t units = elements / vector;
  KernelSource kernel{"facet_elementwise", {}, kThreads, (units + kThreads - 1) / kThreads, {}};
  std::vector<std::string> parameters;
  const Stream& to = loops.streams.back();
  for (std::size_t i = 0; i + 1 < loops.streams.size(); ++i) {
    const Stream& from = loops.streams[i];
    // The memory plan may put the result over an operand that lies as it does.
    const bool may_overlap = from.dtype == to.dtype && from.strides == to.strides;
    kernel.arguments.push_back(inputs[i].place);
    parameters.push_back(fmt::format("const {}*{} p{}", type_name(from.dtype),
                                     may_overlap ? "" : " __restrict__", i));
  }
  kernel.arguments.push_back(result.place);
  parameters.push_back(fmt::format("{}* q", type_name(to.dtype)));
  std::string text = fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}({}) {{\n",
                                 kThreads, kernel.name, fmt::join(parameters, ", "));
  text +=
      fmt::format("  constexpr int V = {};\n  const int unit = blockIdx.x * {} + threadIdx.x;\n",
                  vector, kThreads);
  text += fmt::format("  if (unit >= {}) return;\n  const int first = unit * V;\n", units);
  text += coordinates_text(loops, "first");
  for (std::size_t i = 0; i + 1 < loops.streams.size(); ++i) text += load_text(loops.streams[i], i);
  text += "  float y[V];\n  for (int i = 0; i < V; ++i) {\n";
  text += instructions_text(program, loops);
  const std::string stride = to.strides.back() == 1 ? "" : fmt::format(", {}", to.strides.back());
  text += fmt::format("  }}\n  facet::store(q + {}, y{});\n}}\n", offset_text(to), stride);
  kernel.text = std::move(text);
  return kernel;
}

}  // namespace facet::cuda
