#pragma once

#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace facet::zoo {

/// A golden file and the model it was computed with.
struct ZooCase {
  std::string file;  ///< under tests/golden, without ".json"
  std::string model;
  std::map<std::string, std::string> settings;
};

inline const std::vector<ZooCase>& zoo_cases() {
  static const std::vector<ZooCase> cases = {
      {"lscnn", "lscnn", {}},
      {"dcr", "dcr", {{"num_classes", "64"}, {"num_scales", "3"}, {"branch", "1"}}},
      {"dcr_newtrunk_bn",
       "dcr",
       {{"num_classes", "64"},
        {"num_scales", "3"},
        {"branch", "1"},
        {"backbone", "NewDCRTrunk"},
        {"use_bn", "true"}}},
      {"dcr_normalized",
       "dcr",
       {{"num_classes", "64"},
        {"num_scales", "3"},
        {"branch", "1"},
        {"normalized_embeddings", "true"}}},
      {"dcr_trunk_only", "dcr", {{"num_classes", "64"}, {"num_scales", "3"}, {"branch", "trunk"}}},
      {"arcface_iresnet18", "arcface_iresnet18", {}},
      {"arcface_iresnet100", "arcface_iresnet100", {}},
      {"mla_iresnet18", "mla_iresnet18", {}},
      {"mla_iresnet100", "mla_iresnet100", {}},
      {"lesa_resnet50", "lesa_resnet50", {}},
      {"lesa_resnet50_detqr", "lesa_resnet50", {{"pe_type", "detection_qr"}}},
  };
  return cases;
}

/// How a failing case prints.
inline void PrintTo(const ZooCase& zoo_case, std::ostream* out) { *out << zoo_case.file; }

/// Elements of the learnable parameters, or of the running statistics and counters.
struct Counts {
  std::int64_t parameters = 0;
  std::int64_t frozen = 0;  ///< those of `parameters` that training leaves alone
  std::int64_t buffers = 0;
};

inline Counts count(const Graph& graph, const std::string& prefix = "") {
  Counts counts;
  for (const Parameter& parameter : graph.parameters()) {
    if (!parameter.key.starts_with(prefix)) continue;
    const std::int64_t elements = element_count(parameter.type.shape).factor;
    const bool buffer = parameter.role == ParameterRole::running_mean ||
                        parameter.role == ParameterRole::running_var ||
                        parameter.role == ParameterRole::batches_tracked ||
                        !parameter.fixed.empty();
    (buffer ? counts.buffers : counts.parameters) += elements;
    if (!buffer && !parameter.trainable) counts.frozen += elements;
  }
  return counts;
}

/// Multiply-adds for one image, from the shapes of the nodes alone.
struct Macs {
  std::int64_t conv = 0;
  std::int64_t linear = 0;
  std::int64_t matmul = 0;
  std::int64_t total() const { return conv + linear + matmul; }
};

inline Macs count_macs(const Graph& graph) {
  const Graph one = graph.with_symbol("N", 1);
  Macs macs;
  for (Node* node : one.node_list()) {
    const auto elements = [](const Shape& shape) { return element_count(shape).factor; };
    if (node->is("conv")) {  // each result reads C/groups * kh * kw inputs
      const Shape& weight = node->operand(1).shape();
      macs.conv += elements(node->result().shape()) * elements(weight) / weight[0].factor;
    } else if (node->is("linear")) {
      macs.linear += elements(node->result().shape()) * node->operand(1).shape()[1].factor;
    } else if (node->is("matmul")) {
      const Shape& a = node->operand(0).shape();
      const std::size_t inner = a.size() - (node->attributes().boolean("transpose_a") ? 2 : 1);
      macs.matmul += elements(node->result().shape()) * a[inner].factor;
    }
  }
  return macs;
}

}  // namespace facet::zoo
