#include "backends/cuda/kernels/batch_norm_apply.h"

#include <fmt/format.h>

#include "backends/cuda/kernels/elementwise.h"
#include "ir/error.h"

namespace facet::cuda {

bool is_batch_norm_apply(const Node& node) {
  return node.is("batch_norm_apply") && is_float(node.operand(0).dtype());
}

KernelSequence batch_norm_apply_kernels(const Node& node, std::span<const View> operands,
                                        const View& result) {
  if (!is_batch_norm_apply(node)) {
    throw failure(fmt::format("'{}' is no batch_norm_apply", node.kind()));
  }
  // Operands x, scale, bias, mean, inv_std and what the tail reads; values are numbered behind
  // them.
  const std::size_t inputs = operands.size();
  std::vector<std::string> program{"sub 0 3", fmt::format("mul {} 4", inputs),
                                   fmt::format("mul {} 1", inputs + 1),
                                   fmt::format("add {} 2", inputs + 2)};
  for (const std::string& word : node.attributes().strings("tail")) {
    const std::size_t last = inputs + program.size() - 1;
    program.push_back(word == "relu" ? fmt::format("relu {}", last)
                                     : fmt::format("{} {} 5", word, last));
  }
  std::vector<View> views(operands.begin(), operands.end());
  for (std::size_t i = 1; i < views.size(); ++i) {
    views[i] = along_channels(views[i], views[0].type.rank());
  }
  return {{elementwise_kernel(parse_elementwise(program, inputs), views, result)}, 0};
}

}  // namespace facet::cuda
