#pragma once

#include <map>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "ir/host_tensor.h"

namespace facet::reference {

using Extents = std::vector<std::int64_t>;

/// What an evaluator sees of one node. Operands are row-major f64 tensors.
struct Call {
  const Node& node;
  std::vector<HostTensor> operands;
  std::vector<Extents> result_shapes;  ///< from the node's types, symbols resolved
  const TensorMap& inputs;
  const TensorMap& parameters;

  const Attributes& attributes() const { return node.attributes(); }
  const HostTensor& operand(int i) const { return operands.at(static_cast<std::size_t>(i)); }
  const Extents& shape() const { return result_shapes.at(0); }
  /// A zeroed tensor for result 0.
  HostTensor result() const { return HostTensor(DType::f64, shape()); }
};

/// The op's results, one f64 tensor each; they may share the bytes of an operand.
using Evaluator = std::vector<HostTensor> (*)(const Call& call);
using EvaluatorTable = std::map<std::string_view, Evaluator>;

/// Every op's evaluator by name: built once, then read-only.
const EvaluatorTable& evaluators();

// The op families; each adds its ops to the table.
void add_leaf_ops(EvaluatorTable& table);
void add_convolution_ops(EvaluatorTable& table);
void add_convolution_backward_ops(EvaluatorTable& table);
void add_matrix_ops(EvaluatorTable& table);
void add_normalization_ops(EvaluatorTable& table);
void add_elementwise_ops(EvaluatorTable& table);
void add_reduction_ops(EvaluatorTable& table);
void add_pooling_ops(EvaluatorTable& table);
void add_training_ops(EvaluatorTable& table);
void add_shape_ops(EvaluatorTable& table);
void add_attention_ops(EvaluatorTable& table);
void add_score_moments_ops(EvaluatorTable& table);
void add_gate_ops(EvaluatorTable& table);
void add_label_ops(EvaluatorTable& table);
void add_update_ops(EvaluatorTable& table);
void add_volume_ops(EvaluatorTable& table);
void add_windowed_max_ops(EvaluatorTable& table);
void add_resize_ops(EvaluatorTable& table);
void add_deform_ops(EvaluatorTable& table);
void add_layer_norm_ops(EvaluatorTable& table);
void add_whole_number_ops(EvaluatorTable& table);
void add_line_ops(EvaluatorTable& table);
void add_indexing_ops(EvaluatorTable& table);
void add_grid_sample_ops(EvaluatorTable& table);
void add_roi_align_ops(EvaluatorTable& table);

/// Product of extents [first, last).
std::int64_t product(const Extents& extents, std::size_t first, std::size_t last);
inline std::int64_t product(const Extents& extents) { return product(extents, 0, extents.size()); }
/// `axis` counted from the front; a negative one counts from the end.
inline std::size_t normal_axis(std::int64_t axis, std::int64_t rank) {
  return static_cast<std::size_t>(axis < 0 ? axis + rank : axis);
}

}  // namespace facet::reference
