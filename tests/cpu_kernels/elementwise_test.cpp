#include "ir/error.h"
#include "ir/ops/families.h"
#include "tests/cpu_kernels/harness.h"

namespace facet::testing {
namespace {

using ops::f32;

Sample program(std::vector<Type> operands, Strings lines, double lo = -1, double hi = 1) {
  return {std::move(operands), {{"program", std::move(lines)}}, lo, hi};
}

class Unary : public ::testing::TestWithParam<const char*> {};
TEST_P(Unary, FollowsTheOracle) { check_everywhere(GetParam()); }
INSTANTIATE_TEST_SUITE_P(Ops, Unary,
                         ::testing::Values("relu", "sigmoid", "tanh", "exp", "log", "sqrt", "rsqrt",
                                           "reciprocal", "neg", "abs", "square", "erf", "clamp",
                                           "floor", "ceil", "round", "sign", "sin", "cos", "tan",
                                           "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh",
                                           "atanh"),
                         [](const auto& test) { return std::string(test.param); });

class Binary : public ::testing::TestWithParam<const char*> {};
TEST_P(Binary, FollowsTheOracle) {
  const Type x = f32({2, 24, 19, 19});
  check_everywhere(
      GetParam(),
      {{{x, x}, {}, 0.3, 1.5}, {{x, f32({24, 1, 1})}, {}, 0.3, 1.5}, {{x, f32({})}, {}, 0.3, 1.5}});
}
INSTANTIATE_TEST_SUITE_P(Ops, Binary,
                         ::testing::Values("add", "sub", "mul", "div", "maximum", "minimum", "pow",
                                           "greater", "greater_equal", "equal"),
                         [](const auto& test) { return std::string(test.param); });

TEST(Elementwise, PreluAndBatchNorm) {
  const Type x = f32({2, 37, 15, 15});
  const Type c = f32({37});
  check_everywhere("prelu",
                   {{{x, c}, {}}, {{x, f32({1})}, {}}, {{f32({1, 1, 5, 3}), f32({1})}, {}}});
  check_everywhere("batch_norm", {{{x, c, c, c, c}, {}, 0.2, 1.5}});
}

TEST(Elementwise, ProgramsInStages) {
  const Type x = f32({3, 20, 17, 17});
  const Type map = f32({3, 1, 17, 17});
  const Type channel = f32({20, 1, 1});
  const Type gate = f32({3, 20, 1, 1});
  check_everywhere(
      "elementwise",
      {program({x, map}, {"sigmoid 1", "mul 0 2"}),
       program({x, x, map}, {"add 0 1", "relu 3", "tanh 2", "mul 4 5"}),
       program({x, channel, channel}, {"mul 0 1", "add 3 2", "relu 4"}),
       // Two values of one smaller space, one of them read by another space and by the result.
       program({x, gate, channel}, {"sigmoid 1", "square 2", "mul 3 4", "mul 0 5", "add 6 3"}),
       // A map times a channel vector has every axis though neither operand has.
       program({map, channel}, {"exp 0", "mul 2 1", "add 3 0"}),
       // A dead line, a literal alone, a product that two readers share.
       program({x, f32({1})}, {"exp 0", "mul 1 #0.5", "mul 0 3", "add 4 4", "clamp 5 #-0.25 1"}),
       program({x, channel}, {"prelu 0 1", "minimum 2 #0.3", "maximum 3 #-0.2", "sub #1 4"}),
       // Last axis only.
       program({f32({60, 300}), f32({300}), f32({60, 1})}, {"mul 0 1", "add 3 2", "erf 4"})},
      4e-6);
}

TEST(Elementwise, MoreValuesThanRegistersFit) {
  // All sums are kept until the end: tiles shrink, results stay.
  Strings lines;
  for (int i = 0; i < 40; ++i) lines.push_back(fmt::format("add 0 #{}", 0.125 * i));
  lines.push_back("add 1 2");
  for (int i = 3; i <= 40; ++i) lines.push_back(fmt::format("add {} {}", 38 + i, i));
  check_everywhere("elementwise", {program({f32({5, 1000})}, lines)}, 1e-4);
}

TEST(Elementwise, InPlace) {
  const Type x = f32({2, 24, 19, 19});
  const Type map = f32({2, 1, 19, 19});
  for (const DType dtype : kDtypes) {
    const Problem problems[] = {
        {find_op("relu"), {{x}, {}}, dtype, dtype},
        {find_op("add"), {{x, x}, {}}, dtype, dtype},
        {find_op("mul"), {{map, x}, {}}, dtype, dtype},
        {find_op("elementwise"),
         program({x, map, x}, {"sigmoid 1", "mul 0 3", "add 4 2", "add 5 0"}), dtype, dtype}};
    for (Arrangement how : arrangements(dtype)) {
      how.in_place = true;
      for (const int threads : {1, 2}) {
        how.threads = threads;
        for (const Problem& problem : problems) expect_like_oracle(problem, how);
      }
    }
  }
}

TEST(Elementwise, MixedLayoutsAndTypes) {
  const Type x = f32({2, 21, 11, 9});
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const DType vectors : {DType::f32, DType::bf16, DType::f16}) {
      const Arrangement how{dtype, vectors, "", "acdb", Gaps::none, false, 1};
      expect_like_oracle({find_op("prelu"), {{x, f32({21})}, {}}, dtype, vectors}, how);
      expect_like_oracle({find_op("add"), {{x, f32({9})}, {}}, dtype, vectors}, how);
      expect_like_oracle({find_op("batch_norm"),
                          {{x, f32({21}), f32({21}), f32({21}), f32({21})}, {}, 0.2, 1},
                          dtype,
                          vectors},
                         how);
    }
  }
  Sample narrowing = program({x, f32({21, 1, 1})}, {"mul 0 1"});
  narrowing.attributes.set("dtype", std::string("bf16"));
  expect_like_oracle({find_op("elementwise"), narrowing, DType::f32, DType::f32}, {});
}

TEST(Elementwise, NanAndInfinity) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> values{nan, inf, -inf, 0.0f, -1.0f, 2.0f};
  for (const char* name :
       {"relu", "sigmoid", "tanh", "exp", "erf", "neg", "abs", "square", "sqrt"}) {
    Graph graph;
    const Value x =
        graph.create("input", {}, {{"name", std::string("x")}, {"type", std::string("f32[6]")}})
            ->result();
    Node* node = graph.create(name, {x});
    graph.outputs().push_back({"y", node->result()});
    const HostTensor input = HostTensor::from_floats({6}, values);
    HostTensor actual(DType::f32, {6});
    const View view = dense_view(x.type());
    std::byte* in = const_cast<std::byte*>(input.data());
    std::byte* out = actual.mutable_data();
    cpu::lower_elementwise(*node, {&view, 1}, {&view, 1})
        ->bind(*host_queue(), {&in, 1}, {&out, 1}, nullptr)();
    const HostTensor expected = evaluate(graph, {{"x", input}}, {}).at("y");
    EXPECT_LE(worst_error({actual, expected}, 1e-7), 2.0) << name;
  }
}

TEST(Elementwise, Refuses) {
  Graph graph;
  const auto input = [&](const char* name, const char* type) {
    return graph.create("input", {}, {{"name", std::string(name)}, {"type", std::string(type)}})
        ->result();
  };
  const Value x = input("x", "f32[1, 16, 4, 4]");
  Type blocked = x.type();
  blocked.layout = "aBcd16b";
  const View view = dense_view(blocked);
  Node* relu = graph.create("relu", {x});
  EXPECT_THROW(cpu::lower_elementwise(*relu, {&view, 1}, {&view, 1}), Error);
  const Value wide = input("w", "f64[4]");
  const View doubles = dense_view(wide.type());
  EXPECT_THROW(cpu::lower_elementwise(*graph.create("relu", {wide}), {&doubles, 1}, {&doubles, 1}),
               Error);
}

}  // namespace
}  // namespace facet::testing
