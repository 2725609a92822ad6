#include <gtest/gtest.h>

#include <set>

#include "ir/text.h"
#include "tests/support/golden.h"
#include "tests/zoo/cases.h"
#include "zoo/zoo.h"

namespace facet::zoo {
namespace {

/// "layer1.0.conv1.weight [64, 64, 3, 3] f32"
std::string describe(const std::string& key, const Shape& shape, std::string_view dtype) {
  return key + " " + to_string(shape) + " " + std::string(dtype);
}

Ints extents(const Output& output) { return static_extents(output.value.shape()); }

class GoldenState : public ::testing::TestWithParam<ZooCase> {
 protected:
  testing::GoldenCase golden_ = testing::read_golden(GetParam().file);
  Graph graph_ = build(GetParam().model, GetParam().settings);
};

TEST_P(GoldenState, HasTheReferencesEntriesInTheirOrder) {
  const std::map<std::string, std::string> dtypes = {{"float32", "f32"}, {"int64", "i64"}};
  std::vector<std::string> expected;
  for (const auto& [key, shape, dtype] : golden_.state_dict) {
    expected.push_back(describe(key, Shape(shape.begin(), shape.end()), dtypes.at(dtype)));
  }
  std::vector<std::string> found;
  for (const Parameter& parameter : graph_.parameters()) {
    found.push_back(describe(parameter.key, parameter.type.shape, to_string(parameter.type.dtype)));
  }
  ASSERT_FALSE(expected.empty());
  EXPECT_EQ(found, expected);
}

TEST_P(GoldenState, HasTheReferencesParameterCount) {
  EXPECT_EQ(count(graph_).parameters, golden_.parameters);
}

TEST_P(GoldenState, HasTheReferencesInputOutputsAndTaps) {
  ASSERT_EQ(graph_.inputs().size(), 1U);
  EXPECT_EQ(graph_.inputs()[0]->attributes().text("name"), "input");
  EXPECT_EQ(graph_.symbols(), std::vector<std::string>{"N"});

  const Ints input = golden_.inputs.at("input");
  const Graph graph = graph_.with_symbol("N", input[0]);
  EXPECT_EQ(static_extents(graph.inputs()[0]->result().shape()), input);
  std::map<std::string, Ints> outputs;
  for (const auto& [name, digest] : golden_.outputs) outputs[name] = digest.shape;
  std::map<std::string, Ints> found;
  for (const Output& output : graph.outputs()) found[output.name] = extents(output);
  EXPECT_EQ(found, outputs);

  std::map<std::string, Ints> taps;
  for (const Output& tap : graph.taps()) taps[tap.name] = extents(tap);
  for (const auto& [name, digest] : golden_.taps) {
    ASSERT_TRUE(taps.contains(name)) << name;
    EXPECT_EQ(taps[name], digest.shape) << name;
  }
}

TEST_P(GoldenState, EveryModuleThatRunsHasATap) {
  std::set<std::string> taps;
  for (const Output& tap : graph_.taps()) taps.insert(tap.name);
  const std::set<std::string> containers = {"trunk", "branches"};  // they return several values
  std::set<std::string> modules;
  for (const Node* node : graph_.node_list()) {
    if (!node->is("parameter")) continue;
    std::string path = node->attributes().text("key");
    while (path.find('.') != std::string::npos) {
      path.resize(path.rfind('.'));
      const bool branch = path.starts_with("branches.") && path.rfind('.') == 8;
      if (!branch && !containers.contains(path)) modules.insert(path);
    }
  }
  ASSERT_FALSE(modules.empty());
  for (const std::string& module : modules) EXPECT_TRUE(taps.contains(module)) << module;
}

TEST_P(GoldenState, TextFormReadsBack) {
  const Graph again = parse_graph(to_text(graph_));
  EXPECT_EQ(fingerprint(again), fingerprint(graph_));
  EXPECT_EQ(to_text(again), to_text(graph_));
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenState, ::testing::ValuesIn(zoo_cases()),
                         [](const auto& test) { return test.param.file; });

}  // namespace
}  // namespace facet::zoo
