#include "ir/error.h"
#include "ir/ops/families.h"

namespace facet::ops {
namespace {

std::vector<Type> infer_declared(const InferContext& context) {
  return {parse_type(context.attributes.text("type"))};
}

std::vector<Type> infer_constant(const InferContext& context) {
  const HostTensor& tensor = context.attributes.tensor("value");
  if (tensor.empty()) throw usage_error("a constant needs a value");
  return {Type{tensor.dtype(), Shape(tensor.shape().begin(), tensor.shape().end()), {}}};
}

OpDef leaf(std::string_view name, std::string_view doc, std::vector<AttributeSpec> attributes,
           std::vector<Type> (*infer)(const InferContext&), OnnxMapping onnx) {
  return OpDef{.name = name,
               .doc = doc,
               .signature = Signature({}, {"value"}),
               .attributes = std::move(attributes),
               .infer = infer,
               .gradient = Gradient::none("a leaf has no operands"),
               .layout = LayoutRole::plain,
               .aliasing = Aliasing::fresh,
               .precision = PrecisionPolicy::f32,
               .decomposition = Decomposition::primitive(),
               .cost = Cost::free(),
               .onnx = onnx,
               .samples = Samples::none("a leaf computes nothing")};
}

}  // namespace

std::vector<OpDef> leaf_ops() {
  std::vector<OpDef> list;
  list.push_back(leaf("input", "A value the caller gives, row-major.",
                      {{"name", std::string(), true}, {"type", std::string(), true}},
                      infer_declared, OnnxMapping::none("a graph input, not a node")));
  list.push_back(leaf("parameter", "A tensor of the state_dict; a mutable one changes from run to run.",
                      {{"key", std::string(), true},
                       {"type", std::string(), true},
                       {"mutable", false}},
                      infer_declared,
                      OnnxMapping::none("an initializer, not a node")));
  list.push_back(leaf("constant", "A tensor known when the graph is made.",
                      {{"value", HostTensor(), true}}, infer_constant,
                      OnnxMapping::op("Constant", 1)));
  return list;
}

}  // namespace facet::ops
