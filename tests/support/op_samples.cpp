#include "tests/support/op_samples.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/fill.h"

namespace facet::testing {

SampleCase make_case(const OpDef& op, const Sample& sample) {
  SampleCase result{Graph(std::string(op.name)), {}};
  std::vector<Value> operands;
  for (std::size_t i = 0; i < sample.operands.size(); ++i) {
    const std::string name = fmt::format("x{}", i);
    const Type& type = sample.operands[i];
    operands.push_back(
        result.graph.create("input", {}, {{"name", name}, {"type", to_string(type)}})->result());
    HostTensor values = uniform(name, static_extents(type.shape), sample.lo, sample.hi);
    result.inputs[name] = is_float(type.dtype) ? values : values.cast(type.dtype);
  }
  Node* node = result.graph.create(op, operands, sample.attributes);
  for (int i = 0; i < node->result_count(); ++i) {
    result.graph.outputs().push_back({fmt::format("y{}", i), node->result(i)});
  }
  return result;
}

std::string describe(const OpDef& op, const Sample& sample) {
  std::vector<std::string> operands;
  for (const Type& type : sample.operands) operands.push_back(to_string(type));
  std::vector<std::string> attributes;
  for (const auto& [name, value] : sample.attributes) {
    attributes.push_back(fmt::format("{} = {}", name, to_string(value)));
  }
  return fmt::format("{}({}) {{{}}}", op.name, fmt::join(operands, ", "),
                     fmt::join(attributes, ", "));
}

double max_difference(const HostTensor& a, const HostTensor& b) {
  constexpr double kWrong = std::numeric_limits<double>::infinity();
  if (a.shape() != b.shape()) return kWrong;
  double worst = 0;
  for (std::int64_t i = 0; i < a.element_count(); ++i) {
    if (std::isnan(a.at(i)) != std::isnan(b.at(i))) return kWrong;
    if (a.at(i) != b.at(i) && !std::isnan(a.at(i))) {
      worst = std::max(worst, std::fabs(a.at(i) - b.at(i)));
    }
  }
  return worst;
}

}  // namespace facet::testing
