#include "passes/vector_jacobian.h"

#include <algorithm>

#include "passes/differentiate.h"
#include "passes/fuse_training.h"
#include "passes/pass.h"

namespace facet {
namespace {

bool is_differentiable(const Graph& graph, const Node& node) {
  if (node.is("input")) return is_float(node.result_types()[0].dtype);
  if (!node.is("parameter")) return false;
  const Parameter& parameter = *graph.find_parameter(node.attributes().text("key"));
  return is_float(parameter.type.dtype) && parameter.fixed.empty() &&
         parameter.role != ParameterRole::running_mean &&
         parameter.role != ParameterRole::running_var;
}

std::string name_of(const Node& node) {
  return node.is("input") ? "input:" + node.attributes().text("name")
                          : node.attributes().text("key");
}

}  // namespace

Graph vector_jacobian_product(const Graph& given, const std::vector<std::string>& seeded,
                              bool fuse) {
  given.clone().select_outputs(seeded);  // an unknown name is found before any work
  Graph graph = given.clone();
  to_training_mode(graph, {.keep_dropout = false});
  if (fuse) fuse_for_training(graph);
  std::vector<Value> wrt;
  for (Node* node : graph.node_list()) {
    if (is_differentiable(graph, *node)) wrt.push_back(node->result());
  }
  std::vector<Seed> seeds;
  for (const Output& output : graph.outputs()) {
    if (std::find(seeded.begin(), seeded.end(), output.name) == seeded.end()) continue;
    Type type = output.value.type();
    Node* cotangent = graph.create(
        "input", {}, {{"name", "cotangent:" + output.name}, {"type", to_string(type)}});
    seeds.push_back({output.value, cotangent->result()});
  }
  const std::vector<Value> gradients = differentiate(graph, seeds, wrt);
  std::vector<Output> outputs;  // differentiation replaces nodes that it decomposes
  for (const Output& output : graph.outputs()) {
    outputs.push_back({"output:" + output.name, output.value});
  }
  for (std::size_t i = 0; i < wrt.size(); ++i) {
    if (gradients[i]) outputs.push_back({name_of(*wrt[i].node), gradients[i]});
  }
  for (const Output& update : graph.updates()) {
    outputs.push_back({"state:" + update.name, update.value});
    graph.read_parameter(update.name)->attributes().set("mutable", false);
  }
  graph.updates().clear();
  graph.taps().clear();
  graph.outputs() = std::move(outputs);
  PassContext context;
  eliminate_dead_code(graph, context);
  verify(graph);
  return graph;
}

}  // namespace facet
