// What steers differentiation (identities here), expand, and dropout.

#include "backends/reference/broadcast.h"
#include "backends/reference/evaluators.h"
#include "ir/dropout.h"

namespace facet::reference {
namespace {

std::vector<HostTensor> first_operand(const Call& call) { return {call.operand(0)}; }

std::vector<HostTensor> expand(const Call& call) {
  return {broadcast_to(call.operand(0), call.shape())};
}

std::vector<HostTensor> dropout_train(const Call& call) {
  const HostTensor& x = call.operand(0);
  const double rate = call.attributes().number("rate");
  const DropoutMask mask(static_cast<std::uint64_t>(call.attributes().integer("seed")),
                         static_cast<std::uint64_t>(call.operand(1).at(0)), rate);
  HostTensor y = call.result();
  for (std::int64_t i = 0; i < x.element_count(); ++i) {
    const bool kept = mask.keeps(static_cast<std::uint64_t>(i));
    y.as_mutable<double>()[i] = kept ? x.at(i) / (1 - rate) : 0;
  }
  return {y};
}

}  // namespace

void add_training_ops(EvaluatorTable& table) {
  for (const char* name : {"stop_gradient", "straight_through", "dropout"}) {
    table[name] = first_operand;
  }
  table["expand"] = expand;
  table["dropout_train"] = dropout_train;
}

}  // namespace facet::reference
