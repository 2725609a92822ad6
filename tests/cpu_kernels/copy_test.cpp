#include "backends/cpu/kernels/kernels.h"
#include "ir/error.h"
#include "ir/ops/families.h"
#include "tests/cpu_kernels/harness.h"

namespace facet::testing {
namespace {

using ops::f32;

/// Copies are exact: the oracle on values of the operand's dtype, rounded once.
void expect_exact(const Problem& problem, const Arrangement& how) {
  const Outcome outcome = problem.run(how);
  EXPECT_EQ(max_difference(outcome.actual, outcome.expected.cast(outcome.actual.dtype())), 0)
      << problem.text() << "\n"
      << describe(how);
  EXPECT_TRUE(outcome.gaps_kept) << problem.text() << "\n" << describe(how);
}

/// Every operand layout against every result layout.
void expect_exact_everywhere(std::string_view name, const std::vector<Sample>& more) {
  const OpDef& op = find_op(name);
  std::vector<Sample> samples = op.samples.make();
  samples.insert(samples.end(), more.begin(), more.end());
  for (const Sample& sample : samples) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Problem problem(op, sample, dtype, dtype);
      for (Arrangement how : arrangements(dtype)) {
        for (const char* layout : {"", "acdb", "dbca"}) {
          how.result_layout = layout;
          how.threads = how.gaps == Gaps::none ? 2 : 1;
          expect_exact(problem, how);
        }
      }
    }
  }
}

TEST(Copy, Transpose) {
  expect_exact_everywhere("transpose",
                          {{{f32({3, 70, 130})}, {{"permutation", Ints{0, 2, 1}}}},
                           {{f32({2, 19, 33, 21})}, {{"permutation", Ints{2, 0, 3, 1}}}},
                           {{f32({1, 64, 32, 16})}, {{"permutation", Ints{0, 2, 3, 1}}}},
                           {{f32({5, 3, 1100})}, {{"permutation", Ints{0, 2, 1}}}},
                           {{f32({5, 1100, 4})}, {{"permutation", Ints{0, 2, 1}}}},
                           {{f32({2, 17, 2})}, {{"permutation", Ints{2, 1, 0}}}}});
}

TEST(Copy, Concat) {
  const auto sample = [](std::vector<Type> operands, std::int64_t axis) {
    return Sample{std::move(operands), {{"axis", axis}}};
  };
  expect_exact_everywhere(
      "concat", {sample({f32({2, 33, 20, 17}), f32({2, 1, 20, 17}), f32({2, 30, 20, 17})}, 1),
                 sample({f32({2, 3, 5, 4}), f32({2, 3, 2, 4})}, 2),
                 sample({f32({2, 3, 5, 4}), f32({1, 3, 5, 4})}, -4)});
}

TEST(Copy, Slice) {
  const auto sample = [](std::int64_t axis, std::int64_t start, std::int64_t end) {
    return Sample{{f32({2, 40, 23, 17})}, {{"axis", axis}, {"start", start}, {"end", end}}};
  };
  expect_exact_everywhere("slice",
                          {sample(1, 8, 40), sample(-1, 3, 4), sample(0, 1, 2), sample(2, 0, 22)});
}

TEST(Copy, PadAndReverse) {
  const Type x = f32({2, 24, 19, 19});
  std::vector<Sample> reversed, padded;
  for (const std::int64_t axis : {0, 1, 2, 3}) {
    reversed.push_back({{x}, {{"axis", axis}}});
    padded.push_back({{x}, {{"axis", axis}, {"before", std::int64_t{2}}}});
    padded.push_back({{x}, {{"axis", axis}, {"after", std::int64_t{1}}}});
  }
  expect_exact_everywhere("reverse", reversed);
  expect_exact_everywhere("pad", padded);
}

TEST(Copy, PadModes) {
  std::vector<Sample> samples;
  for (const char* mode : {"constant", "edge", "reflect", "wrap"}) {
    for (const std::int64_t axis : {0, 1, 2, 3}) {
      const Attributes pads{{"axis", axis},
                            {"before", std::int64_t{3}},
                            {"after", axis == 3 ? std::int64_t{9} : std::int64_t{1}},
                            {"mode", std::string(mode)},
                            {"value", 0.75}};
      samples.push_back({{f32({2, 5, 4, 6})}, pads});
    }
  }
  samples.push_back({{f32({2, 24, 19, 19})},
                     {{"axis", std::int64_t{2}},
                      {"before", std::int64_t{1}},
                      {"mode", std::string("reflect")}}});
  expect_exact_everywhere("pad", samples);
}

/// The value of a constant pad in every dtype.
TEST(Copy, PadOfAnyDtype) {
  for (const DType dtype : {DType::f64, DType::i64, DType::i32, DType::i8, DType::u8,
                            DType::boolean, DType::f16}) {
    const Attributes attributes{{"axis", std::int64_t{1}}, {"after", std::int64_t{3}}, {"value", 1.0}};
    const Problem problem(find_op("pad"), {{Type{dtype, {4, 5}, {}}}, attributes, 0, 9}, dtype, dtype);
    expect_exact(problem, {dtype, dtype, "", "", Gaps::all_axes, false, 1});
  }
}

TEST(Copy, StridedSlice) {
  const auto sample = [](std::int64_t axis, std::int64_t start, std::int64_t count,
                         std::int64_t step) {
    return Sample{{f32({3, 20, 13, 17})},
                  {{"axis", axis}, {"start", start}, {"count", count}, {"step", step}}};
  };
  expect_exact_everywhere("strided_slice",
                          {sample(1, 1, 6, 3), sample(2, 12, 7, -2), sample(3, 0, 9, 2),
                           sample(-1, 16, 17, -1), sample(0, 2, 2, -2)});
}

TEST(Copy, ReorderOfNetworkInputs) {
  const OpDef& op = find_op("reorder");
  for (const std::int64_t channels : {1, 2, 3, 4, 5, 16, 35}) {
    for (const char* from : {"", "acdb"}) {
      for (const char* to : {"abcd", "acdb", "dacb"}) {
        for (const DType dtype : {DType::f32, DType::bf16}) {
          const Sample sample{{f32({2, channels, 37, 41})}, {{"layout", std::string(to)}}};
          const Problem problem(op, sample, dtype, dtype);
          for (const Gaps gaps : {Gaps::none, Gaps::one_axis, Gaps::all_axes}) {
            expect_exact(problem, {dtype, DType::f32, from, to, gaps, false, 2});
          }
        }
      }
    }
  }
}

/// reorder changes the dtype too when result and operand differ in it.
TEST(Copy, ReorderToBf16) {
  Graph graph;
  const Value x =
      graph
          .create("input", {},
                  {{"name", std::string("x0")}, {"type", std::string("f32[2, 3, 40, 31]")}})
          ->result();
  Node* node = graph.create("reorder", {x}, {{"layout", std::string("acdb")}});
  Type type = node->result_types()[0];
  type.dtype = DType::bf16;
  const Sample sample{{x.type()}, {}};
  const HostTensor values = make_case(find_op("relu"), sample).inputs.at("x0");
  Placed from(x.type(), Gaps::none), to(type, Gaps::one_axis);
  from.write(values);
  std::byte* const operand = from.data();
  std::byte* const result = to.data();
  cpu::lower_copy(*node, {&from.view(), 1}, {&to.view(), 1})
      ->bind(*host_queue(), {&operand, 1}, {&result, 1}, nullptr)();
  EXPECT_EQ(max_difference(to.read(), values.cast(DType::bf16)), 0);
  EXPECT_TRUE(to.keeps_gaps());
}

TEST(Copy, CastBetweenAllTypes) {
  const std::vector<DType> all{DType::f32, DType::bf16, DType::f16, DType::f64,    DType::i64,
                               DType::i32, DType::i8,   DType::u8,  DType::boolean};
  for (const DType from : all) {
    for (const DType to : all) {
      const Sample sample{
          {Type{from, {2, 5, 7, 9}, {}}}, {{"dtype", std::string(to_string(to))}}, 0, 100};
      const Problem problem(find_op("cast"), sample, from, from);
      for (const char* layout : {"", "acdb"}) {
        for (const Gaps gaps : {Gaps::none, Gaps::all_axes}) {
          expect_exact(problem, {from, from, "", layout, gaps, false, 1});
        }
      }
    }
  }
}

TEST(Copy, IntegersKeepAllBits) {
  Graph graph;
  const Value x =
      graph.create("input", {}, {{"name", std::string("x")}, {"type", std::string("i64[2, 2]")}})
          ->result();
  Node* node = graph.create("transpose", {x}, {{"permutation", Ints{1, 0}}});
  std::int64_t values[4] = {(std::int64_t{1} << 62) + 1, -7, 3,
                            std::numeric_limits<std::int64_t>::min()};
  std::int64_t moved[4] = {};
  const View view = dense_view(x.type());
  auto* const operand = reinterpret_cast<std::byte*>(values);
  auto* const result = reinterpret_cast<std::byte*>(moved);
  cpu::lower_copy(*node, {&view, 1}, {&view, 1})->bind(*host_queue(), {&operand, 1}, {&result, 1}, nullptr)();
  EXPECT_EQ(moved[0], values[0]);
  EXPECT_EQ(moved[1], values[2]);
  EXPECT_EQ(moved[2], values[1]);
  EXPECT_EQ(moved[3], values[3]);
}

TEST(Copy, ReshapeOfAndIntoSlices) {
  Graph graph;
  const Value x =
      graph
          .create("input", {}, {{"name", std::string("x")}, {"type", std::string("f32[3, 8, 5]")}})
          ->result();
  Node* node = graph.create("reshape", {x}, {{"shape", Ints{6, 4, 5}}});
  const HostTensor values = make_case(find_op("relu"), {{x.type()}, {}}).inputs.at("x0");
  const auto copy = [&](Gaps operand_gaps, Gaps result_gaps) {
    Placed from(x.type(), operand_gaps), to(node->result_types()[0], result_gaps);
    from.write(values);
    std::byte* const operand = from.data();
    std::byte* const result = to.data();
    cpu::lower_copy(*node, {&from.view(), 1}, {&to.view(), 1})
        ->bind(*host_queue(), {&operand, 1}, {&result, 1}, nullptr)();
    EXPECT_EQ(max_difference(to.read(), values.reshaped({6, 4, 5})), 0);
    EXPECT_TRUE(to.keeps_gaps());
  };
  copy(Gaps::none, Gaps::none);
  copy(Gaps::all_axes, Gaps::none);
  copy(Gaps::none, Gaps::one_axis);
  EXPECT_THROW(copy(Gaps::one_axis, Gaps::one_axis), Error);
}

TEST(Copy, ConcatOperandAlreadyInPlaceIsLeftAlone) {
  Graph graph;
  const auto input = [&](const char* name) {
    return graph
        .create("input", {}, {{"name", std::string(name)}, {"type", std::string("f32[2, 3]")}})
        ->result();
  };
  Node* node = graph.create("concat", {input("a"), input("b")}, {{"axis", std::int64_t{1}}});
  const View y = dense_view(node->result_types()[0]);
  const View left{node->operand(0).type(), y.strides};
  const View operands[] = {left, dense_view(node->operand(1).type())};
  float result[12] = {1, 2, 3, 0, 0, 0, 4, 5, 6, 0, 0, 0};
  float b[6] = {7, 8, 9, 10, 11, 12};
  std::byte* const addresses[] = {reinterpret_cast<std::byte*>(result),
                                  reinterpret_cast<std::byte*>(b)};
  std::byte* const target = addresses[0];
  cpu::lower_copy(*node, operands, {&y, 1})->bind(*host_queue(), addresses, {&target, 1}, nullptr)();
  EXPECT_THAT(result, ::testing::ElementsAre(1, 2, 3, 7, 8, 9, 4, 5, 6, 10, 11, 12));
}

}  // namespace
}  // namespace facet::testing
