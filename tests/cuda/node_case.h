#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "backends/reference/reference.h"
#include "ir/op.h"
#include "tests/cuda/host_kernels.h"
#include "tests/cuda/kernel_case.h"
#include "tests/support/op_samples.h"

/// Generated kernels of whole nodes beside the float64 oracle.
namespace facet::test {

/// Makes a node's kernels from its views.
using MakeKernels = std::function<cuda::KernelSequence(const Node&, std::span<const View> operands,
                                                       std::span<const View> results)>;

/// Dense, images and weights channels last if `images` says so.
inline View case_view(Type type, bool images) {
  type.layout = images && type.rank() == 4 ? "acdb" : "";
  return dense_view(type);
}

/// A sample of an op in one type and layout, with the oracle's answer.
struct NodeCase {
  std::string what;
  cuda::KernelSequence sequence;
  std::vector<std::size_t> numbers;  ///< of its kernels
  std::vector<std::vector<std::byte>> operands;
  std::vector<View> operand_views;
  std::vector<View> results;
  std::vector<HostTensor> expected;
};

/// Operands of two axes and more are of `dtype`, statistics and the like stay f32.
inline NodeCase make_node_case(const OpDef& op, Sample sample, DType dtype, bool images,
                               const MakeKernels& make, HostKernels& kernels) {
  testing::SampleCase reference = testing::make_case(op, sample);
  for (auto& [name, tensor] : reference.inputs) {
    tensor = tensor.cast(tensor.shape().size() > 1 ? dtype : DType::f32).cast(DType::f64);
  }
  for (Type& type : sample.operands) {
    if (type.rank() > 1) type.dtype = dtype;
  }
  const testing::SampleCase typed = testing::make_case(op, sample);
  const Node& node = *typed.graph.node_list().back();
  NodeCase result;
  result.what = testing::describe(op, sample) + (images ? " channels last" : "");
  for (int i = 0; i < node.operand_count(); ++i) {
    result.operand_views.push_back(case_view(node.operand(i).type(), images));
    result.operands.push_back(
        lay_out(reference.inputs.at("x" + std::to_string(i)), result.operand_views.back()));
  }
  for (const Type& type : node.result_types()) result.results.push_back(case_view(type, images));
  result.sequence = make(node, result.operand_views, result.results);
  for (const cuda::KernelSource& kernel : result.sequence.kernels) {
    result.numbers.push_back(kernels.add(kernel));
  }
  const TensorMap outputs = evaluate(reference.graph, reference.inputs, {});
  for (std::size_t i = 0; i < result.results.size(); ++i) {
    result.expected.push_back(outputs.at("y" + std::to_string(i)));
  }
  return result;
}

/// Runs the kernels; result 0 lies over operand `over`, unless that is negative.
inline std::vector<HostTensor> run(const NodeCase& c, const HostKernels& kernels, int over = -1) {
  std::vector<std::vector<std::byte>> operands = c.operands;
  std::vector<std::vector<std::byte>> results;
  for (const View& view : c.results) {
    results.push_back(lay_out(HostTensor(view.type.dtype, static_extents(view.type.shape)), view));
  }
  std::vector<float> temporary(static_cast<std::size_t>(c.sequence.scratch_bytes) / sizeof(float) +
                               4);
  const auto address = [&](const cuda::KernelArgument& argument) -> void* {
    const auto index = static_cast<std::size_t>(argument.index);
    using enum cuda::KernelArgument::Place;
    if (argument.place == operand) return operands.at(index).data();
    if (argument.place != result) return temporary.data();
    const bool is_over = index == 0 && over >= 0;
    return is_over ? operands.at(static_cast<std::size_t>(over)).data() : results.at(index).data();
  };
  for (std::size_t k = 0; k < c.numbers.size(); ++k) {
    std::vector<void*> parameters;
    for (const cuda::KernelArgument& argument : c.sequence.kernels[k].arguments) {
      parameters.push_back(address(argument));
    }
    kernels.run(c.numbers[k], parameters);
  }
  if (over >= 0) results[0] = operands.at(static_cast<std::size_t>(over));
  std::vector<HostTensor> found;
  for (std::size_t i = 0; i < results.size(); ++i) {
    found.push_back(take_out(results[i], c.results[i]));
  }
  return found;
}

}  // namespace facet::test
