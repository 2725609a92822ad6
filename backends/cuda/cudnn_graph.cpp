#include "backends/cuda/cudnn_graph.h"

#include <fmt/format.h>

#include <map>
#include <numeric>

#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr std::int64_t kAlignment = 16;  // bytes, of every operand and result

Descriptor make_tensor(const GraphTensor& tensor, int number) {
  Descriptor descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR, fmt::format("tensor {}", number));
  // A part of an operand may start anywhere.
  const std::int64_t alignment = std::gcd(kAlignment, tensor.offset * size_of(tensor.dtype));
  descriptor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, std::int64_t{number} + 1);
  descriptor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, data_type(tensor.dtype));
  descriptor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, tensor.extents);
  descriptor.set(CUDNN_ATTR_TENSOR_STRIDES, tensor.strides);
  descriptor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
  descriptor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, tensor.place == GraphTensor::Place::inside);
  descriptor.finalize();
  return descriptor;
}

Descriptor make_window(const Window& window) {
  Descriptor descriptor(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, "window");
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  descriptor.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  descriptor.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE,
                 std::span(&mode, 1));
  descriptor.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2});
  descriptor.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, window.strides);
  descriptor.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, window.dilations);
  descriptor.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {window.pads[0], window.pads[1]});
  descriptor.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {window.pads[2], window.pads[3]});
  descriptor.finalize();
  return descriptor;
}

/// Attributes of a convolution operation, by direction.
struct ConvolutionNames {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t first, second, result, window, alpha, beta;
};

ConvolutionNames convolution_names(GraphOp op) {
  if (op == GraphOp::convolution) {
    return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
  }
  if (op == GraphOp::data_gradient) {
    return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
  }
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
}

cudnnPointwiseMode_t pointwise_mode(GraphOp op) {
  switch (op) {
    case GraphOp::add:
      return CUDNN_POINTWISE_ADD;
    case GraphOp::subtract:
      return CUDNN_POINTWISE_SUB;
    case GraphOp::multiply:
      return CUDNN_POINTWISE_MUL;
    case GraphOp::relu:
      return CUDNN_POINTWISE_RELU_FWD;
    case GraphOp::sigmoid:
      return CUDNN_POINTWISE_SIGMOID_FWD;
    case GraphOp::negate:
      return CUDNN_POINTWISE_NEG;
    case GraphOp::copy:
      return CUDNN_POINTWISE_IDENTITY;
    default:
      throw failure(fmt::format("'{}' is no pointwise operation", to_string(op)));
  }
}

/// Makes one operation; what it refers to is kept in `parts`.
Descriptor make_convolution(const GraphStep& step, const std::map<int, std::size_t>& places,
                            std::vector<Descriptor>& parts) {
  const ConvolutionNames names = convolution_names(step.op);
  parts.push_back(make_window(step.window));
  Descriptor operation(names.type, std::string(to_string(step.op)));
  operation.set(names.window, parts.back());
  operation.set(names.first, parts[places.at(step.operands[0])]);
  operation.set(names.second, parts[places.at(step.operands[1])]);
  operation.set(names.result, parts[places.at(step.result)]);
  operation.set(names.alpha, 1.0F);
  operation.set(names.beta, 0.0F);
  return operation;
}

Descriptor make_pointwise(const GraphStep& step, const std::map<int, std::size_t>& places,
                          std::vector<Descriptor>& parts) {
  const cudnnPointwiseMode_t mode = pointwise_mode(step.op);
  Descriptor description(CUDNN_BACKEND_POINTWISE_DESCRIPTOR, "kind of pointwise operation");
  description.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, std::span(&mode, 1));
  description.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  description.finalize();
  parts.push_back(std::move(description));
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                       std::string(to_string(step.op)));
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, parts.back());
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, parts[places.at(step.operands[0])]);
  if (step.operands.size() > 1) {
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, parts[places.at(step.operands[1])]);
  }
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, parts[places.at(step.result)]);
  return operation;
}

/// A number that is no tensor in memory.
Descriptor make_setting(std::int64_t id) {
  const std::vector<std::int64_t> one{1, 1, 1, 1};
  Descriptor descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR, fmt::format("setting {}", id));
  descriptor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
  descriptor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_FLOAT);
  descriptor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, one);
  descriptor.set(CUDNN_ATTR_TENSOR_STRIDES, one);
  descriptor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, kAlignment);
  descriptor.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true);
  descriptor.finalize();
  return descriptor;
}

Descriptor make_batch_norm(const GraphStep& step, std::size_t number,
                           const std::map<int, std::size_t>& places,
                           std::vector<Descriptor>& parts) {
  constexpr cudnnBackendNormMode_t kMode = CUDNN_BATCH_NORM;
  const auto set = [&](Descriptor& operation, cudnnBackendAttributeName_t name, int tensor) {
    operation.set(name, parts[places.at(tensor)]);
  };
  if (step.op == GraphOp::batch_norm_gradient) {
    Descriptor operation(CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR, "batch_norm_gradient");
    operation.set(CUDNN_ATTR_OPERATION_NORM_BWD_MODE, CUDNN_TYPE_NORM_MODE, std::span(&kMode, 1));
    set(operation, CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC, step.operands[0]);
    set(operation, CUDNN_ATTR_OPERATION_NORM_BWD_XDESC, step.operands[1]);
    set(operation, CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC, step.operands[2]);
    set(operation, CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC, step.operands[3]);
    set(operation, CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC, step.operands[4]);
    set(operation, CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC, step.result);
    set(operation, CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC, step.more_results[0]);
    set(operation, CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC, step.more_results[1]);
    return operation;
  }
  constexpr cudnnBackendNormFwdPhase_t kPhase = CUDNN_NORM_FWD_TRAINING;
  Descriptor operation(CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR, "batch_norm");
  operation.set(CUDNN_ATTR_OPERATION_NORM_FWD_MODE, CUDNN_TYPE_NORM_MODE, std::span(&kMode, 1));
  operation.set(CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, CUDNN_TYPE_NORM_FWD_PHASE,
                std::span(&kPhase, 1));
  set(operation, CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, step.operands[0]);
  set(operation, CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC, step.operands[1]);
  set(operation, CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, step.operands[2]);
  set(operation, CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_MEAN_DESC, step.operands[3]);
  set(operation, CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_VAR_DESC, step.operands[4]);
  set(operation, CUDNN_ATTR_OPERATION_NORM_FWD_YDESC, step.result);
  set(operation, CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC, step.more_results[0]);
  set(operation, CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC, step.more_results[1]);
  set(operation, CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_MEAN_DESC, step.more_results[2]);
  set(operation, CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_VAR_DESC, step.more_results[3]);
  parts.push_back(make_setting(setting_id(number, 0)));
  operation.set(CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC, parts.back());
  parts.push_back(make_setting(setting_id(number, 1)));
  operation.set(CUDNN_ATTR_OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC, parts.back());
  return operation;
}

bool is_batch_norm(GraphOp op) {
  return op == GraphOp::batch_norm || op == GraphOp::batch_norm_gradient;
}

}  // namespace

CudnnGraph::CudnnGraph(const OperationGraph& graph)
    : graph_(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "operation graph") {
  try {
    build(graph);
  } catch (Error& error) {
    error.add_context("giving cuDNN the graph\n" + to_text(graph));
    throw;
  }
}

void CudnnGraph::build(const OperationGraph& graph) {
  std::map<int, std::size_t> places;  // of tensors in parts_
  const auto place = [&](int number) {
    if (places.contains(number)) return;
    parts_.push_back(make_tensor(graph.tensors[static_cast<std::size_t>(number)], number));
    places[number] = parts_.size() - 1;
  };
  std::vector<Descriptor> operations;
  for (const GraphStep& step : graph.steps) {
    for (const int operand : step.operands) place(operand);
    place(step.result);
    for (const int result : step.more_results) place(result);
    if (!step.window.strides.empty()) {
      operations.push_back(make_convolution(step, places, parts_));
    } else if (is_batch_norm(step.op)) {
      const auto number = static_cast<std::size_t>(&step - graph.steps.data());
      operations.push_back(make_batch_norm(step, number, places, parts_));
    } else {
      operations.push_back(make_pointwise(step, places, parts_));
    }
    operations.back().finalize();
  }
  graph_.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, std::span<const Descriptor>(operations));
  graph_.finalize();
  for (Descriptor& operation : operations) parts_.push_back(std::move(operation));
}

}  // namespace facet::cuda
