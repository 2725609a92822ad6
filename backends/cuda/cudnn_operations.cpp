#include "backends/cuda/cudnn_operations.h"

#include <fmt/format.h>

#include "backends/cuda/cudnn_graph.h"
#include "backends/cuda/device_views.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

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

cudnnPointwiseMode_t pointwise_mode(GraphOp op) {
  switch (op) {
    case GraphOp::add:
      return CUDNN_POINTWISE_ADD;
    case GraphOp::subtract:
      return CUDNN_POINTWISE_SUB;
    case GraphOp::multiply:
      return CUDNN_POINTWISE_MUL;
    case GraphOp::divide:
      return CUDNN_POINTWISE_DIV;
    case GraphOp::maximum:
      return CUDNN_POINTWISE_MAX;
    case GraphOp::minimum:
      return CUDNN_POINTWISE_MIN;
    case GraphOp::exp:
      return CUDNN_POINTWISE_EXP;
    case GraphOp::log:
      return CUDNN_POINTWISE_LOG;
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

Descriptor make_convolution(const GraphStep& step, GraphParts& parts) {
  const ConvolutionNames names = convolution_names(step.op);
  Descriptor operation(names.type, std::string(to_string(step.op)));
  operation.set(names.window, parts.keep(make_window(step.window)));
  operation.set(names.first, parts.tensor(step.operands[0]));
  operation.set(names.second, parts.tensor(step.operands[1]));
  operation.set(names.result, parts.tensor(step.result));
  operation.set(names.alpha, 1.0F);
  operation.set(names.beta, 0.0F);
  return operation;
}

Descriptor make_pointwise(const GraphStep& step, std::size_t number, GraphParts& parts) {
  const cudnnPointwiseMode_t mode = pointwise_mode(step.op);
  Descriptor description(CUDNN_BACKEND_POINTWISE_DESCRIPTOR, "kind of pointwise operation");
  description.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, std::span(&mode, 1));
  description.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  description.finalize();
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                       std::string(to_string(step.op)));
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, parts.keep(std::move(description)));
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, parts.tensor(step.operands[0]));
  if (step.operands.size() > 1) {
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, parts.tensor(step.operands[1]));
  } else if (!step.settings.empty()) {
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
                  parts.keep(make_setting(setting_id(number, 0))));
  }
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, parts.tensor(step.result));
  return operation;
}

Descriptor make_batch_norm(const GraphStep& step, std::size_t number, GraphParts& parts) {
  constexpr cudnnBackendNormMode_t kMode = CUDNN_BATCH_NORM;
  const auto set = [&](Descriptor& operation, cudnnBackendAttributeName_t name, int tensor) {
    operation.set(name, parts.tensor(tensor));
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
  operation.set(CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC,
                parts.keep(make_setting(setting_id(number, 0))));
  operation.set(CUDNN_ATTR_OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC,
                parts.keep(make_setting(setting_id(number, 1))));
  return operation;
}

Descriptor make_matmul(const GraphStep& step, GraphParts& parts) {
  Descriptor description(CUDNN_BACKEND_MATMUL_DESCRIPTOR, "kind of matmul");
  description.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
  description.finalize();
  Descriptor operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, "matmul");
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, parts.keep(std::move(description)));
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, parts.tensor(step.operands[0]));
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, parts.tensor(step.operands[1]));
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, parts.tensor(step.result));
  return operation;
}

Descriptor make_reduction(const GraphStep& step, GraphParts& parts) {
  const cudnnReduceTensorOp_t kind =
      step.op == GraphOp::reduce_max ? CUDNN_REDUCE_TENSOR_MAX : CUDNN_REDUCE_TENSOR_ADD;
  Descriptor description(CUDNN_BACKEND_REDUCTION_DESCRIPTOR, "kind of reduction");
  description.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE,
                  std::span(&kind, 1));
  description.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  description.finalize();
  Descriptor operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR,
                       std::string(to_string(step.op)));
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, parts.keep(std::move(description)));
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, parts.tensor(step.operands[0]));
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, parts.tensor(step.result));
  return operation;
}

Descriptor make_transpose(const GraphStep& step, GraphParts& parts) {
  Descriptor operation(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, "transpose");
  operation.set(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, parts.tensor(step.operands[0]));
  operation.set(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, parts.tensor(step.result));
  return operation;
}

Descriptor make_pooling(const GraphStep& step, GraphParts& parts) {
  const bool is_max = step.op == GraphOp::max_pool;
  const cudnnResampleMode_t mode =
      is_max ? CUDNN_RESAMPLE_MAXPOOL : CUDNN_RESAMPLE_AVGPOOL_INCLUDE_PADDING;
  const cudnnPaddingMode_t padding = is_max ? CUDNN_NEG_INF_PAD : CUDNN_ZERO_PAD;
  const cudnnNanPropagation_t nan = CUDNN_PROPAGATE_NAN;
  const Window& window = step.window;
  Descriptor description(CUDNN_BACKEND_RESAMPLE_DESCRIPTOR, "window");
  description.set(CUDNN_ATTR_RESAMPLE_MODE, CUDNN_TYPE_RESAMPLE_MODE, std::span(&mode, 1));
  description.set(CUDNN_ATTR_RESAMPLE_PADDING_MODE, CUDNN_TYPE_PADDING_MODE,
                  std::span(&padding, 1));
  description.set(CUDNN_ATTR_RESAMPLE_NAN_PROPAGATION, CUDNN_TYPE_NAN_PROPOGATION,
                  std::span(&nan, 1));
  description.set(CUDNN_ATTR_RESAMPLE_COMP_TYPE, CUDNN_DATA_FLOAT);
  description.set(CUDNN_ATTR_RESAMPLE_SPATIAL_DIMS, std::int64_t{2});
  description.set(CUDNN_ATTR_RESAMPLE_WINDOW_DIMS, window.kernel);
  description.set(CUDNN_ATTR_RESAMPLE_STRIDES, window.strides);
  description.set(CUDNN_ATTR_RESAMPLE_PRE_PADDINGS, {window.pads[0], window.pads[1]});
  description.set(CUDNN_ATTR_RESAMPLE_POST_PADDINGS, {window.pads[2], window.pads[3]});
  description.finalize();
  const Descriptor& kept = parts.keep(std::move(description));
  if (step.op == GraphOp::avg_pool_gradient) {
    Descriptor operation(CUDNN_BACKEND_OPERATION_RESAMPLE_BWD_DESCRIPTOR, "avg_pool_gradient");
    operation.set(CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DYDESC, parts.tensor(step.operands[0]));
    operation.set(CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DXDESC, parts.tensor(step.result));
    operation.set(CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DESC, kept);
    return operation;
  }
  Descriptor operation(CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR,
                       std::string(to_string(step.op)));
  operation.set(CUDNN_ATTR_OPERATION_RESAMPLE_FWD_XDESC, parts.tensor(step.operands[0]));
  operation.set(CUDNN_ATTR_OPERATION_RESAMPLE_FWD_YDESC, parts.tensor(step.result));
  operation.set(CUDNN_ATTR_OPERATION_RESAMPLE_FWD_DESC, kept);
  return operation;
}

}  // namespace

Descriptor make_operation(const GraphStep& step, std::size_t number, GraphParts& parts) {
  switch (step.op) {
    case GraphOp::convolution:
    case GraphOp::data_gradient:
    case GraphOp::weights_gradient:
      return make_convolution(step, parts);
    case GraphOp::batch_norm:
    case GraphOp::batch_norm_gradient:
      return make_batch_norm(step, number, parts);
    case GraphOp::matmul:
      return make_matmul(step, parts);
    case GraphOp::reduce_sum:
    case GraphOp::reduce_max:
      return make_reduction(step, parts);
    case GraphOp::transpose:
      return make_transpose(step, parts);
    case GraphOp::max_pool:
    case GraphOp::avg_pool:
    case GraphOp::avg_pool_gradient:
      return make_pooling(step, parts);
    default:
      return make_pointwise(step, number, parts);
  }
}

}  // namespace facet::cuda
