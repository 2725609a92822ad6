#include "backends/cuda/device_views.h"

namespace facet::cuda {
namespace {

constexpr std::int64_t kSymbolStandIn = 8;

}  // namespace

View device_view(Type type) {
  for (Dim& dim : type.shape) {
    if (!dim.is_static()) dim = Dim(dim.factor * kSymbolStandIn);
  }
  type.layout = type.rank() == 4 ? "acdb" : "";
  return dense_view(type);
}

std::vector<View> operand_views(const Node& node) {
  std::vector<View> views;
  for (const Value& value : node.operands()) views.push_back(device_view(value.type()));
  return views;
}

std::vector<View> result_views(const Node& node) {
  std::vector<View> views;
  for (const Type& type : node.result_types()) views.push_back(device_view(type));
  return views;
}

}  // namespace facet::cuda
