#include <fmt/format.h>

#include <algorithm>

#include "ir/error.h"
#include "ir/ops/families.h"

// Optimizer steps: each writes the new state over the old one. f32; lr and step are f32 [1], given
// anew at every run. The CPU leaves the state as it is when lr is not finite. Formulas: PyTorch's
// torch.optim (sgd, adam, adamw); You et al. 2017 (lars).
//
// With `rows`, i64 [K], the state is a table [C, D] of which the step knows only the gradient [K, D]
// of these rows: the others stay as they are (the norms of lars are those of the rows, too). Each row
// is named once; one outside [0, C) is left out. `owed`, f32 [4 K], is what a row missed while it was
// not named: four numbers a, b, c, d for each, by which it is (a p + b v, c p + d v) ahead of the step.

namespace facet::ops {
namespace {

void require_operand(const InferContext& context, std::size_t i, const Type& expected) {
  const Type& found = context.operand(i);
  if (found.dtype == expected.dtype && found.shape == expected.shape) return;
  throw usage_error(fmt::format("operand {} of '{}' is {} where {} is needed", i, context.op.name,
                                to_string(found), to_string(expected)));
}

/// The first `states` operands are of one type, and so is the gradient behind them; up to `rows` the
/// rest is [1].
std::vector<Type> infer_update(const InferContext& context, std::size_t states, std::size_t rows) {
  const Type& parameter = context.operand(0);
  const std::size_t given = context.operands.size();
  Type gradient = f32(parameter.shape);
  if (given > rows) {
    const Type& named = context.operand(rows);
    if (parameter.rank() != 2 || named.rank() != 1 || named.dtype != DType::i64) {
      throw usage_error(fmt::format("'{}' of rows takes a table [C, D] and rows i64[K], not {} and {}",
                                    context.op.name, to_string(parameter), to_string(named)));
    }
    gradient.shape[0] = named.shape[0];
    if (given > rows + 1) require_operand(context, rows + 1, f32({named.shape[0].factor * 4}));
  }
  for (std::size_t i = 0; i < std::min(given, rows); ++i) {
    require_operand(context, i, i < states ? f32(parameter.shape) : i == states ? gradient : f32({1}));
  }
  return std::vector<Type>(states, f32(parameter.shape));
}

std::vector<Type> infer_two(const InferContext& context) { return infer_update(context, 2, 4); }
std::vector<Type> infer_three(const InferContext& context) { return infer_update(context, 3, 6); }
std::vector<Type> infer_one(const InferContext& context) { return infer_update(context, 1, 3); }

/// Of the gradient, which is behind the state.
double ten_per_element(const Node& node) {
  return 10.0 * static_cast<double>(element_count(node.operand(node.result_count()).shape()).factor);
}

std::vector<Sample> sgd_samples() {
  const Type p = f32({5, 7});
  const Type rows{DType::i64, {3}, {}};
  return {{{p, p, p, f32({1})}, {{"momentum", 0.9}, {"weight_decay", 0.01}}},
          {{f32({40}), f32({40}), f32({40}), f32({1})}, {{"momentum", 0.9}, {"nesterov", true}}},
          {{p, p, p, f32({1})}, {}},
          {{p, p, f32({3, 7}), f32({1}), rows}, {{"momentum", 0.9}, {"weight_decay", 0.01}}, 0, 5},
          {{p, p, f32({3, 7}), f32({1}), rows, f32({12})},
           {{"momentum", 0.9}, {"weight_decay", 0.01}, {"nesterov", true}},
           -1,
           6}};
}
std::vector<Sample> adam_samples() {
  const Type p = f32({5, 7});
  const Type one = f32({1});
  return {{{p, p, p, p, one, one}, {}, 0.5, 1.5},
          {{p, p, p, f32({3, 7}), one, one, {DType::i64, {3}, {}}}, {{"weight_decay", 0.01}}, 1, 5},
          {{p, p, p, p, one, one}, {{"weight_decay", 0.01}}, 0.5, 1.5},
          {{p, p, p, p, one, one}, {{"weight_decay", 0.01}, {"decoupled", true}}, 0.5, 1.5}};
}
std::vector<Sample> lars_samples() {
  const Type p = f32({5, 7});
  return {{{p, p, p, f32({1})}, {{"momentum", 0.9}, {"weight_decay", 0.01}}},
          {{p, p, f32({3, 7}), f32({1}), {DType::i64, {3}, {}}},
           {{"momentum", 0.9}, {"weight_decay", 0.01}}, 0, 5}};
}
std::vector<Sample> ema_samples() { return {{{f32({5, 7}), f32({5, 7})}, {{"decay", 0.9}}}}; }

OpDef update(std::string_view name, std::string_view doc, Signature signature,
             std::vector<AttributeSpec> attributes,
             std::vector<Type> (*infer)(const InferContext&), Samples::Make samples) {
  return OpDef{.name = name,
               .doc = doc,
               .signature = std::move(signature),
               .attributes = std::move(attributes),
               .infer = infer,
               .gradient = Gradient::none("an optimizer step is not differentiated"),
               .layout = LayoutRole::follow,
               .aliasing = Aliasing::update,
               .precision = PrecisionPolicy::f32,
               .decomposition = Decomposition::primitive(),
               .cost = Cost::memory(ten_per_element),
               .onnx = OnnxMapping::none("training steps are not exported"),
               .samples = Samples::cases(samples)};
}

}  // namespace

std::vector<OpDef> update_ops() {
  const AttributeSpec momentum{"momentum", 0.0};
  const AttributeSpec decay{"weight_decay", 0.0};
  std::vector<OpDef> list;
  list.push_back(update("sgd_update",
                        "d = grad + weight_decay * p; v = momentum * v + d; p -= lr * (nesterov ? d + "
                        "momentum * v : v).",
                        Signature({"param", "velocity", "grad", "lr", "rows?", "owed?"}, {"param", "velocity"}),
                        {momentum, decay, {"nesterov", false}}, infer_two, sgd_samples));
  list.push_back(update("adam_update",
                        "m = b1 m + (1 - b1) d; v = b2 v + (1 - b2) d^2; p -= lr * m / (1 - b1^step) / "
                        "(sqrt(v / (1 - b2^step)) + epsilon), d = grad + weight_decay * p; decoupled: "
                        "p *= 1 - lr * weight_decay instead.",
                        Signature({"param", "m", "v", "grad", "lr", "step", "rows?"}, {"param", "m", "v"}),
                        {{"beta1", 0.9},
                         {"beta2", 0.999},
                         {"epsilon", 1e-8},
                         decay,
                         {"decoupled", false}},
                        infer_three, adam_samples));
  list.push_back(update("lars_update",
                        "local = trust_coefficient * |p| / (|grad| + weight_decay * |p| + epsilon), 1 "
                        "where a norm is 0; v = momentum * v + local * (grad + weight_decay * p); "
                        "p -= lr * v.",
                        Signature({"param", "velocity", "grad", "lr", "rows?"}, {"param", "velocity"}),
                        {momentum, decay, {"trust_coefficient", 0.001}, {"epsilon", 1e-8}}, infer_two,
                        lars_samples));
  list.push_back(update("ema_update", "average = decay * average + (1 - decay) * param.",
                        Signature({"average", "param", "lr?"}, {"average"}), {{"decay", 0.999}}, infer_one,
                        ema_samples));
  return list;
}

}  // namespace facet::ops
