#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "ir/op.h"
#include "ir/text.h"
#include "tests/ir/networks.h"

/// The DOT and JSON views.
namespace facet::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

std::size_t edges(const Graph& graph) {
  std::size_t found = graph.outputs().size();
  for (const auto& node : graph.nodes()) found += node->operands().size();
  return found;
}

TEST(Json, CountsAgreeWithTheGraph) {
  for (const Graph& graph : {two_branches(), attention()}) {
    const json view = json::parse(to_json(graph));
    EXPECT_EQ(view.at("name"), graph.name());
    EXPECT_EQ(view.at("nodes").size(), graph.size());
    EXPECT_EQ(view.at("parameters").size(), graph.parameters().size());
    EXPECT_EQ(view.at("inputs").size(), graph.inputs().size());
    EXPECT_EQ(view.at("outputs").size(), graph.outputs().size());
    std::size_t i = 0;
    for (const auto& node : graph.nodes()) {
      const json& entry = view["nodes"][i];
      EXPECT_EQ(entry.at("id"), i);
      EXPECT_EQ(entry.at("op"), node->kind());
      EXPECT_EQ(entry.at("scope"), node->provenance().scope);
      EXPECT_EQ(entry.at("operands").size(), node->operands().size());
      ASSERT_EQ(entry.at("types").size(), 1u);
      EXPECT_EQ(entry["types"][0], to_string(node->result_types()[0]));
      for (const auto& [name, value] : node->attributes()) {
        EXPECT_EQ(entry.at("attributes").at(name), to_string(value));
      }
      ++i;
    }
  }
}

TEST(Json, ValuesAreSpeltAsInTheText) {
  const json view = json::parse(to_json(two_branches()));
  EXPECT_EQ(view["nodes"][2]["operands"], (json{"%0", "%1"}));
  EXPECT_EQ(view["outputs"], (json{{{"name", "embedding"}, {"value", "%18"}},
                                   {{"name", "features"}, {"value", "%14"}}}));
  EXPECT_EQ(view["inputs"], (json{{{"name", "image"}, {"type", "f32[N, 3, 8, 8]"}}}));
  EXPECT_EQ(view["parameters"][0],
            (json{{"key", "stem.conv.weight"}, {"type", "f32[4, 3, 3, 3]"}}));
}

TEST(Json, AnyCharacterIsEscaped) {
  const std::string odd = "q\"b\\s/\n\t\x01 é";
  Graph graph(odd);
  Node* node = graph.create("relu", {input(graph, odd, "f32[1]")}, {}, {odd, "", {}});
  graph.outputs().push_back({odd, node->result()});
  const json view = json::parse(to_json(graph));
  EXPECT_EQ(view["name"], odd);
  EXPECT_EQ(view["nodes"][1]["scope"], odd);
  EXPECT_EQ(view["inputs"][0]["name"], odd);
  EXPECT_EQ(view["outputs"][0]["name"], odd);
}

TEST(Json, AnEmptyGraph) {
  const json view = json::parse(to_json(Graph("none")));
  EXPECT_TRUE(view["nodes"].empty());
  EXPECT_TRUE(view["outputs"].empty());
}

TEST(Dot, HoldsEachNodeEdgeAndOutput) {
  for (const Graph& graph : {two_branches(), attention()}) {
    const std::string dot = to_dot(graph);
    std::size_t i = 0;
    for (const auto& node : graph.nodes()) {
      EXPECT_EQ(count(dot, "  n" + std::to_string(i) + " [label=\"" + std::string(node->kind())),
                1u);
      ++i;
    }
    EXPECT_EQ(count(dot, " -> "), edges(graph));
    EXPECT_EQ(count(dot, "shape=oval"), graph.outputs().size());
    EXPECT_EQ(count(dot, "{"), count(dot, "}"));
  }
}

TEST(Dot, EdgesCarryTypesAndLayouts) {
  Graph graph("say \"dot\"");
  Node* relu = graph.create("relu", {input(graph, "x", "f32[1, 2, 3, 4]")}, {}, {"a\\b", "", {}});
  relu->set_result_type(0, parse_type("f32[1, 2, 3, 4]@acdb"));
  graph.outputs().push_back({"y", relu->result()});
  EXPECT_EQ(to_dot(graph), R"(digraph "say \"dot\"" {
  node [shape=box, fontname="sans-serif"];
  n0 [label="input\n"];
  n1 [label="relu\na\\b"];
  n0 -> n1 [label="f32[1, 2, 3, 4]"];
  out0 [label="y", shape=oval];
  n1 -> out0 [label="f32[1, 2, 3, 4]@acdb"];
}
)");
}

}  // namespace
}  // namespace facet::test
