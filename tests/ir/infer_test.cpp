#include <fmt/format.h>
#include <gmock/gmock.h>

#include "ir/op.h"
#include "tests/ir/error_of.h"
#include "tests/ir/networks.h"

/// Result types of each op, and what its inference refuses.
namespace facet::test {
namespace {

using ::testing::HasSubstr;

struct Case {
  std::string_view op;
  std::vector<const char*> operands;
  Attributes attributes;
  std::string expected;  ///< the result type, or a part of the error
};

Value make(Graph& graph, const Case& c) {
  std::vector<Value> values;
  for (const char* type : c.operands) {
    values.push_back(input(graph, fmt::format("x{}", values.size()), type));
  }
  return graph.create(c.op, values, c.attributes)->result();
}

void expect_types(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    SCOPED_TRACE(fmt::format("{} -> {}", c.op, c.expected));
    Graph graph;
    try {
      EXPECT_EQ(to_string(make(graph, c).type()), c.expected);
    } catch (const Error& error) {
      ADD_FAILURE() << error.what();
    }
  }
}

void expect_errors(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    SCOPED_TRACE(fmt::format("{} refuses: {}", c.op, c.expected));
    Graph graph;
    EXPECT_THAT(error_of([&] { make(graph, c); }), HasSubstr(c.expected));
  }
}

constexpr std::int64_t kHuge = 1LL << 40;
const char* const kImage = "f32[N, 4, 9, 7]";

TEST(Infer, Conv) {
  expect_types({
      {"conv", {kImage, "f32[8, 4, 3, 3]"}, {}, "f32[N, 8, 7, 5]"},
      {"conv", {kImage, "f32[8, 4, 3, 3]"}, {{"pads", Ints{1, 1, 1, 1}}}, "f32[N, 8, 9, 7]"},
      {"conv", {kImage, "f32[8, 4, 3, 3]"}, {{"strides", Ints{2, 1}}}, "f32[N, 8, 4, 5]"},
      {"conv", {kImage, "f32[8, 4, 3, 3]"}, {{"pads", Ints{2, 0, 1, 3}}}, "f32[N, 8, 10, 8]"},
      {"conv", {kImage, "f32[8, 4, 3, 2]"}, {{"dilations", Ints{4, 6}}}, "f32[N, 8, 1, 1]"},
      {"conv", {kImage, "f32[8, 2, 1, 1]"}, {{"groups", std::int64_t{2}}}, "f32[N, 8, 9, 7]"},
      {"conv",
       {"bf16[1, 4, 2, 2]", "bf16[8, 4, 1, 1]", "f32[8]"},
       {{"epilogue", Strings{"bias"}}},
       "bf16[1, 8, 2, 2]"},
      {"conv",
       {kImage, "f32[8, 4, 1, 1]", "f32[8]", "f32[N, 8, 9, 7]", "f32[1]"},
       {{"epilogue", Strings{"bias", "add", "prelu"}}},
       "f32[N, 8, 9, 7]"},
      {"conv",
       {kImage, "f32[8, 4, 1, 1]", "f32[N, 1, 9, 7]"},
       {{"epilogue", Strings{"sigmoid", "mul"}}},
       "f32[N, 8, 9, 7]"},
  });
  expect_errors({
      {"conv", {"f32[4, 9, 7]", "f32[8, 4, 3, 3]"}, {}, "conv takes x [N, C, H, W]"},
      {"conv", {kImage, "f32[8, 4, 3]"}, {}, "conv takes x [N, C, H, W]"},
      {"conv", {kImage, "f32[8, 3, 3, 3]"}, {}, "x has 4 channels"},
      {"conv", {kImage, "f32[8, 4, 3, 3]"}, {{"groups", std::int64_t{2}}}, "reads 8"},
      {"conv", {kImage, "f32[9, 2, 3, 3]"}, {{"groups", std::int64_t{2}}}, "x has 4 channels"},
      {"conv", {kImage, "f32[8, 4, 3, 3]"}, {{"groups", std::int64_t{0}}}, "groups 0"},
      {"conv", {kImage, "f32[8, 4, 3, 3]"}, {{"strides", Ints{1}}}, "2 strides"},
      {"conv", {kImage, "f32[8, 4, 3, 3]"}, {{"strides", Ints{0, 1}}}, "stride 0"},
      {"conv", {kImage, "f32[8, 4, 3, 3]"}, {{"pads", Ints{-1, 0, 0, 0}}}, "padding -1"},
      {"conv",
       {kImage, "f32[8, 4, 3, 3]"},
       {{"pads", Ints{0, kHuge, 0, 0}}},
       "padding 1099511627776"},
      {"conv", {kImage, "f32[8, 4, 3, 3]"}, {{"dilations", Ints{1, 0}}}, "dilation 0"},
      {"conv", {kImage, "f32[8, 4, 0, 3]"}, {}, "extent of the weight 0"},
      {"conv", {kImage, "f32[8, 4, 3, 8]"}, {}, "window of 8 does not fit into an extent of 7"},
      {"conv", {"f32[1, 4, S, 7]", "f32[8, 4, 3, 3]"}, {}, "cannot be symbolic: S"},
      {"conv", {kImage, "f32[M, 4, 3, 3]"}, {}, "the symbol M"},
      {"conv", {"i8[1, 4, 9, 7]", "f32[8, 4, 3, 3]"}, {}, "takes floats, not i8"},
      {"conv", {kImage, "f32[8, 4, 3, 3]", "f32[8]"}, {}, "1 operands are not read"},
      {"conv",
       {kImage, "f32[8, 4, 3, 3]"},
       {{"epilogue", Strings{"bias"}}},
       "'bias' has no operand"},
      {"conv", {kImage, "f32[8, 4, 3, 3]"}, {{"epilogue", Strings{"gelu"}}}, "entry 'gelu'"},
      {"conv",
       {kImage, "f32[8, 4, 1, 1]", "f32[4]"},
       {{"epilogue", Strings{"bias"}}},
       "'bias' of shape [4] does not fit the result [N, 8, 9, 7]"},
      {"conv", {kImage, "f32[8, 4, 1, 1]", "f32[1]"}, {{"epilogue", Strings{"bias"}}}, "'bias'"},
      {"conv", {kImage, "f32[8, 4, 1, 1]", "f32[8]"}, {{"epilogue", Strings{"add"}}}, "'add'"},
      {"conv",
       {kImage, "f32[8, 4, 1, 1]", "f32[2, N, 8, 9, 7]"},
       {{"epilogue", Strings{"mul"}}},
       "'mul'"},
  });
}

TEST(Infer, LinearAndMatmul) {
  expect_types({
      {"linear", {"f32[N, 20]", "f32[12, 20]"}, {}, "f32[N, 12]"},
      {"linear", {"f32[20]", "f32[12, 20]"}, {}, "f32[12]"},
      {"linear",
       {"f32[2, N, 20]", "f32[12, 20]", "f32[12]"},
       {{"epilogue", Strings{"bias"}}},
       "f32[2, N, 12]"},
      {"matmul", {"f32[4, 6]", "f32[6, 5]"}, {}, "f32[4, 5]"},
      {"matmul", {"f32[N, 3, 4, 6]", "f32[3, 6, 5]"}, {}, "f32[N, 3, 4, 5]"},
      {"matmul",
       {"f32[6, 4]", "f32[5, 6]"},
       {{"transpose_a", true}, {"transpose_b", true}},
       "f32[4, 5]"},
      {"matmul", {"bf16[4, N]", "f32[N, 5]"}, {}, "bf16[4, 5]"},
  });
  expect_errors({
      {"linear", {"f32[N, 20]", "f32[12, 21]"}, {}, "not f32[N, 20] and f32[12, 21]"},
      {"linear", {"f32[]", "f32[12, 20]"}, {}, "linear takes x [..., in]"},
      {"linear", {"f32[N, 20]", "f32[20]"}, {}, "linear takes"},
      {"linear", {"f32[N, 20]", "i64[12, 20]"}, {}, "takes floats"},
      {"matmul", {"f32[6]", "f32[6, 5]"}, {}, "rank 2 or more"},
      {"matmul", {"f32[4, 6]", "f32[5, 6]"}, {}, "contracts [4, 6] with [5, 6]"},
      {"matmul", {"f32[2, 4, 6]", "f32[3, 6, 5]"}, {}, "do not broadcast"},
      {"matmul", {"f32[4, 6]", "i64[6, 5]"}, {}, "dtypes f32 and i64 do not mix"},
  });
}

TEST(Infer, Elementwise) {
  expect_types({
      {"relu", {"bf16[N, 3]"}, {}, "bf16[N, 3]"},
      {"add", {"f32[N, 1, 3]", "f32[4, 1]"}, {}, "f32[N, 4, 3]"},
      {"mul", {"bf16[3]", "f32[3]"}, {}, "bf16[3]"},
      {"mul", {"f32[3]", "f16[3]"}, {}, "f16[3]"},
      {"sub", {"f64[3]", "bf16[3]"}, {}, "f64[3]"},
      {"sub", {"f32[3]", "f64[3]"}, {}, "f64[3]"},
      {"add", {"i64[3]", "i64[1]"}, {}, "i64[3]"},
      {"clamp", {"f32[3]"}, {{"min", 0.0}, {"max", 0.0}}, "f32[3]"},
      {"cast", {"u8[N, 3]"}, {{"dtype", "f32"}}, "f32[N, 3]"},
      {"prelu", {"bf16[N, 3, 2]", "f32[3]"}, {}, "bf16[N, 3, 2]"},
      {"prelu", {"f32[]", "f32[1]"}, {}, "f32[]"},
      {"batch_norm", {"f32[N, 3]", "f32[3]", "f32[3]", "f32[3]", "f32[3]"}, {}, "f32[N, 3]"},
      {"elementwise", {"f32[N, 1]", "bf16[3]"}, {{"program", Strings{"add 0 1"}}}, "bf16[N, 3]"},
      {"elementwise",
       {"f32[N, 1]", "bf16[3]"},
       {{"program", Strings{"add 0 1", "neg 0"}}, {"dtype", "f16"}},
       "f16[N, 1]"},
      {"elementwise", {"f32[3]"}, {{"program", Strings{"neg #1"}}}, "f32[]"},
  });
  expect_errors({
      {"sigmoid", {"i64[3]"}, {}, "op 'sigmoid' takes floats, not i64[3]"},
      {"neg", {"bool[3]"}, {}, "op 'neg' takes numbers, not bool[3]"},
      {"add", {"f32[3]", "i64[3]"}, {}, "dtypes f32 and i64 do not mix"},
      {"add", {"i32[3]", "i64[3]"}, {}, "dtypes i32 and i64 do not mix"},
      {"clamp", {"f32[3]"}, {{"min", 1.0}, {"max", 0.0}}, "min above max"},
      {"cast", {"f32[3]"}, {{"dtype", "float"}}, "unknown dtype 'float'"},
      {"prelu", {"f32[N, 3]", "f32[2]"}, {}, "one per channel (axis 1) of f32[N, 3], not [2]"},
      {"prelu", {"f32[3]", "f32[3]"}, {}, "prelu takes a slope"},
      {"prelu", {"f32[N, 3]", "i64[3]"}, {}, "takes floats"},
      {"batch_norm", {"f32[3]", "f32[3]", "f32[3]", "f32[3]", "f32[3]"}, {}, "[N, C, ...]"},
      {"batch_norm", {"f32[N, 3]", "f32[3]", "f32[3]", "f32[3]", "f32[4]"}, {}, "shape [4]"},
      {"elementwise", {"f32[3]"}, {{"program", Strings{}}}, "at least one line"},
      {"elementwise", {}, {{"program", Strings{"neg #1"}}}, "1 or more operands, not 0"},
      {"elementwise", {"f32[3]", "f32[4]"}, {{"program", Strings{"add 0 1"}}}, "do not broadcast"},
      {"elementwise", {"f32[3]"}, {{"program", Strings{"add 0 1"}}}, "\"add 0 1\""},
      {"elementwise", {"i64[3]"}, {{"program", Strings{"neg 0"}}}, "takes floats"},
  });
}

TEST(Infer, Mathematics) {
  const auto function = [](const char* name) { return Attributes{{"function", std::string(name)}}; };
  const auto depth = [](std::int64_t n, std::int64_t axis) {
    return Attributes{{"depth", n}, {"axis", axis}};
  };
  expect_types({
      {"relu", {"i64[3]"}, {}, "i64[3]"},
      {"sign", {"i32[3]"}, {}, "i32[3]"},
      {"equal", {"bool[N, 3]", "bool[3]"}, {}, "bool[N, 3]"},
      {"greater_equal", {"i64[3]", "i64[1]"}, {}, "i64[3]"},
      {"mod", {"f32[3]", "f32[2, 1]"}, {}, "f32[2, 3]"},
      {"bitwise", {"u8[3]", "u8[]"}, function("shift_left"), "u8[3]"},
      {"reduce_prod", {"i32[N, 3]"}, {{"axes", Ints{1}}}, "i32[N, 1]"},
      {"arg_max", {"f32[N, 3]"}, {{"axis", std::int64_t{-1}}}, "i64[N, 1]"},
      {"arg_min", {"f32[N, 3]"}, {{"axis", std::int64_t{1}}, {"keepdims", false}}, "i64[N]"},
      {"cum_sum", {"i32[N, 3]"}, {{"axis", std::int64_t{0}}}, "i32[N, 3]"},
      {"one_hot", {"i64[N, 3]"}, depth(5, -1), "f32[N, 3, 5]"},
      {"one_hot", {"i64[N, 3]"}, depth(5, 0), "f32[5, N, 3]"},
      {"log_softmax", {"f16[N, 3]"}, {}, "f16[N, 3]"},
      {"triangle", {"bool[N, 3, 4]"}, {}, "bool[N, 3, 4]"},
      {"det", {"f64[N, 3, 3]"}, {}, "f64[N]"},
  });
  expect_errors({
      {"equal", {"i64[3]", "i32[3]"}, {}, "dtypes i64 and i32 do not mix"},
      {"bitwise", {"f32[3]", "f32[3]"}, function("and"), "bitwise takes whole numbers, not f32[3]"},
      {"bitwise", {"u8[3]", "u8[3]"}, function("nand"), "bitwise has no function 'nand'"},
      {"arg_max", {"f32[N, 0]"}, {{"axis", std::int64_t{1}}}, "'arg_max' over no elements"},
      {"arg_max", {"f32[N, 3]"}, {{"axis", std::int64_t{2}}}, "axis 2 is outside"},
      {"cum_sum", {"bool[3]"}, {{"axis", std::int64_t{0}}}, "cum_sum takes numbers"},
      {"one_hot", {"i32[3]"}, depth(5, -1), "one_hot takes indices i64"},
      {"one_hot", {"i64[3]"}, depth(0, -1), "depth of one_hot 0"},
      {"triangle", {"f32[3]"}, {}, "'triangle' takes matrices"},
      {"det", {"f32[3, 4]"}, {}, "det takes square matrices"},
      {"reduce_prod_bwd", {"f32[3]", "f32[3, 4]"}, {{"axes", Ints{1}}}, "is not of shape [3, 1]"},
  });
}

TEST(Infer, ReductionAndPooling) {
  const auto pool = [](Ints kernel, Ints strides, Ints pads) {
    return Attributes{{"kernel", kernel}, {"strides", strides}, {"pads", pads}};
  };
  expect_types({
      {"reduce_mean", {"f32[N, 3, 4]"}, {{"axes", Ints{-1, 1}}}, "f32[N, 1, 1]"},
      {"reduce_sum", {"f32[N, 3, 4]"}, {{"axes", Ints{0, 2}}, {"keepdims", false}}, "f32[3]"},
      {"reduce_max", {"f32[N]"}, {{"axes", Ints{0}}, {"keepdims", false}}, "f32[]"},
      {"softmax", {"f32[N, 3]"}, {}, "f32[N, 3]"},
      {"max_pool", {kImage}, {}, "f32[N, 4, 4, 3]"},
      {"avg_pool", {kImage}, pool({3, 3}, {2, 2}, {1, 1, 1, 1}), "f32[N, 4, 5, 4]"},
      {"max_pool", {kImage}, pool({3, 2}, {1, 3}, {2, 0, 0, 1}), "f32[N, 4, 9, 3]"},
  });
  expect_errors({
      {"reduce_mean", {"f32[N, 3]"}, {{"axes", Ints{2}}}, "axis 2 is outside a value of rank 2"},
      {"reduce_mean", {"f32[N, 3]"}, {{"axes", Ints{-3}}}, "axis -3 is outside"},
      {"reduce_mean", {"f32[N, 3]"}, {{"axes", Ints{1, -1}}}, "names an axis twice"},
      {"softmax", {"f32[]"}, {}, "axis -1 is outside"},
      {"softmax", {"i64[3]"}, {}, "takes floats"},
      {"max_pool", {"f32[4, 9, 7]"}, {}, "pooling takes x [N, C, H, W]"},
      {"max_pool", {"f32[1, 4, S, 7]"}, {}, "cannot be symbolic"},
      {"max_pool", {kImage}, pool({10, 1}, {1, 1}, {0, 0, 0, 0}), "10-wide pooling window"},
      {"max_pool", {kImage}, pool({2, 2}, {1, 1}, {2, 0, 0, 0}), "pads smaller than the kernel"},
      {"max_pool", {kImage}, pool({0, 2}, {1, 1}, {0, 0, 0, 0}), "kernel 0"},
      {"max_pool", {kImage}, pool({2, 2}, {1, 0}, {0, 0, 0, 0}), "stride 0"},
      {"max_pool", {kImage}, pool({2, kHuge}, {1, 1}, {0, 0, 0, 0}), "kernel 1099511627776"},
  });
}

TEST(Infer, Shape) {
  const auto reshape = [](Ints shape) { return Attributes{{"shape", shape}}; };
  const auto permute = [](Ints axes) { return Attributes{{"permutation", axes}}; };
  const auto slice = [](std::int64_t axis, std::int64_t start, std::int64_t end) {
    return Attributes{{"axis", axis}, {"start", start}, {"end", end}};
  };
  const Attributes axis1{{"axis", std::int64_t{1}}};
  expect_types({
      {"reshape", {"f32[N, 6, 4]"}, reshape({0, -1}), "f32[N, 24]"},
      {"reshape", {"f32[N, 6, 4]"}, reshape({-1, 4}), "f32[6*N, 4]"},
      {"reshape", {"f32[6*N, 4]"}, reshape({-1, 6, 4}), "f32[N, 6, 4]"},
      {"reshape", {"f32[N, 6]"}, reshape({0, 2, 3}), "f32[N, 2, 3]"},
      {"reshape", {"f32[1, 1]"}, reshape({}), "f32[]"},
      {"reshape", {"f32[2, 0]"}, reshape({0, 0}), "f32[2, 0]"},
      {"transpose", {"f32[N, 3, 4]"}, permute({2, 0, 1}), "f32[4, N, 3]"},
      {"transpose", {"f32[]"}, permute({}), "f32[]"},
      {"concat", {"f32[N, 3]", "f32[N, 4]", "f32[N, 1]"}, axis1, "f32[N, 8]"},
      {"concat", {"f32[N, 3]"}, {{"axis", std::int64_t{0}}}, "f32[N, 3]"},
      {"slice", {"f32[N, 8]"}, slice(-1, 2, 8), "f32[N, 6]"},
      {"reorder", {"f32[1, 2, 3, 4]"}, {{"layout", "acdb"}}, "f32[1, 2, 3, 4]@acdb"},
  });
  expect_errors({
      {"reshape", {"f32[N, 6]"}, reshape({0, 5}), "cannot reshape f32[N, 6] to [N, 5]"},
      {"reshape", {"f32[N, 6]"}, reshape({-1, 5}), "cannot reshape"},
      {"reshape", {"f32[N, 6]"}, reshape({6}), "cannot reshape"},
      {"reshape", {"f32[6]"}, reshape({0, 0}), "copies an extent that the operand does not have"},
      {"reshape", {"f32[6]"}, reshape({-1, -1}), "at most one -1"},
      {"reshape", {"f32[6]"}, reshape({-2}), "at most one -1"},
      {"reshape", {"f32[N, M]"}, reshape({-1}), "two symbols"},
      {"transpose", {"f32[2, 3]"}, permute({0}), "a permutation of the axes of f32[2, 3]"},
      {"transpose", {"f32[2, 3]"}, permute({}), "a permutation"},
      {"transpose", {"f32[2, 3]"}, permute({0, 0}), "a permutation"},
      {"transpose", {"f32[2, 3]"}, permute({1, 2}), "a permutation"},
      {"transpose", {"f32[2, 3]"}, permute({kHuge, 0}), "a permutation"},
      {"transpose", {"f32[2, 3]"}, permute({0, 1, 2}), "a permutation"},
      {"transpose", {"f32[]"}, permute({0}), "a permutation"},
      {"concat", {"f32[N, 3]", "f32[M, 4]"}, axis1, "cannot concatenate f32[N, 3] and f32[M, 4]"},
      {"concat", {"f32[N, 3]", "f32[N, 4, 1]"}, axis1, "cannot concatenate"},
      {"concat", {"f32[N, 3]", "bf16[N, 4]"}, axis1, "cannot concatenate"},
      {"concat", {"f32[3, N]", "f32[3, 2]"}, axis1, "cannot concatenate"},
      {"concat", {"f32[3]", "f32[3]"}, axis1, "axis 1 is outside"},
      {"slice", {"f32[N, 8]"}, slice(1, 3, 3), "slice [3, 3) does not lie in axis 1"},
      {"slice", {"f32[N, 8]"}, slice(1, -1, 3), "slice [-1, 3)"},
      {"slice", {"f32[N, 8]"}, slice(1, 0, 9), "slice [0, 9)"},
      {"slice", {"f32[N, 8]"}, slice(0, 0, 1), "does not lie in axis 0"},
  });
}

TEST(Infer, PadReverseAndSkew) {
  const auto pad = [](std::int64_t axis, std::int64_t before, std::int64_t after) {
    return Attributes{{"axis", axis}, {"before", before}, {"after", after}};
  };
  expect_types({
      {"pad", {"f32[N, 8]"}, pad(-1, 2, 3), "f32[N, 13]"},
      {"reverse", {"i64[N, 8]"}, {{"axis", std::int64_t{0}}}, "i64[N, 8]"},
      {"skew", {"f32[N, 5, 9]"}, {}, "f32[N, 5, 5]"},
      {"skew", {"f32[1, 9]"}, {{"distance", "i-j"}}, "f32[1, 9]"},
      {"unskew", {"f32[N, 5, 7]"}, {}, "f32[N, 5, 11]"},
  });
  expect_errors({
      {"pad", {"f32[N, 8]"}, pad(1, -1, 0), "padding -1"},
      {"pad", {"f32[N, 8]"}, pad(1, 0, kHuge), "padding 1099511627776"},
      {"pad", {"f32[N, 8]"}, pad(0, 1, 1), "an axis of fixed extent, not axis 0 of f32[N, 8]"},
      {"pad", {"f32[N, 8]"}, pad(2, 1, 1), "axis 2 is outside"},
      {"reverse", {"f32[8]"}, {{"axis", std::int64_t{1}}}, "axis 1 is outside"},
      {"skew", {"f32[9]"}, {}, "the last two axes must have fixed extents"},
      {"skew", {"f32[N, 9]"}, {}, "the last two axes must have fixed extents"},
      {"skew", {"f32[5, 4]"}, {}, "skew of 5 rows"},
      {"skew", {"f32[0, 4]"}, {}, "number of rows 0"},
      {"unskew", {"f32[0, 0]"}, {}, "number of rows 0"},
      {"unskew", {"f32[2, 2]"}, {{"distance", "j+i"}}, "not \"j+i\""},
  });
}

TEST(Infer, Leaves) {
  expect_types({
      {"input", {}, {{"name", "x"}, {"type", "f32[N]"}}, "f32[N]"},
      {"parameter", {}, {{"key", "w"}, {"type", "i64[]"}}, "i64[]"},
      {"constant", {}, {{"value", HostTensor(DType::bf16, {2, 0})}}, "bf16[2, 0]"},
  });
  expect_errors({
      {"input", {}, {{"name", "x"}, {"type", "f32"}}, "'f32' is not a type"},
      {"constant", {}, {{"value", HostTensor()}}, "a constant needs a value"},
  });
}

/// Inference is about logical types: the layout of an operand does not reach the result.
TEST(Infer, LayoutsStayWithTheirValue) {
  Graph graph;
  const Value x = input(graph, "x", "f32[1, 2, 3, 4]@acdb");
  EXPECT_EQ(to_string(x.type()), "f32[1, 2, 3, 4]@acdb");
  EXPECT_EQ(to_string(graph.create("relu", {x})->result().type()), "f32[1, 2, 3, 4]");
}

}  // namespace
}  // namespace facet::test
