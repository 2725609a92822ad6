#include "backends/cuda/cudnn_graph.h"

#include <fmt/format.h>

#include <numeric>
#include <span>

#include "backends/cuda/device_views.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

Descriptor make_tensor(const GraphTensor& tensor, int number) {
  Descriptor descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR, fmt::format("tensor {}", number));
  // A part of an operand may start anywhere.
  const std::int64_t alignment = std::gcd(kAlignment, tensor.offset * size_of(tensor.dtype));
  descriptor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, tensor_id(static_cast<std::size_t>(number)));
  descriptor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, data_type(tensor.dtype));
  descriptor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, tensor.extents);
  descriptor.set(CUDNN_ATTR_TENSOR_STRIDES, tensor.strides);
  descriptor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
  descriptor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, tensor.place == GraphTensor::Place::inside);
  descriptor.finalize();
  return descriptor;
}

}  // namespace

CudnnGraph::CudnnGraph(const OperationGraph& graph, cudnnHandle_t handle)
    : graph_(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "operation graph") {
  try {
    build(graph, handle);
  } catch (Error& error) {
    error.add_context("giving cuDNN the graph\n" + to_text(graph));
    throw;
  }
}

void CudnnGraph::build(const OperationGraph& graph, cudnnHandle_t handle) {
  const auto place = [&](int number) {
    if (parts_.has_tensor(number)) return;
    const GraphTensor& tensor = graph.tensors[static_cast<std::size_t>(number)];
    parts_.keep_tensor(number, make_tensor(tensor, number));
  };
  std::vector<Descriptor> operations;
  for (const GraphStep& step : graph.steps) {
    for (const int operand : step.operands) place(operand);
    place(step.result);
    for (const int result : step.more_results) place(result);
    const auto number = static_cast<std::size_t>(&step - graph.steps.data());
    operations.push_back(make_operation(step, number, parts_));
    operations.back().finalize();
  }
  if (handle != nullptr) graph_.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle);
  graph_.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, std::span<const Descriptor>(operations));
  graph_.finalize();
  for (Descriptor& operation : operations) parts_.keep(std::move(operation));
}

}  // namespace facet::cuda
