#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backends/reference/reference.h"
#include "ir/dsl.h"
#include "passes/differentiate.h"
#include "tests/support/fill.h"
#include "tests/support/paths.h"

/// Losses on free tensors, and the golden files that hold whole tensors.
namespace facet::testing {

inline nlohmann::json read_json(const std::string& name) {
  std::ifstream file(test_data() / "golden" / (name + ".json"));
  return nlohmann::json::parse(file);
}

/// {"shape": ..., "value": ...}
inline HostTensor read_tensor(const nlohmann::json& source) {
  return HostTensor::from_doubles(source.at("shape").get<std::vector<std::int64_t>>(),
                                  source.at("value").get<std::vector<double>>());
}

inline HostTensor labels_tensor(const std::vector<std::int64_t>& values) {
  HostTensor tensor(DType::i64, {static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.as_mutable<std::int64_t>());
  return tensor;
}

/// The output `loss` of a graph, the gradients of its float inputs and read parameters by name or
/// key, and the new state, all in float64.
struct LossResult {
  double loss = 0;
  TensorMap gradients;
  TensorMap state;
};

inline LossResult evaluate_loss(Graph graph, const TensorMap& inputs, const TensorMap& parameters) {
  std::vector<Value> wrt;
  std::vector<std::string> names;
  for (Node* node : graph.node_list()) {
    if (!node->is("input") && !node->is("parameter")) continue;
    if (!is_float(node->result_types()[0].dtype)) continue;
    wrt.push_back(node->result());
    names.push_back(node->attributes().text(node->is("input") ? "name" : "key"));
  }
  const Value one =
      graph.create("constant", {}, {{"value", HostTensor::from_floats({1}, {1.0F})}})->result();
  const Seed seed{graph.outputs().at(0).value, one};
  const std::vector<Value> found = differentiate(graph, {&seed, 1}, wrt);
  for (std::size_t i = 0; i < wrt.size(); ++i) {
    if (found[i]) graph.outputs().push_back({"gradient:" + names[i], found[i]});
  }
  verify(graph);
  const EvaluatedStep step = evaluate_step(graph, inputs, parameters);
  LossResult result{step.outputs.at("loss").at(0), {}, step.updates};
  for (const std::string& name : names) {
    const auto it = step.outputs.find("gradient:" + name);
    if (it != step.outputs.end()) result.gradients[name] = it->second;
  }
  return result;
}

}  // namespace facet::testing
