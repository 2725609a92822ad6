#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"

/// Operation graphs as cuDNN takes them, described without it: what a node is lowered to can be
/// printed, compared and used as a key on any machine (CudnnPlanner hands one to cuDNN).
namespace facet::cuda {

/// A tensor of an operation graph. Extents and strides (in elements) are in logical order, images
/// [N, C, H, W], weights [O, C / groups, kh, kw].
struct GraphTensor {
  enum class Place {
    operand,  ///< operand `index` of the node
    result,   ///< result `index` of the node
    scratch,  ///< temporary memory of the node, its part `index`
    inside    ///< never in memory; f32 unless an engine wants otherwise
  };
  Place place = Place::inside;
  int index = 0;
  std::int64_t offset = 0;  ///< elements from the operand's or result's first one
  DType dtype = DType::f32;
  std::vector<std::int64_t> extents;
  std::vector<std::int64_t> strides;
};

enum class GraphOp {
  convolution,       ///< x, weight -> y
  data_gradient,     ///< dy, weight -> dx
  weights_gradient,  ///< dy, x -> dweight
  // Scalar functions of one value, or of two that broadcast; a single setting is the second.
  add,
  subtract,
  multiply,
  divide,
  maximum,
  minimum,
  relu,
  sigmoid,
  negate,
  exp,
  log,
  copy,       ///< the same in another dtype
  transpose,  ///< of the last two axes
  matmul,     ///< a [..., m, k], b [..., k, n] -> [..., m, n]
  reduce_sum,
  reduce_max,         ///< over the axes that have extent 1 in the result
  max_pool,           ///< x -> y; a NaN is the largest, padding is the smallest
  avg_pool,           ///< x -> y; padding counts as zeros
  avg_pool_gradient,  ///< dy -> dx
  /// x, scale, bias, running mean, running variance -> y, mean, 1 / standard deviation, new running
  /// mean, new running variance; settings: epsilon, momentum
  batch_norm,
  /// dy, x, scale, mean, 1 / standard deviation -> dx, dscale, dbias
  batch_norm_gradient
};
std::string_view to_string(GraphOp op);

/// Strides [h, w], pads [top, left, bottom, right], and of a convolution dilations [h, w], of a
/// pooling the kernel's extents [h, w].
struct Window {
  std::vector<std::int64_t> strides;
  std::vector<std::int64_t> pads;
  std::vector<std::int64_t> dilations;
  std::vector<std::int64_t> kernel;
};

/// One operation on tensors by number. It computes in f32, whatever it reads and writes.
struct GraphStep {
  GraphOp op = GraphOp::copy;
  std::vector<int> operands;
  int result = 0;
  Window window;                  ///< of a convolution or pooling and their gradients
  std::vector<int> more_results;  ///< of a batch norm, behind `result`
  std::vector<double> settings;   ///< numbers that are given when the graph runs
};

struct OperationGraph {
  std::vector<GraphTensor> tensors;
  std::vector<GraphStep> steps;  ///< producers before readers
};

/// A line for every tensor in memory and every step. Graphs are equal if and only if their texts
/// are.
std::string to_text(const OperationGraph& graph);

/// Builds a graph step by step.
class GraphWriter {
 public:
  /// The node's operand, result, or a part of it that starts `offset` elements behind its first
  /// one. Throws Error(failure) for a blocked layout.
  int operand(int index, const View& view, std::int64_t offset = 0);
  int result(int index, const View& view, std::int64_t offset = 0);
  /// A value per channel [C], as [1, C, 1, 1]; one number [1] is broadcast. C counts from `offset`
  /// on.
  int channels(int index, const View& view, std::int64_t count, std::int64_t offset = 0);
  int channels_result(int index, const View& view);
  int scratch(int index, const View& view);
  /// Another part of memory, as it is given.
  int add(GraphTensor tensor);
  /// A value that is never in memory, of the shape of `like`.
  int inside(int like);
  /// The same with these extents, row-major.
  int inside(const std::vector<std::int64_t>& extents, DType dtype = DType::f32);

  void step(GraphOp op, std::vector<int> operands, int result, Window window = {});
  void step(GraphStep step) { graph_.steps.push_back(std::move(step)); }
  /// The same into a new value inside, of the shape of the first operand.
  int step(GraphOp op, std::vector<int> operands);
  /// A function of a value and a number that is given when the graph runs.
  int step_by(GraphOp op, int operand, double number);

  /// The graph, in which what was to become the value inside `v` is `result`.
  OperationGraph finish_in(int v, int result);
  OperationGraph finish() { return std::move(graph_); }

 private:
  OperationGraph graph_;
};

}  // namespace facet::cuda
