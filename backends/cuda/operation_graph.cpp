#include "backends/cuda/operation_graph.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ir/error.h"

namespace facet::cuda {
namespace {

/// Row-major over the axes in the order N, H, W, C: how images lie on the device.
std::vector<std::int64_t> channels_last(const std::vector<std::int64_t>& e) {
  return {e[1] * e[2] * e[3], 1, e[3] * e[1], e[1]};
}

std::vector<std::int64_t> row_major(const std::vector<std::int64_t>& extents) {
  std::vector<std::int64_t> strides(extents.size(), 1);
  for (std::size_t i = extents.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * extents[i];
  return strides;
}

GraphTensor in_memory(GraphTensor::Place place, int index, const View& view, std::int64_t offset) {
  GraphTensor tensor{place,       index, offset, view.type.dtype, static_extents(view.type.shape),
                     view.strides};
  if (is_blocked(view.type.layout) || tensor.strides.size() != tensor.extents.size()) {
    throw failure(fmt::format("the GPU reads plain layouts, not {}", to_string(view.type)));
  }
  return tensor;
}

std::string name(const OperationGraph& graph, int number) {
  const GraphTensor& tensor = graph.tensors[static_cast<std::size_t>(number)];
  const std::string offset = tensor.offset != 0 ? fmt::format("+{}", tensor.offset) : "";
  switch (tensor.place) {
    case GraphTensor::Place::operand:
      return fmt::format("operand{}{}", tensor.index, offset);
    case GraphTensor::Place::result:
      return fmt::format("result{}{}", tensor.index, offset);
    case GraphTensor::Place::scratch:
      return fmt::format("scratch{}{}", tensor.index, offset);
    default:
      return fmt::format("%{}", number);
  }
}

}  // namespace

std::string_view to_string(GraphOp op) {
  switch (op) {
    case GraphOp::convolution:
      return "convolution";
    case GraphOp::data_gradient:
      return "data_gradient";
    case GraphOp::weights_gradient:
      return "weights_gradient";
    case GraphOp::add:
      return "add";
    case GraphOp::subtract:
      return "subtract";
    case GraphOp::multiply:
      return "multiply";
    case GraphOp::divide:
      return "divide";
    case GraphOp::maximum:
      return "maximum";
    case GraphOp::minimum:
      return "minimum";
    case GraphOp::relu:
      return "relu";
    case GraphOp::sigmoid:
      return "sigmoid";
    case GraphOp::negate:
      return "negate";
    case GraphOp::exp:
      return "exp";
    case GraphOp::log:
      return "log";
    case GraphOp::copy:
      return "copy";
    case GraphOp::transpose:
      return "transpose";
    case GraphOp::matmul:
      return "matmul";
    case GraphOp::reduce_sum:
      return "reduce_sum";
    case GraphOp::reduce_max:
      return "reduce_max";
    case GraphOp::max_pool:
      return "max_pool";
    case GraphOp::avg_pool:
      return "avg_pool";
    case GraphOp::avg_pool_gradient:
      return "avg_pool_gradient";
    case GraphOp::batch_norm:
      return "batch_norm";
    case GraphOp::batch_norm_gradient:
      return "batch_norm_gradient";
  }
  return "";
}

std::string to_text(const OperationGraph& graph) {
  std::string text;
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    const GraphTensor& tensor = graph.tensors[i];
    if (tensor.place == GraphTensor::Place::inside) continue;
    text += fmt::format("{} : {}[{}] strides [{}]\n", name(graph, static_cast<int>(i)),
                        to_string(tensor.dtype), fmt::join(tensor.extents, ", "),
                        fmt::join(tensor.strides, ", "));
  }
  for (const GraphStep& step : graph.steps) {
    std::vector<std::string> operands;
    for (const int operand : step.operands) operands.push_back(name(graph, operand));
    std::string results = name(graph, step.result);
    for (const int result : step.more_results) results += ", " + name(graph, result);
    text += fmt::format("{} = {}({})", results, to_string(step.op), fmt::join(operands, ", "));
    if (!step.settings.empty())
      text += fmt::format(" settings [{}]", fmt::join(step.settings, ", "));
    const Window& window = step.window;
    if (!window.strides.empty()) {
      text += fmt::format(" strides [{}] pads [{}]", fmt::join(window.strides, ", "),
                          fmt::join(window.pads, ", "));
    }
    if (!window.dilations.empty()) {
      text += fmt::format(" dilations [{}]", fmt::join(window.dilations, ", "));
    }
    if (!window.kernel.empty()) text += fmt::format(" kernel [{}]", fmt::join(window.kernel, ", "));
    const GraphTensor& result = graph.tensors[static_cast<std::size_t>(step.result)];
    if (result.place == GraphTensor::Place::inside) {
      text += fmt::format(" : {}[{}]", to_string(result.dtype), fmt::join(result.extents, ", "));
    }
    text += "\n";
  }
  return text;
}

int GraphWriter::add(GraphTensor tensor) {
  graph_.tensors.push_back(std::move(tensor));
  return static_cast<int>(graph_.tensors.size()) - 1;
}

int GraphWriter::operand(int index, const View& view, std::int64_t offset) {
  return add(in_memory(GraphTensor::Place::operand, index, view, offset));
}

int GraphWriter::result(int index, const View& view, std::int64_t offset) {
  return add(in_memory(GraphTensor::Place::result, index, view, offset));
}

int GraphWriter::channels(int index, const View& view, std::int64_t count, std::int64_t offset) {
  GraphTensor tensor = in_memory(GraphTensor::Place::operand, index, view, offset);
  const bool is_one_number = tensor.extents == std::vector<std::int64_t>{1};
  tensor.extents = {1, is_one_number ? 1 : count, 1, 1};
  tensor.strides = channels_last(tensor.extents);
  if (is_one_number) tensor.offset = 0;
  return add(std::move(tensor));
}

int GraphWriter::channels_result(int index, const View& view) {
  GraphTensor tensor = in_memory(GraphTensor::Place::result, index, view, 0);
  tensor.extents = {1, tensor.extents[0], 1, 1};
  tensor.strides = channels_last(tensor.extents);
  return add(std::move(tensor));
}

int GraphWriter::scratch(int index, const View& view) {
  return add(in_memory(GraphTensor::Place::scratch, index, view, 0));
}

int GraphWriter::inside(int like) {
  const GraphTensor& model = graph_.tensors[static_cast<std::size_t>(like)];
  GraphTensor tensor;
  tensor.extents = model.extents;
  tensor.strides =
      model.place == GraphTensor::Place::inside ? model.strides : channels_last(model.extents);
  return add(std::move(tensor));
}

int GraphWriter::inside(const std::vector<std::int64_t>& extents, DType dtype) {
  GraphTensor tensor;
  tensor.dtype = dtype;
  tensor.extents = extents;
  tensor.strides = row_major(extents);
  return add(std::move(tensor));
}

void GraphWriter::step(GraphOp op, std::vector<int> operands, int result, Window window) {
  graph_.steps.push_back({op, std::move(operands), result, std::move(window), {}, {}});
}

OperationGraph GraphWriter::finish_in(int v, int result) {
  for (GraphStep& step : graph_.steps) {
    if (step.result == v) step.result = result;
  }
  return finish();
}

int GraphWriter::step(GraphOp op, std::vector<int> operands) {
  const int result = inside(operands[0]);
  step(op, std::move(operands), result);
  return result;
}

int GraphWriter::step_by(GraphOp op, int operand, double number) {
  GraphStep step;
  step.op = op;
  step.operands = {operand};
  step.result = inside(operand);
  step.settings = {number};
  graph_.steps.push_back(step);
  return step.result;
}

}  // namespace facet::cuda
