#include "backends/reference/evaluators.h"

namespace facet::reference {

const EvaluatorTable& evaluators() {
  static const EvaluatorTable table = [] {
    EvaluatorTable all;
    add_leaf_ops(all);
    add_convolution_ops(all);
    add_convolution_backward_ops(all);
    add_matrix_ops(all);
    add_normalization_ops(all);
    add_elementwise_ops(all);
    add_reduction_ops(all);
    add_pooling_ops(all);
    add_training_ops(all);
    add_shape_ops(all);
    add_attention_ops(all);
    add_score_moments_ops(all);
    add_gate_ops(all);
    add_label_ops(all);
    add_update_ops(all);
    add_volume_ops(all);
    add_windowed_max_ops(all);
    add_resize_ops(all);
    add_deform_ops(all);
    add_layer_norm_ops(all);
    add_whole_number_ops(all);
    add_line_ops(all);
    add_indexing_ops(all);
    add_grid_sample_ops(all);
    add_roi_align_ops(all);
    return all;
  }();
  return table;
}

std::int64_t product(const Extents& extents, std::size_t first, std::size_t last) {
  std::int64_t count = 1;
  for (std::size_t i = first; i < last; ++i) count *= extents[i];
  return count;
}

}  // namespace facet::reference
