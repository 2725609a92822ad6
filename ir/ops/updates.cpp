#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"

// Optimizer steps: each writes the new state over the old one. f32; lr and step are f32 [1], given
// anew at every run. The CPU leaves the state as it is when lr is not finite. Formulas: PyTorch's torch.optim (sgd, adam, adamw); You et al. 2017 (lars).

namespace facet::ops {
namespace {

/// The first `states` operands are of one type, and so is the gradient behind them; the rest is [1].
std::vector<Type> infer_update(const InferContext& context, std::size_t states) {
  const Type& parameter = context.operand(0);
  for (std::size_t i = 0; i < context.operands.size(); ++i) {
    const Type expected = i <= states ? parameter : f32({1});
    if (context.operand(i).dtype == DType::f32 && context.operand(i).shape == expected.shape) continue;
    throw usage_error(fmt::format("operand {} of '{}' is {} where {} is needed", i, context.op.name,
                                  to_string(context.operand(i)), to_string(expected)));
  }
  return std::vector<Type>(states, f32(parameter.shape));
}

std::vector<Type> infer_two(const InferContext& context) { return infer_update(context, 2); }
std::vector<Type> infer_three(const InferContext& context) { return infer_update(context, 3); }
std::vector<Type> infer_one(const InferContext& context) { return infer_update(context, 1); }

double ten_per_element(const Node& node) { return 10 * result_elements(node); }

std::vector<Sample> sgd_samples() {
  const Type p = f32({5, 7});
  return {{{p, p, p, f32({1})}, {{"momentum", 0.9}, {"weight_decay", 0.01}}},
          {{f32({40}), f32({40}), f32({40}), f32({1})}, {{"momentum", 0.9}, {"nesterov", true}}},
          {{p, p, p, f32({1})}, {}}};
}
std::vector<Sample> adam_samples() {
  const Type p = f32({5, 7});
  const Type one = f32({1});
  return {{{p, p, p, p, one, one}, {}, 0.5, 1.5},
          {{p, p, p, p, one, one}, {{"weight_decay", 0.01}}, 0.5, 1.5},
          {{p, p, p, p, one, one}, {{"weight_decay", 0.01}, {"decoupled", true}}, 0.5, 1.5}};
}
std::vector<Sample> lars_samples() {
  const Type p = f32({5, 7});
  return {{{p, p, p, f32({1})}, {{"momentum", 0.9}, {"weight_decay", 0.01}}}};
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
               .layout = LayoutRole::plain,
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
                        Signature({"param", "velocity", "grad", "lr"}, {"param", "velocity"}),
                        {momentum, decay, {"nesterov", false}}, infer_two, sgd_samples));
  list.push_back(update("adam_update",
                        "m = b1 m + (1 - b1) d; v = b2 v + (1 - b2) d^2; p -= lr * m / (1 - b1^step) / "
                        "(sqrt(v / (1 - b2^step)) + epsilon), d = grad + weight_decay * p; decoupled: "
                        "p *= 1 - lr * weight_decay instead.",
                        Signature({"param", "m", "v", "grad", "lr", "step"}, {"param", "m", "v"}),
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
                        Signature({"param", "velocity", "grad", "lr"}, {"param", "velocity"}),
                        {momentum, decay, {"trust_coefficient", 0.001}, {"epsilon", 1e-8}}, infer_two,
                        lars_samples));
  list.push_back(update("ema_update", "average = decay * average + (1 - decay) * param.",
                        Signature({"average", "param", "lr?"}, {"average"}), {{"decay", 0.999}}, infer_one,
                        ema_samples));
  return list;
}

}  // namespace facet::ops
