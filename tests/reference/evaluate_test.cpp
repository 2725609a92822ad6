#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/reference/evaluators.h"
#include "backends/reference/reference.h"
#include "ir/error.h"
#include "ir/op.h"
#include "tests/reference/evaluate_op.h"
#include "tests/support/op_samples.h"

namespace facet::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Numbers = std::vector<double>;

Value input(Graph& graph, const std::string& name, const std::string& type) {
  return graph.create("input", {}, {{"name", name}, {"type", type}})->result();
}

Value parameter(Graph& graph, const std::string& key, const std::string& type) {
  graph.parameters().push_back({key, parse_type(type), ParameterRole::weight, {}, true, {}});
  return graph.create("parameter", {}, {{"key", key}, {"type", type}})->result();
}

/// embedding = linear(flatten(x), w); the symbol N is the batch.
Graph make_network() {
  Graph graph("net");
  const Value x = input(graph, "x", "f32[N, 2, 1]");
  const Value w = parameter(graph, "fc.weight", "f32[3, 2]");
  const Value flat = graph.create("reshape", {x}, {{"shape", Ints{0, -1}}})->result();
  graph.outputs().push_back({"embedding", graph.create("linear", {flat, w})->result()});
  graph.outputs().push_back({"flat", flat});
  return graph;
}

TEST(Table, EveryOpHasAnEvaluatorAndEveryEvaluatorAnOp) {
  std::vector<std::string_view> ops, evaluators;
  for (const OpDef* op : all_ops()) ops.push_back(op->name);
  for (const auto& [name, function] : reference::evaluators()) evaluators.push_back(name);
  EXPECT_THAT(evaluators, ::testing::UnorderedElementsAreArray(ops));
}

TEST(Evaluate, SymbolsTakeTheirExtentFromTheInputs) {
  const Graph graph = make_network();
  const TensorMap parameters{{"fc.weight", tensor({3, 2}, {1, 0, 0, 1, 1, 1})}};
  const auto one = evaluate(graph, {{"x", tensor({1, 2, 1}, {5, 7})}}, parameters);
  EXPECT_EQ(one.at("embedding").shape(), (std::vector<std::int64_t>{1, 3}));
  EXPECT_EQ(one.at("embedding").dtype(), DType::f64);
  EXPECT_EQ(one.at("embedding").to_doubles(), (Numbers{5, 7, 12}));
  const auto two = evaluate(graph, {{"x", tensor({2, 2, 1}, {1, 2, 3, 4})}}, parameters);
  EXPECT_EQ(two.at("embedding").to_doubles(), (Numbers{1, 2, 3, 3, 4, 7}));
  EXPECT_EQ(two.at("flat").to_doubles(), (Numbers{1, 2, 3, 4}));
}

TEST(Evaluate, MultiplesOfASymbolAgree) {
  Graph graph;
  const Value x = input(graph, "x", "f32[N, 4]");
  const Value split = graph.create("reshape", {x}, {{"shape", Ints{-1, 2}}})->result();
  const Value y = input(graph, "y", "f32[2*N, 2]");
  graph.outputs().push_back({"sum", graph.create("add", {split, y})->result()});
  const HostTensor four = tensor({1, 4}, {1, 2, 3, 4});
  EXPECT_EQ(evaluate(graph, {{"x", four}, {"y", four.reshaped({2, 2})}}, {}).at("sum").to_doubles(),
            (Numbers{2, 4, 6, 8}));
  EXPECT_THROW(evaluate(graph, {{"x", four}, {"y", tensor({1, 2}, {1, 2})}}, {}), Error);
}

TEST(Evaluate, NothingIsRoundedToTheDeclaredDtype) {
  Graph graph;
  const Value x = input(graph, "x", "bf16[1]");
  const Value low = graph.create("cast", {x}, {{"dtype", std::string("bf16")}})->result();
  graph.outputs().push_back({"y", graph.create("square", {low})->result()});
  EXPECT_EQ(evaluate(graph, {{"x", tensor({1}, {1.0 / 3})}}, {}).at("y").at(0),
            1.0 / 3 * (1.0 / 3));
}

TEST(Evaluate, ReadsAnyDtype) {
  Graph graph;
  graph.outputs().push_back({"y", input(graph, "x", "u8[2]")});
  HostTensor bytes(DType::u8, {2});
  bytes.as_mutable<std::uint8_t>()[1] = 255;
  EXPECT_EQ(evaluate(graph, {{"x", bytes}}, {}).at("y").to_doubles(), (Numbers{0, 255}));
}

TEST(Evaluate, ConstantsAndValuesWithSeveralReaders) {
  Graph graph;
  const Value x = input(graph, "x", "f32[2]");
  const Value two =
      graph.create("constant", {}, {{"value", HostTensor::scalar(DType::f32, 2)}})->result();
  const Value doubled = graph.create("mul", {x, two})->result();
  const Value squared = graph.create("mul", {doubled, doubled})->result();
  graph.create("neg", {squared});  // nobody reads it
  graph.outputs().push_back({"y", graph.create("add", {squared, x})->result()});
  graph.outputs().push_back({"doubled", doubled});
  graph.outputs().push_back({"again", doubled});
  const auto outputs = evaluate(graph, {{"x", tensor({2}, {1, 3})}}, {});
  EXPECT_EQ(outputs.at("y").to_doubles(), (Numbers{5, 39}));
  EXPECT_EQ(outputs.at("doubled").to_doubles(), (Numbers{2, 6}));
  EXPECT_EQ(outputs.at("again").to_doubles(), (Numbers{2, 6}));
}

TEST(Evaluate, OperandsStayUntouched) {
  const HostTensor x = tensor({1, 1, 1, 1}, {2});
  const HostTensor bias = tensor({1}, {1});
  const HostTensor y = evaluate_op("conv", {x, x, bias}, {{"epilogue", Strings{"bias"}}});
  EXPECT_EQ(y.at(0), 5);
  evaluate_op("cast", {x}, {{"dtype", std::string("i32")}});
  EXPECT_EQ(x.at(0), 2);
  EXPECT_EQ(bias.at(0), 1);
}

std::string message(const Graph& graph, const TensorMap& inputs, const TensorMap& parameters) {
  try {
    evaluate(graph, inputs, parameters);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return error.what();
  }
  return "no error";
}

TEST(Evaluate, ListsEverythingThatIsMissingOrMisShaped) {
  EXPECT_THAT(message(make_network(), {}, {}),
              AllOf(HasSubstr("'net'"), HasSubstr("input 'x' [N, 2, 1] is missing"),
                    HasSubstr("parameter 'fc.weight' [3, 2] is missing")));
  EXPECT_THAT(message(make_network(), {{"x", tensor({1, 3, 1}, {1, 2, 3})}},
                      {{"fc.weight", tensor({2, 3}, Numbers(6))}}),
              AllOf(HasSubstr("input 'x' has shape [1, 3, 1], expected [N, 2, 1]"),
                    HasSubstr("parameter 'fc.weight' has shape [2, 3], expected [3, 2]")));
  EXPECT_THAT(message(make_network(), {{"x", tensor({2}, {1, 2})}},
                      {{"fc.weight", tensor({3, 2}, Numbers(6))}}),
              AllOf(HasSubstr("input 'x' has shape [2]"), Not(HasSubstr("fc.weight"))));
}

/// A decomposition writes numbers (an epsilon, say) as f32 constants, so the op must start from a
/// number that f32 holds for the two to agree to the last digits.
void round_numbers_to_f32(Node& node) {
  Attributes& attributes = node.attributes();
  for (const auto& [name, value] : Attributes(attributes)) {
    if (const double* number = std::get_if<double>(&value)) {
      attributes.set(name, static_cast<double>(static_cast<float>(*number)));
    }
  }
}

TEST(Decomposition, EqualsTheOpOnAllItsSamples) {
  int compared = 0;
  for (const OpDef* op : all_ops()) {
    if (op->decomposition.function() == nullptr) continue;
    for (const Sample& sample : op->samples.make()) {
      SampleCase with_op = make_case(*op, sample);
      round_numbers_to_f32(*with_op.graph.node_list().back());
      Graph plain = with_op.graph.clone();
      if (!decompose(plain, plain.node_list().back())) continue;  // no epilogue: plain already
      verify(plain);
      const auto expected = evaluate(with_op.graph, with_op.inputs, {});
      const auto actual = evaluate(plain, with_op.inputs, {});
      for (const auto& [name, value] : expected) {
        EXPECT_LT(max_difference(actual.at(name), value), 1e-12) << describe(*op, sample);
      }
      ++compared;
    }
  }
  EXPECT_GE(compared, 15);
}

}  // namespace
}  // namespace facet::testing
