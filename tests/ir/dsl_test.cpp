#include "ir/dsl.h"

#include <gmock/gmock.h>

#include <cmath>

#include "ir/op.h"
#include "ir/text.h"
#include "tests/ir/networks.h"

namespace facet::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> keys(const Graph& graph) {
  std::vector<std::string> list;
  for (const Parameter& parameter : graph.parameters()) list.push_back(parameter.key);
  return list;
}

std::vector<std::string> tap_names(const Graph& graph) {
  std::vector<std::string> list;
  for (const Output& tap : graph.taps()) list.push_back(tap.name);
  return list;
}

int count(const Graph& graph, std::string_view kind) {
  int found = 0;
  for (const auto& node : graph.nodes()) found += node->is(kind) ? 1 : 0;
  return found;
}

std::string type_of(const Tensor& tensor) { return to_string(tensor.value().type()); }

struct Canvas {
  Network net{"canvas"};
  Scope s = net.root();
  Tensor image = net.input("image", {"N", 4, 6, 6});
  Tensor rows = net.input("rows", {"N", 5, 8});
};

TEST(Dsl, LayersHaveTheTypesTheyDocument) {
  Canvas c;
  EXPECT_EQ(type_of(c.s.conv("a", c.image, {.out = 8, .kernel = 3, .stride = 2, .padding = 1})),
            "f32[N, 8, 3, 3]");
  EXPECT_EQ(type_of(c.s.conv("b", c.image, {.out = 8, .kernel = 3, .dilation = 2, .groups = 4})),
            "f32[N, 8, 2, 2]");
  EXPECT_EQ(type_of(c.s.linear("c", c.rows, {.out = 3})), "f32[N, 5, 3]");
  EXPECT_EQ(type_of(c.s.batch_norm("d", c.image)), "f32[N, 4, 6, 6]");
  EXPECT_EQ(type_of(c.s.prelu("e", c.rows)), "f32[N, 5, 8]");
  const Graph graph = [&] {
    c.net.output("y", c.image);
    return c.net.finish();
  }();
  EXPECT_EQ(to_string(graph.find_parameter("a.weight")->type), "f32[8, 4, 3, 3]");
  EXPECT_EQ(to_string(graph.find_parameter("b.weight")->type), "f32[8, 1, 3, 3]");
  EXPECT_EQ(to_string(graph.find_parameter("c.weight")->type), "f32[3, 8]");
  EXPECT_EQ(to_string(graph.find_parameter("c.bias")->type), "f32[3]");
  EXPECT_EQ(to_string(graph.find_parameter("d.running_var")->type), "f32[4]");
  EXPECT_EQ(to_string(graph.find_parameter("d.num_batches_tracked")->type), "i64[]");
  EXPECT_EQ(to_string(graph.find_parameter("e.weight")->type), "f32[5]");
}

TEST(Dsl, FunctionsHaveTheTypesTheyDocument) {
  Canvas c;
  EXPECT_EQ(type_of(max_pool(c.image, {.kernel = 3, .stride = 2, .padding = 1})),
            "f32[N, 4, 3, 3]");
  EXPECT_EQ(type_of(avg_pool(c.image, {})), "f32[N, 4, 3, 3]");
  EXPECT_EQ(type_of(mean(c.image, {2, 3})), "f32[N, 4, 1, 1]");
  EXPECT_EQ(type_of(sum(c.image, {-1})), "f32[N, 4, 6, 1]");
  EXPECT_EQ(type_of(max(c.image, {1})), "f32[N, 1, 6, 6]");
  EXPECT_EQ(type_of(matmul(c.rows, transpose(c.rows, {0, 2, 1}))), "f32[N, 5, 5]");
  EXPECT_EQ(type_of(matmul_transposed(c.rows, true, c.rows, false)), "f32[N, 8, 8]");
  EXPECT_EQ(type_of(flatten(c.image)), "f32[N, 144]");
  EXPECT_EQ(type_of(reshape(c.image, {-1, 4})), "f32[36*N, 4]");
  EXPECT_EQ(type_of(concat({c.image, c.image}, 2)), "f32[N, 4, 12, 6]");
  EXPECT_EQ(type_of(slice(c.rows, -1, 2, 5)), "f32[N, 5, 3]");
  EXPECT_EQ(type_of(softmax(c.rows, 1)), "f32[N, 5, 8]");
  EXPECT_EQ(type_of(l2_normalize(c.rows)), "f32[N, 5, 8]");
  EXPECT_EQ(type_of(c.rows * mean(c.rows, {2})), "f32[N, 5, 8]");
  for (const Tensor& y :
       {relu(c.rows), sigmoid(c.rows), tanh(c.rows), exp(c.rows), sqrt(c.rows), clamp(c.rows, 0, 1),
        1 - c.rows, c.rows / 2, maximum(0, c.rows), minimum(c.rows, c.rows)}) {
    EXPECT_EQ(type_of(y), "f32[N, 5, 8]");
  }
}

TEST(Dsl, ExtentsCountFromBothEnds) {
  Canvas c;
  EXPECT_EQ(c.image.channels(), 4);
  EXPECT_EQ(c.rows.extent(-1), 8);
  EXPECT_EQ(c.rows.extent(2), 8);
  EXPECT_EQ(c.rows.rank(), 3);
}

TEST(Dsl, NumbersBecomeConstantsInTheirPlace) {
  Canvas c;
  c.net.output("y", 2 - c.rows);
  const Graph graph = c.net.finish();
  const Node* sub = graph.outputs()[0].value.node;
  EXPECT_TRUE(sub->operand(0).node->is("constant"));
  EXPECT_EQ(sub->operand(0).node->attributes().tensor("value").at(0), 2);
  EXPECT_TRUE(sub->operand(1).node->is("input"));
}

TEST(Dsl, KeysStandInTheOrderOfAStateDict) {
  Canvas c;
  const Scope block = c.s / "layer1" / 0;
  Tensor x = block.conv("conv1", c.image, {.out = 4, .bias = false});
  x = block.batch_norm("bn1", x);
  const Tensor gain = block.parameter("gain", {4, 1, 1}, {Initializer::Kind::normal, 0, 0.02});
  x = c.s.conv("head", x * gain, {.out = 2});
  c.net.output("y", (c.s / "layer1.1").prelu("act", x));
  // A module's own parameters stand before its children, whatever was declared first.
  EXPECT_THAT(keys(c.net.finish()),
              ElementsAre("layer1.0.gain", "layer1.0.conv1.weight", "layer1.0.bn1.weight",
                          "layer1.0.bn1.bias", "layer1.0.bn1.running_mean",
                          "layer1.0.bn1.running_var", "layer1.0.bn1.num_batches_tracked",
                          "layer1.1.act.weight", "head.weight", "head.bias"));
}

TEST(Dsl, OrderNamesChildrenBeforeTheyAreUsed) {
  Canvas c;
  const Scope block = c.s / "block";
  block.order({"last", "first"});
  const Tensor x = block.conv("first", c.image, {.out = 4, .bias = false});
  const Tensor y = block.conv("between", x, {.out = 4, .bias = false});
  c.net.output("y", block.conv("last", y, {.out = 4, .bias = false}));
  EXPECT_THAT(keys(c.net.finish()),
              ElementsAre("block.last.weight", "block.first.weight", "block.between.weight"));
}

TEST(Dsl, RolesInitialValuesAndTraining) {
  Canvas c;
  const Tensor x =
      c.s.batch_norm("bn", c.s.conv("conv", c.image, {.out = 8, .kernel = 3, .groups = 2}),
                     {.trainable_weight = false});
  const Tensor y = c.s.prelu("act", x, {.shared = true, .init = 0.1});
  c.net.output("y", c.s.linear("fc", flatten(y),
                               {.out = 2, .init = Initializer{Initializer::Kind::normal, 0, 0.5}}));
  const Graph graph = c.net.finish();
  const auto at = [&](const char* key) { return *graph.find_parameter(key); };
  EXPECT_EQ(at("conv.weight").role, ParameterRole::weight);
  EXPECT_EQ(at("conv.weight").init.kind, Initializer::Kind::uniform);
  EXPECT_DOUBLE_EQ(at("conv.weight").init.b, 1 / std::sqrt(2.0 * 9));  // fan-in of a group
  EXPECT_DOUBLE_EQ(at("conv.bias").init.a, -1 / std::sqrt(2.0 * 9));
  EXPECT_EQ(at("bn.weight").role, ParameterRole::bn_weight);
  EXPECT_EQ(at("bn.weight").init.a, 1);
  EXPECT_FALSE(at("bn.weight").trainable);
  EXPECT_TRUE(at("bn.bias").trainable);
  EXPECT_EQ(at("bn.running_mean").role, ParameterRole::running_mean);
  EXPECT_FALSE(at("bn.running_mean").trainable);
  EXPECT_EQ(at("bn.running_var").init.a, 1);
  EXPECT_EQ(at("bn.num_batches_tracked").role, ParameterRole::batches_tracked);
  EXPECT_EQ(at("act.weight").role, ParameterRole::prelu_slope);
  EXPECT_EQ(to_string(at("act.weight").type), "f32[1]");
  EXPECT_EQ(at("act.weight").init.a, 0.1);
  EXPECT_EQ(at("fc.weight").init.kind, Initializer::Kind::normal);
  EXPECT_EQ(at("fc.weight").init.b, 0.5);
  EXPECT_DOUBLE_EQ(at("fc.bias").init.b, 1 / std::sqrt(8.0 * 4 * 4));
}

TEST(Dsl, BuffersKeepTheirValuesAndAreNotTrained) {
  Canvas c;
  const HostTensor table = HostTensor::from_doubles({8}, {0, 1, 2, 3, 4, 5, 6, 7}).cast(DType::i64);
  (c.s / "index").buffer("table", table);
  c.net.output("y", c.rows);
  const Graph graph = c.net.finish();
  const Parameter* buffer = graph.find_parameter("index.table");
  ASSERT_NE(buffer, nullptr);
  EXPECT_EQ(to_string(buffer->type), "i64[8]");
  EXPECT_EQ(buffer->fixed.data(), table.data());
  EXPECT_FALSE(buffer->trainable);
}

TEST(Dsl, ASharedModuleDeclaresOnceAndRunsThreeTimes) {
  Canvas c;
  const Scope shared = (c.s / "branch").shared();
  Tensor x = c.image;
  for (int i = 0; i < 3; ++i) {
    x = shared.batch_norm("bn", shared.conv("conv", x, {.out = 4, .kernel = 3, .padding = 1}));
  }
  c.net.output("y", x);
  const Graph graph = c.net.finish();
  EXPECT_THAT(keys(graph), ElementsAre("branch.conv.weight", "branch.conv.bias", "branch.bn.weight",
                                       "branch.bn.bias", "branch.bn.running_mean",
                                       "branch.bn.running_var", "branch.bn.num_batches_tracked"));
  EXPECT_EQ(count(graph, "conv"), 3);
  EXPECT_EQ(count(graph, "batch_norm"), 3);
  EXPECT_EQ(count(graph, "parameter"), 6);
  for (const auto& node : graph.nodes()) {
    if (!node->is("parameter")) continue;
    EXPECT_EQ(node->uses().size(), 3u);
  }
  // The first call counts.
  ASSERT_THAT(tap_names(graph), ElementsAre("branch.conv", "branch.bn"));
  EXPECT_TRUE(graph.taps()[0].value.node->operand(0).node->is("input"));
}

TEST(Dsl, SharedScopesShareTheirChildren) {
  Canvas c;
  const Scope shared = c.s.shared() / "a" / "b";
  const Tensor x = shared.linear("fc", c.rows, {.out = 8});
  c.net.output("y", shared.linear("fc", x, {.out = 8}));
  EXPECT_EQ(c.net.finish().parameters().size(), 2u);
}

TEST(Dsl, TapsAreTheLayersAndTheNamedOutputs) {
  Canvas c;
  const Scope block = c.s / "block";
  const Tensor inner = block.conv("conv", c.image, {.out = 4});
  const Tensor out = block.output(relu(inner));
  EXPECT_EQ(block.path(), "block");
  EXPECT_EQ(c.s.path(), "");
  c.s.output(out);  // the root has no name
  c.net.output("y", sigmoid(out));
  Graph graph = c.net.finish();
  EXPECT_THAT(tap_names(graph), ElementsAre("block.conv", "block"));
  EXPECT_TRUE(graph.taps()[1].value.node->is("relu"));
  graph.promote_taps({"block"});
  EXPECT_EQ(graph.outputs()[1].value.node->kind(), "relu");
}

TEST(Dsl, FunctionsBelongToTheScopeOfTheirLatestOperand) {
  Canvas c;
  const Tensor early = c.s.conv("early", c.image, {.out = 4});
  const Tensor late = c.s.conv("late", c.image, {.out = 4});
  c.net.output("late", early + late);
  c.net.output("also late", late + early);
  c.net.output("early", relu(early));
  c.net.output("number", early * 2);
  c.net.output("number first", maximum(0.5, early));
  const Graph graph = c.net.finish();
  const auto scope = [&](std::size_t i) {
    return graph.outputs()[i].value.node->provenance().scope;
  };
  EXPECT_EQ(scope(0), "late");
  EXPECT_EQ(scope(1), "late");
  EXPECT_EQ(scope(2), "early");
  EXPECT_EQ(scope(3), "early");
  EXPECT_EQ(scope(4), "early");
}

/// One location a line: the node and its caller must agree.
TEST(Dsl, NodesKnowTheLineTheyCameFrom) {
  Canvas c;
  const auto line_of = [](const Tensor& tensor) {
    const std::string& place = tensor.value().node->provenance().location;
    EXPECT_EQ(place.substr(0, place.find(':')), "dsl_test.cpp");
    return std::stoi(place.substr(place.find(':') + 1));
  };
  const Tensor x = c.net.input("x", {"N", 4});
  EXPECT_EQ(line_of(x), __LINE__ - 1);
  const Tensor conv = c.s.conv("a", c.image, {.out = 4});
  EXPECT_EQ(line_of(conv), __LINE__ - 1);
  EXPECT_EQ(line_of({conv.state(), conv.value().node->operand(1)}), __LINE__ - 2);
  const Tensor sum_of = conv + conv;
  EXPECT_EQ(line_of(sum_of), __LINE__ - 1);
  const Tensor product = 2 * conv;
  EXPECT_EQ(line_of(product), __LINE__ - 1);
  EXPECT_EQ(line_of({conv.state(), product.value().node->operand(0)}), __LINE__ - 2);
  const Tensor reduced = mean(conv, {2, 3});
  EXPECT_EQ(line_of(reduced), __LINE__ - 1);
  const Tensor normal = l2_normalize(x);
  EXPECT_EQ(line_of(normal), __LINE__ - 1);
  EXPECT_EQ(line_of({x.state(), normal.value().node->operand(1)}), __LINE__ - 2);
}

TEST(Dsl, DeadBranchesGoButTheStateDictStaysWhole) {
  Canvas c;
  const Scope used = c.s / "used";
  const Scope dead = c.s / "dead";
  const Tensor x = used.conv("conv", c.image, {.out = 4});
  const Tensor y = dead.batch_norm("bn", dead.conv("conv", x, {.out = 2}));
  relu(y);
  c.net.output("y", x);
  const Graph graph = c.net.finish();
  EXPECT_EQ(count(graph, "conv"), 1);
  EXPECT_EQ(count(graph, "batch_norm"), 0);
  EXPECT_EQ(count(graph, "relu"), 0);
  EXPECT_EQ(count(graph, "parameter"), 2);
  EXPECT_EQ(count(graph, "input"), 2);  // inputs are the caller's, read or not
  EXPECT_EQ(graph.parameters().size(), 2u + 2u + 5u);
  EXPECT_THAT(tap_names(graph), ElementsAre("used.conv"));
  EXPECT_EQ(fingerprint(parse_graph(to_text(graph))), fingerprint(graph));
}

TEST(Dsl, AFinishedGraphOutlivesItsNetwork) {
  Graph graph;
  {
    Canvas c;
    c.net.output("y", relu(c.rows));
    graph = c.net.finish();
  }
  verify(graph);
  EXPECT_EQ(&graph.outputs()[0].value.node->graph(), &graph);
  EXPECT_EQ(graph.name(), "canvas");
}

}  // namespace
}  // namespace facet::test
