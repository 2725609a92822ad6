#include "backends/cpu/recipe.h"

namespace facet::cpu {
namespace {

std::vector<EpilogueEntry> epilogue_or_none(const Node& node) {
  return node.attributes().has("epilogue") ? epilogue_of(node) : std::vector<EpilogueEntry>{};
}

}  // namespace

Type with_static_batch(Type type) {
  constexpr std::int64_t kBatch = 2;
  for (Dim& dim : type.shape) {
    if (!dim.is_static()) dim = Dim(dim.factor * kBatch);
  }
  return type;
}

Request request_of(const Node& node) {
  Request request;
  request.node = &node;
  request.epilogue = epilogue_or_none(node);
  for (const Value& operand : node.operands()) {
    request.operands.push_back(dense_view(with_static_batch(operand.type())));
  }
  request.result = dense_view(with_static_batch(node.result_types()[0]));
  return request;
}

Request request_of(const Node& node, std::span<const View> operands, const View& result) {
  return {&node, epilogue_or_none(node), {operands.begin(), operands.end()}, result};
}

dnnl::memory::data_type compute_type(const Request& request) {
  const bool low = request.operands[0].type.dtype == DType::bf16 &&
                   request.operands[1].type.dtype == DType::bf16;
  return low ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

}  // namespace facet::cpu
