#include <fmt/format.h>
#include <gmock/gmock.h>

#include <set>

#include "ir/elementwise_program.h"
#include "ir/op.h"
#include "tests/ir/error_of.h"
#include "tests/ir/networks.h"
#include "tests/support/op_samples.h"

/// What must hold for every op of the table, whichever ops there are.
namespace facet::test {
namespace {

using ::testing::HasSubstr;

class EveryOp : public ::testing::TestWithParam<const OpDef*> {
 protected:
  const OpDef& op() const { return *GetParam(); }
  /// Operands and attributes of a legal node, as inputs of `graph`.
  std::vector<Value> operands(Graph& graph) const {
    std::vector<Value> values;
    for (const Type& type : first().operands) {
      values.push_back(input(graph, fmt::format("x{}", values.size()), to_string(type)));
    }
    return values;
  }
  Sample first() const {
    const std::vector<Sample> samples = op().samples.make();
    if (!samples.empty()) return samples[0];
    if (op().name == "constant") return {{}, {{"value", HostTensor::scalar(DType::f32, 1)}}};
    return {{}, {{op().name == "input" ? "name" : "key", "x"}, {"type", "f32[2]"}}};
  }
};

TEST_P(EveryOp, IsFoundByItsName) {
  EXPECT_EQ(&find_op(op().name), &op());
  EXPECT_THAT(op().name, ::testing::MatchesRegex("[a-z][a-z0-9_]*"));
}

TEST_P(EveryOp, SaysWhatItDoes) {
  EXPECT_GE(op().doc.size(), 2u);
  EXPECT_FALSE(op().signature.results.empty());
  for (const std::string_view name : op().signature.operands) EXPECT_FALSE(name.empty());
  EXPECT_NE(op().infer, nullptr);
}

TEST_P(EveryOp, HasEachConcernOrAReason) {
  const bool has_samples = !op().samples.make().empty();
  EXPECT_NE(has_samples, !op().samples.reason().empty());

  const bool decomposes = op().decomposition.function() != nullptr;
  const bool has_rule = op().gradient.function() != nullptr;
  if (has_rule) {
    EXPECT_TRUE(op().gradient.reason().empty());
  } else if (op().gradient.reason().empty()) {
    EXPECT_TRUE(decomposes) << "the gradient of its decomposition";
  }

  const OnnxMapping& onnx = op().onnx;
  if (!onnx.name().empty()) {
    EXPECT_GE(onnx.since_opset(), 1);
    EXPECT_TRUE(onnx.reason().empty());
  } else if (onnx.reason().empty()) {
    EXPECT_TRUE(decomposes) << "ONNX maps it by its decomposition";
  }
}

TEST_P(EveryOp, EverySampleIsALegalNode) {
  for (const Sample& sample : op().samples.make()) {
    SCOPED_TRACE(testing::describe(op(), sample));
    ASSERT_LT(sample.lo, sample.hi);
    testing::SampleCase c = testing::make_case(op(), sample);
    verify(c.graph);
    const Node* node = c.graph.outputs().at(0).value.node;
    ASSERT_EQ(node->kind(), op().name);
    if (op().signature.results.back().ends_with("...")) {
      EXPECT_GE(node->result_types().size(), 1U);
    } else {
      EXPECT_EQ(node->result_types().size(), op().signature.results.size());
    }
    if (op().cost.is_free()) {
      EXPECT_EQ(op().cost.flops(*node), 0);
    } else {
      EXPECT_GT(op().cost.flops(*node), 0);
    }
  }
}

TEST_P(EveryOp, RefusesAttributesItDoesNotHave) {
  Graph graph;
  const std::vector<Value> values = operands(graph);
  Attributes attributes = first().attributes;
  attributes.set("no_such_attribute", true);
  EXPECT_THAT(error_of([&] { graph.create(op(), values, attributes); }),
              HasSubstr("has no attribute 'no_such_attribute'"));
}

TEST_P(EveryOp, RefusesAttributesOfAnotherKind) {
  Graph graph;
  const std::vector<Value> values = operands(graph);
  for (const AttributeSpec& spec : op().attributes) {
    const std::vector<Attribute> kinds{true,    std::int64_t{1}, 0.5,       std::string("x"),
                                       Ints{1}, Doubles{1},      Strings{}, HostTensor()};
    for (const Attribute& other : kinds) {
      if (other.index() == spec.default_value.index()) continue;
      Attributes attributes = first().attributes;
      attributes.set(std::string(spec.name), other);
      EXPECT_THAT(error_of([&] { graph.create(op(), values, attributes); }),
                  HasSubstr(fmt::format("attribute '{}' of op", spec.name)));
    }
  }
}

TEST_P(EveryOp, RequiresItsRequiredAttributesOnly) {
  Graph graph;
  const std::vector<Value> values = operands(graph);
  for (const AttributeSpec& spec : op().attributes) {
    Attributes attributes = first().attributes;
    attributes.erase(spec.name);
    if (spec.required) {
      EXPECT_THAT(error_of([&] { graph.create(op(), values, attributes); }),
                  HasSubstr(fmt::format("attribute '{}'", spec.name)));
    } else {
      const Node* node = graph.create(op(), values, attributes);
      EXPECT_TRUE(equal(
          *[&] {
            for (const auto& [name, value] : node->attributes()) {
              if (name == spec.name) return &value;
            }
            return static_cast<const Attribute*>(nullptr);
          }(),
          spec.default_value));
    }
  }
}

TEST_P(EveryOp, RefusesTooFewAndTooManyOperands) {
  Graph graph;
  std::vector<Value> values = operands(graph);
  const auto [least, most] = op().signature.arity();
  EXPECT_LE(least, static_cast<int>(values.size()));
  if (most >= 0) {
    std::vector<Value> many = values;
    while (static_cast<int>(many.size()) <= most) {
      many.push_back(input(graph, fmt::format("more{}", many.size()), "f32[1]"));
    }
    EXPECT_THAT(error_of([&] { graph.create(op(), many, first().attributes); }),
                HasSubstr(fmt::format("operands, not {}", many.size())));
  }
  if (least == 0) return;
  values.resize(static_cast<std::size_t>(least - 1));
  EXPECT_THAT(error_of([&] { graph.create(op(), values, first().attributes); }),
              HasSubstr(fmt::format("operands, not {}", values.size())));
}

INSTANTIATE_TEST_SUITE_P(OpTable, EveryOp, ::testing::ValuesIn(all_ops()),
                         [](const auto& tested) { return std::string(tested.param->name); });

TEST(OpTable, HoldsTheOpSet) {
  std::set<std::string_view> names;
  for (const OpDef* op : all_ops()) EXPECT_TRUE(names.insert(op->name).second) << op->name;
  EXPECT_THAT(names,
              ::testing::IsSupersetOf(std::vector<std::string_view>{
                  "input",      "parameter",  "constant",   "conv",     "linear",     "matmul",
                  "batch_norm", "relu",       "sigmoid",    "tanh",     "exp",        "log",
                  "sqrt",       "rsqrt",      "reciprocal", "neg",      "abs",        "square",
                  "erf",        "clamp",      "add",        "sub",      "mul",        "div",
                  "maximum",    "minimum",    "pow",        "prelu",    "softmax",    "reduce_mean",
                  "reduce_sum", "reduce_max", "max_pool",   "avg_pool", "reshape",    "transpose",
                  "concat",     "slice",      "cast",       "reorder",  "elementwise"}));
}

TEST(OpTable, SignaturesCountTheirOperands) {
  EXPECT_EQ(Signature({"x"}, {"y"}).arity(), std::pair(1, 1));
  EXPECT_EQ(Signature({}, {"y"}).arity(), std::pair(0, 0));
  EXPECT_EQ(Signature({"x", "bias?"}, {"y"}).arity(), std::pair(1, 2));
  EXPECT_EQ(Signature({"x", "rest..."}, {"y"}).arity(), std::pair(1, -1));
}

/// Multiply-adds count two; numbers by hand.
TEST(OpTable, ComputeCostsCountMultiplyAdds) {
  const auto flops = [](std::string_view op, const std::vector<const char*>& types,
                        const Attributes& attributes) {
    Graph graph;
    std::vector<Value> values;
    for (const char* type : types) {
      values.push_back(input(graph, fmt::format("x{}", values.size()), type));
    }
    const Node* node = graph.create(op, values, attributes);
    EXPECT_TRUE(node->op().cost.is_compute());
    return node->op().cost.flops(*node);
  };
  EXPECT_EQ(flops("conv", {"f32[2, 16, 8, 8]", "f32[32, 16, 3, 3]"}, {{"pads", Ints{1, 1, 1, 1}}}),
            2.0 * 2 * 32 * 8 * 8 * 16 * 9);
  EXPECT_EQ(flops("conv", {"f32[1, 16, 8, 8]", "f32[32, 4, 1, 1]"}, {{"groups", std::int64_t{4}}}),
            2.0 * 32 * 64 * 4);
  EXPECT_EQ(flops("linear", {"f32[3, 5, 20]", "f32[12, 20]"}, {}), 2.0 * 15 * 12 * 20);
  EXPECT_EQ(flops("matmul", {"f32[2, 4, 6]", "f32[2, 6, 5]"}, {}), 2.0 * 2 * 4 * 5 * 6);
  EXPECT_EQ(flops("matmul", {"f32[7, 4]", "f32[7, 5]"}, {{"transpose_a", true}}), 2.0 * 4 * 5 * 7);
}

}  // namespace
}  // namespace facet::test
