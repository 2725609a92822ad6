// skew, unskew.

#include "backends/reference/evaluators.h"

namespace facet::reference {
namespace {

/// Calls visit(i, place) for every pair [..., i, j] of a value `pairs`, in order; `place` is that of
/// its distance in a value [..., I, I + J - 1].
template <class Visit>
void for_each_pair(const Extents& pairs, const Attributes& attributes, Visit visit) {
  const std::int64_t rows = pairs.end()[-2];
  const std::int64_t columns = pairs.end()[-1];
  const bool row_minus_column = attributes.text("distance") == "i-j";
  for (std::int64_t pair = 0; pair < product(pairs); ++pair) {
    const std::int64_t i = pair / columns % rows;
    const std::int64_t j = pair % columns;
    const std::int64_t distance = row_minus_column ? i - j + columns - 1 : j - i + rows - 1;
    visit(pair, pair / columns * (rows + columns - 1) + distance);
  }
}

std::vector<HostTensor> skew(const Call& call) {
  HostTensor result = call.result();
  const double* from = call.operand(0).as<double>();
  double* to = result.as_mutable<double>();
  for_each_pair(result.shape(), call.attributes(),
                [&](std::int64_t pair, std::int64_t place) { to[pair] = from[place]; });
  return {result};
}

std::vector<HostTensor> unskew(const Call& call) {
  HostTensor result = call.result();
  const double* from = call.operand(0).as<double>();
  double* to = result.as_mutable<double>();
  for_each_pair(call.operand(0).shape(), call.attributes(),
                [&](std::int64_t pair, std::int64_t place) { to[place] = from[pair]; });
  return {result};
}

}  // namespace

void add_attention_ops(EvaluatorTable& table) {
  table["skew"] = skew;
  table["unskew"] = unskew;
}

}  // namespace facet::reference
