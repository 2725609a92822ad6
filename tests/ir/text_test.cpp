#include "ir/text.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <limits>

#include "ir/op.h"
#include "tests/ir/error_of.h"
#include "tests/ir/networks.h"
#include "tests/support/op_samples.h"

namespace facet::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// 1/sqrt(27), 1/sqrt(12) and 1/sqrt(96) bound the fresh weights.
constexpr std::string_view kTwoBranches = R"(graph "two_branches" {
  param "stem.conv.weight" : f32[4, 3, 3, 3] weight uniform(-0.19245008972987526, 0.19245008972987526)
  param "stem.bn.weight" : f32[4] bn_weight constant(1.0, 0.0)
  param "stem.bn.bias" : f32[4] bn_bias constant(0.0, 0.0)
  param "stem.bn.running_mean" : f32[4] running_mean constant(0.0, 0.0) frozen
  param "stem.bn.running_var" : f32[4] running_var constant(1.0, 0.0) frozen
  param "stem.bn.num_batches_tracked" : i64[] batches_tracked constant(0.0, 0.0) frozen
  param "side.weight" : f32[2, 3, 2, 2] weight uniform(-0.2886751345948129, 0.2886751345948129)
  param "side.bias" : f32[2] bias uniform(-0.2886751345948129, 0.2886751345948129)
  param "act.weight" : f32[2] prelu_slope constant(0.25, 0.0)
  param "fc.weight" : f32[5, 96] weight uniform(-0.10206207261596577, 0.10206207261596577)
  param "fc.bias" : f32[5] bias uniform(-0.10206207261596577, 0.10206207261596577)
  %0 = input() {name = "image", type = "f32[N, 3, 8, 8]"} : f32[N, 3, 8, 8] @ "image"
  %1 = parameter() {key = "stem.conv.weight", type = "f32[4, 3, 3, 3]"} : f32[4, 3, 3, 3] @ "stem.conv"
  %2 = conv(%0, %1) {pads = [1, 1, 1, 1], strides = [2, 2]} : f32[N, 4, 4, 4] @ "stem.conv"
  %3 = parameter() {key = "stem.bn.weight", type = "f32[4]"} : f32[4] @ "stem.bn"
  %4 = parameter() {key = "stem.bn.bias", type = "f32[4]"} : f32[4] @ "stem.bn"
  %5 = parameter() {key = "stem.bn.running_mean", type = "f32[4]"} : f32[4] @ "stem.bn"
  %6 = parameter() {key = "stem.bn.running_var", type = "f32[4]"} : f32[4] @ "stem.bn"
  %7 = batch_norm(%2, %3, %4, %5, %6) : f32[N, 4, 4, 4] @ "stem.bn"
  %8 = relu(%7) : f32[N, 4, 4, 4] @ "stem.bn"
  %9 = parameter() {key = "side.weight", type = "f32[2, 3, 2, 2]"} : f32[2, 3, 2, 2] @ "side"
  %10 = parameter() {key = "side.bias", type = "f32[2]"} : f32[2] @ "side"
  %11 = conv(%0, %9, %10) {epilogue = ["bias"], strides = [2, 2]} : f32[N, 2, 4, 4] @ "side"
  %12 = parameter() {key = "act.weight", type = "f32[2]"} : f32[2] @ "act"
  %13 = prelu(%11, %12) : f32[N, 2, 4, 4] @ "act"
  %14 = concat(%8, %13) {axis = 1} : f32[N, 6, 4, 4] @ "act"
  %15 = reshape(%14) {shape = [0, -1]} : f32[N, 96] @ "act"
  %16 = parameter() {key = "fc.weight", type = "f32[5, 96]"} : f32[5, 96] @ "fc"
  %17 = parameter() {key = "fc.bias", type = "f32[5]"} : f32[5] @ "fc"
  %18 = linear(%15, %16, %17) {epilogue = ["bias"]} : f32[N, 5] @ "fc"
  return "embedding" = %18, "features" = %14
}
)";

void expect_round_trip(const Graph& graph) {
  const std::string text = to_text(graph);
  Graph back;
  ASSERT_NO_THROW(back = parse_graph(text)) << text;
  EXPECT_EQ(to_text(back), text);
  EXPECT_EQ(fingerprint(back), fingerprint(graph)) << text;
  ASSERT_EQ(back.parameters().size(), graph.parameters().size());
  for (std::size_t i = 0; i < graph.parameters().size(); ++i) {
    const Parameter& a = back.parameters()[i];
    const Parameter& b = graph.parameters()[i];
    EXPECT_EQ(a.key, b.key);
    EXPECT_EQ(a.type, b.type);
    EXPECT_EQ(a.role, b.role);
    EXPECT_EQ(a.init.kind, b.init.kind);
    EXPECT_EQ(a.init.a, b.init.a);
    EXPECT_EQ(a.init.b, b.init.b);
    EXPECT_EQ(a.trainable, b.trainable);
    EXPECT_TRUE(equal(a.fixed, b.fixed)) << a.key;
  }
}

TEST(Text, CanonicalFormOfANetwork) { EXPECT_EQ(to_text(two_branches()), kTwoBranches); }

TEST(Text, NetworksReadBack) {
  expect_round_trip(two_branches());
  expect_round_trip(attention());
  expect_round_trip(two_branches().with_symbol("N", 3));
  expect_round_trip(Graph("nothing in it"));
}

TEST(Text, EverySampleOfEveryOpReadsBack) {
  int samples = 0;
  for (const OpDef* op : all_ops()) {
    for (const Sample& sample : op->samples.make()) {
      SCOPED_TRACE(testing::describe(*op, sample));
      expect_round_trip(testing::make_case(*op, sample).graph);
      ++samples;
    }
  }
  EXPECT_GT(samples, 100);
}

TEST(Text, LayoutsReadBack) {
  Graph graph;
  Node* relu = graph.create("relu", {input(graph, "x", "f32[1, 16, 2, 2]")});
  relu->set_result_type(0, parse_type("f32[1, 16, 2, 2]@aBcd16b"));
  Node* reorder = graph.create("reorder", {relu->result()}, {{"layout", std::string("acdb")}});
  graph.outputs().push_back({"y", reorder->result()});
  EXPECT_THAT(to_text(graph), HasSubstr("%1 = relu(%0) : f32[1, 16, 2, 2]@aBcd16b\n"));
  expect_round_trip(graph);
}

TEST(Text, ConstantsReadBackExactly) {
  Graph graph("constants");
  constant(graph, {3}, {0.1f, -0.0f, 1e-40f});
  graph.create("constant", {}, {{"value", HostTensor(DType::f64, {2, 0})}});
  graph.create("constant", {},
               {{"value", HostTensor::from_doubles({3}, {1.0 / 3, 1e300, -7}).cast(DType::f64)}});
  for (const DType type :
       {DType::bf16, DType::f16, DType::i64, DType::i32, DType::i8, DType::u8, DType::boolean}) {
    graph.create("constant", {}, {{"value", HostTensor::from_doubles({2, 1}, {0, 1}).cast(type)}});
  }
  const float special[] = {std::numeric_limits<float>::infinity(),
                           -std::numeric_limits<float>::infinity()};
  constant(graph, {2}, {special[0], special[1]});
  expect_round_trip(graph);
}

TEST(Text, LargeConstantsPrintAHashThatDoesNotReadBack) {
  Graph graph;
  std::vector<float> squares(65);
  for (std::size_t i = 0; i < squares.size(); ++i) squares[i] = static_cast<float>(i * i);
  constant(graph, {65}, squares);
  const std::string text = to_text(graph);
  EXPECT_THAT(text, HasSubstr("tensor<f32[65]; hash "));
  EXPECT_THAT(error_of([&] { parse_graph(text); }),
              HasSubstr("line 2, column 44: expected values: a constant printed as a hash cannot"));
}

TEST(Text, NamesWithAnyCharactersReadBack) {
  const std::string odd = "a \"b\" \\ c\nd\te {%1} @ é";
  Graph graph(odd);
  const Value x = input(graph, odd, "f32[1]");
  parameter(graph, odd, "f32[2]");
  Node* relu = graph.create("relu", {x}, {}, {odd, "", {}});
  graph.outputs().push_back({odd, relu->result()});
  const std::string text = to_text(graph);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 7);  // one line a node even so
  expect_round_trip(graph);
  EXPECT_EQ(parse_graph(text).name(), odd);
}

TEST(Text, SpacingIsFreeWhenReading) {
  std::string text(kTwoBranches);
  for (std::size_t at = text.find('\n'); at != std::string::npos; at = text.find('\n', at + 3)) {
    text.replace(at, 1, "\r\n\t");
  }
  EXPECT_EQ(to_text(parse_graph("  \n" + text + "\n \n")), kTwoBranches);
}

TEST(Text, OptionsLeaveParts) {
  const Graph graph = two_branches();
  EXPECT_THAT(to_text(graph, {.parameters = false}), Not(HasSubstr("  param ")));
  EXPECT_THAT(to_text(graph, {.scopes = false}), Not(HasSubstr("@")));
  EXPECT_THAT(to_text(graph, {.attributes = false}), Not(HasSubstr("strides")));
  EXPECT_THAT(to_text(graph, {.attributes = false}),
              HasSubstr("  %2 = conv(%0, %1) : f32[N, 4, 4, 4] @ \"stem.conv\"\n"));
  // Without scopes the graph is the same to its fingerprint.
  EXPECT_EQ(fingerprint(parse_graph(to_text(graph, {.scopes = false}))), fingerprint(graph));
}

TEST(Text, SeveralResultsPrintTheirCountAndTypes) {
  OpDef halves = find_op("relu");
  halves.infer = [](const InferContext& context) {
    return std::vector<Type>{context.operand(0), parse_type("i64[2]")};
  };
  Graph graph("g");
  Node* node = graph.create(halves, {input(graph, "x", "f32[2]")});
  graph.create("abs", {node->result(0)});
  graph.outputs().push_back({"y", node->result(1)});
  const std::string text = to_text(graph);
  EXPECT_THAT(text, HasSubstr("  %1:2 = relu(%0) : (f32[2], i64[2])\n  %2 = abs(%1.0) : f32[2]\n"));
  EXPECT_THAT(text, HasSubstr("return \"y\" = %1.1\n"));
}

}  // namespace
}  // namespace facet::test
