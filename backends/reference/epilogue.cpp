#include "backends/reference/epilogue.h"

#include <algorithm>

#include "backends/reference/broadcast.h"
#include "backends/reference/scalar_functions.h"
#include "ir/epilogue.h"

namespace facet::reference {
namespace {

void combine(HostTensor& result, const HostTensor& other, BinaryFunction function) {
  const HostTensor expanded = broadcast_to(other, result.shape());
  double* values = result.as_mutable<double>();
  std::transform(values, values + result.element_count(), expanded.as<double>(), values, function);
}

}  // namespace

void apply_epilogue(const Call& call, HostTensor& result, std::size_t channel_axis) {
  for (const EpilogueEntry& entry : epilogue_of(call.node)) {
    if (entry.operand < 0) {
      double* values = result.as_mutable<double>();
      std::transform(values, values + result.element_count(), values, unary_function(entry.name));
      continue;
    }
    HostTensor extra = call.operand(entry.operand);
    const bool per_channel = entry.name == "bias" || entry.name == "prelu";
    if (per_channel) extra = along_axis(extra, channel_axis, result.rank());
    combine(result, extra, binary_function(entry.name == "bias" ? "add" : entry.name));
  }
}

}  // namespace facet::reference
