#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "ir/graph.h"
#include "ir/op.h"
#include "tests/ir/networks.h"

namespace facet::test {
namespace {

/// y0 = softmax(relu(x) - neg(x)), y1 = relu(x): enough wiring to change any part of it.
struct Subject {
  Graph graph{"subject"};
  Value x = input(graph, "x", "f32[2, 3]");
  Value w = parameter(graph, "w", "f32[2, 3]");
  Value relu = graph.create("relu", {x})->result();
  Value neg = graph.create("neg", {w})->result();
  Value sub = graph.create("sub", {relu, neg})->result();
  Value scale = constant(graph, {3}, {1, 2, 3});
  Value mul = graph.create("mul", {sub, scale})->result();
  Value softmax = graph.create("softmax", {mul})->result();
  Subject() {
    graph.outputs().push_back({"y0", softmax});
    graph.outputs().push_back({"y1", relu});
  }
};

std::uint64_t after(const std::function<void(Subject&)>& change) {
  Subject subject;
  change(subject);
  return fingerprint(subject.graph);
}

TEST(Fingerprint, IgnoresNamesScopesTapsAndUnreadParameters) {
  const std::uint64_t plain = fingerprint(Subject().graph);
  EXPECT_EQ(after([](Subject&) {}), plain);
  EXPECT_EQ(after([](Subject& s) { s.graph.set_name("other"); }), plain);
  EXPECT_EQ(after([](Subject& s) { s.relu.node->provenance().scope = "layer1"; }), plain);
  EXPECT_EQ(after([](Subject& s) { s.relu.node->provenance().location = "net.cpp:3"; }), plain);
  EXPECT_EQ(after([](Subject& s) { s.relu.node->provenance().origins = {"a", "b"}; }), plain);
  EXPECT_EQ(after([](Subject& s) { s.graph.taps().push_back({"t", s.neg}); }), plain);
  EXPECT_EQ(after([](Subject& s) { s.graph.parameters().clear(); }), plain);
  EXPECT_EQ(fingerprint(Subject().graph.clone()), plain);
}

/// Every change gives a value of its own.
TEST(Fingerprint, ChangesWithWhatIsComputed) {
  const std::vector<std::function<void(Subject&)>> changes{
      [](Subject&) {},
      // wiring
      [](Subject& s) { s.sub.node->set_operand(0, s.neg); },
      [](Subject& s) { s.sub.node->set_operand(1, s.relu); },
      [](Subject& s) {
        s.sub.node->set_operand(0, s.neg);
        s.sub.node->set_operand(1, s.relu);
      },
      [](Subject& s) { s.softmax.node->set_operand(0, s.sub); },
      [](Subject& s) { s.graph.outputs()[1].value = s.neg; },
      // outputs
      [](Subject& s) { s.graph.outputs()[1].name = "y2"; },
      [](Subject& s) { s.graph.outputs().pop_back(); },
      [](Subject& s) { std::swap(s.graph.outputs()[0].value, s.graph.outputs()[1].value); },
      // attributes
      [](Subject& s) { s.softmax.node->attributes().set("axis", std::int64_t{0}); },
      [](Subject& s) { s.w.node->attributes().set("key", std::string("v")); },
      [](Subject& s) { s.x.node->attributes().set("name", std::string("z")); },
      [](Subject& s) {
        s.scale.node->attributes().set("value", HostTensor::from_floats({3}, {1, 2, 4}));
      },
      [](Subject& s) {
        s.scale.node->attributes().set("value", HostTensor::from_floats({1, 3}, {1, 2, 3}));
      },
      // types and layouts
      [](Subject& s) { s.relu.node->set_result_type(0, parse_type("bf16[2, 3]")); },
      [](Subject& s) { s.relu.node->set_result_type(0, parse_type("f32[2, 3]@ba")); },
      [](Subject& s) { s.relu.node->set_result_type(0, parse_type("f32[N, 3]")); },
      // ops
      [](Subject& s) { s.graph.create("relu", {s.sub}); },
      [](Subject& s) { s.graph.create("abs", {s.sub}); },
      [](Subject& s) {
        s.graph.create("concat", {s.sub}, {{"axis", std::int64_t{1}}});
      },
      [](Subject& s) {
        s.graph.create("concat", {s.sub, s.sub}, {{"axis", std::int64_t{1}}});
      },
      [](Subject& s) {
        s.graph.create("elementwise", {s.sub}, {{"program", Strings{"neg 0", "abs 1"}}});
      },
      [](Subject& s) {
        s.graph.create("elementwise", {s.sub}, {{"program", Strings{"abs 0", "neg 1"}}});
      },
      [](Subject& s) {
        s.graph.create("clamp", {s.sub}, {{"min", 0.0}, {"max", 1.0}});
      },
      [](Subject& s) {
        s.graph.create("clamp", {s.sub}, {{"min", 0.0}, {"max", 1.0000000000000002}});
      },
  };
  std::set<std::uint64_t> values;
  for (const auto& change : changes) values.insert(after(change));
  EXPECT_EQ(values.size(), changes.size());
}

TEST(Fingerprint, FollowsWhichResultIsRead) {
  OpDef twins = find_op("relu");
  twins.infer = [](const InferContext& context) {
    return std::vector<Type>{context.operand(0), context.operand(0)};
  };
  const auto of = [&](int read, int given) {
    Graph graph;
    Node* node = graph.create(twins, {input(graph, "x", "f32[2]")});
    graph.create("neg", {node->result(read)});
    graph.outputs().push_back({"y", node->result(given)});
    return fingerprint(graph);
  };
  EXPECT_EQ((std::set{of(0, 0), of(0, 1), of(1, 0), of(1, 1)}).size(), 4u);
}

TEST(Fingerprint, LargeConstantsCountWithEveryByte) {
  const auto of = [](float last) {
    Graph graph;
    std::vector<float> values(1000, 1);
    values.back() = last;
    constant(graph, {1000}, values);
    return fingerprint(graph);
  };
  EXPECT_NE(of(1), of(2));
  EXPECT_EQ(of(2), of(2));
}

}  // namespace
}  // namespace facet::test
