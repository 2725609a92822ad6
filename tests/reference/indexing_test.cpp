#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/reference/evaluate_op.h"

// Numbers by hand; ONNX's backend suite has more of them.
namespace facet::testing {
namespace {

using Numbers = std::vector<double>;
using Extents = std::vector<std::int64_t>;

const HostTensor kX = tensor({2, 3}, {1, 2, 3, 4, 5, 6});

HostTensor indices(std::vector<std::int64_t> shape, const Numbers& values) {
  return tensor(std::move(shape), values).cast(DType::i64);
}
Attribute integer(std::int64_t value) { return value; }
Attributes reduction(const char* name) { return {{"reduction", std::string(name)}}; }

TEST(Indexing, GatherCountsNegativeIndicesFromTheEnd) {
  const HostTensor y =
      evaluate_op("gather", {kX, indices({2, 2}, {-1, 0, 1, 1})}, {{"axis", integer(1)}});
  EXPECT_EQ(y.shape(), (Extents{2, 2, 2}));
  EXPECT_EQ(y.to_doubles(), (Numbers{3, 1, 2, 2, 6, 4, 5, 5}));
}

TEST(Indexing, OutsideReadsZerosAndWritesNothing) {
  EXPECT_EQ(evaluate_op("gather", {kX, indices({3}, {2, -3, 1})}).to_doubles(),
            (Numbers{0, 0, 0, 0, 0, 0, 4, 5, 6}));
  EXPECT_EQ(evaluate_op("gather_nd", {kX, indices({2, 2}, {0, 3, 1, -3})}).to_doubles(),
            (Numbers{0, 4}));
  EXPECT_EQ(
      evaluate_op("scatter_nd", {kX, indices({2, 1}, {2, 0}), tensor({2, 3}, {7, 7, 7, 8, 8, 8})})
          .to_doubles(),
      (Numbers{8, 8, 8, 4, 5, 6}));
  EXPECT_EQ(evaluate_op("scatter_add", {kX, indices({2}, {3, -1})}, {{"extent", integer(3)}})
                .to_doubles(),
            (Numbers{0, 0, 0, 0, 0, 0, 4, 5, 6}));
}

TEST(Indexing, ScatterAddSumsEqualIndices) {
  EXPECT_EQ(evaluate_op("scatter_add", {kX, indices({3}, {1, 0, 1})},
                        {{"axis", integer(1)}, {"extent", integer(2)}})
                .to_doubles(),
            (Numbers{2, 4, 5, 10}));
}

TEST(Indexing, GatherElements) {
  EXPECT_EQ(
      evaluate_op("gather_elements", {kX, indices({2, 2}, {2, 0, -1, 1})}, {{"axis", integer(1)}})
          .to_doubles(),
      (Numbers{3, 1, 6, 5}));
}

TEST(Indexing, GatherNdOverBatchesTakesSlices) {
  const HostTensor x = tensor({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_EQ(evaluate_op("gather_nd", {x, indices({2, 1}, {1, 0})}, {{"batch_dims", integer(1)}})
                .to_doubles(),
            (Numbers{3, 4, 5, 6}));
}

TEST(Indexing, ScatterElementsReduces) {
  const HostTensor at = indices({2, 2}, {1, 1, 0, 2});
  const HostTensor updates = tensor({2, 2}, {10, -4, 0.5, 20});
  const auto scatter = [&](const char* name) {
    Attributes attributes = reduction(name);
    attributes.set("axis", integer(1));
    return evaluate_op("scatter_elements", {kX, at, updates}, attributes).to_doubles();
  };
  EXPECT_EQ(scatter("none"), (Numbers{1, -4, 3, 0.5, 5, 20}));
  EXPECT_EQ(scatter("add"), (Numbers{1, 8, 3, 4.5, 5, 26}));
  EXPECT_EQ(scatter("mul"), (Numbers{1, -80, 3, 2, 5, 120}));
  EXPECT_EQ(scatter("max"), (Numbers{1, 10, 3, 4, 5, 20}));
  EXPECT_EQ(scatter("min"), (Numbers{1, -4, 3, 0.5, 5, 6}));
}

TEST(Indexing, ScatterNdWritesElementsAndSlices) {
  EXPECT_EQ(
      evaluate_op("scatter_nd", {kX, indices({1, 2}, {1, -1}), tensor({1}, {9})}).to_doubles(),
      (Numbers{1, 2, 3, 4, 5, 9}));
  EXPECT_EQ(
      evaluate_op("scatter_nd", {kX, indices({2, 1}, {1, 1}), tensor({2, 3}, {1, 1, 1, 2, 2, 2})},
                  reduction("add"))
          .to_doubles(),
      (Numbers{1, 2, 3, 7, 8, 9}));
}

TEST(Indexing, TopKSortsAndTakesTheFirstOfEquals) {
  const HostTensor x = tensor({5}, {2, 7, 2, 9, 7});
  const auto largest = evaluate_results("top_k", {x}, {{"k", integer(4)}});
  EXPECT_EQ(largest[0].to_doubles(), (Numbers{9, 7, 7, 2}));
  EXPECT_EQ(largest[1].to_doubles(), (Numbers{3, 1, 4, 0}));
  const auto smallest = evaluate_results("top_k", {x}, {{"k", integer(3)}, {"largest", false}});
  EXPECT_EQ(smallest[1].to_doubles(), (Numbers{0, 2, 1}));
}

TEST(Indexing, TopKTakesNanForTheLargest) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const HostTensor x = tensor({4}, {1, nan, 3, nan});
  EXPECT_EQ(evaluate_results("top_k", {x}, {{"k", integer(3)}})[1].to_doubles(),
            (Numbers{1, 3, 2}));
  EXPECT_EQ(evaluate_results("top_k", {x}, {{"k", integer(2)}, {"largest", false}})[1].to_doubles(),
            (Numbers{0, 2}));
}

TEST(Indexing, ReverseSequence) {
  EXPECT_EQ(evaluate_op("reverse_sequence", {kX, indices({2}, {2, 7})},
                        {{"batch_axis", integer(0)}, {"time_axis", integer(1)}})
                .to_doubles(),
            (Numbers{2, 1, 3, 6, 5, 4}));
}

TEST(Indexing, StridedSliceWalksBothWays) {
  const auto steps = [](std::int64_t start, std::int64_t count, std::int64_t step) {
    const Attributes attributes{
        {"axis", integer(0)}, {"start", start}, {"count", count}, {"step", step}};
    return evaluate_op("strided_slice", {tensor({6}, {0, 1, 2, 3, 4, 5})}, attributes).to_doubles();
  };
  EXPECT_EQ(steps(1, 2, 3), (Numbers{1, 4}));
  EXPECT_EQ(steps(5, 3, -2), (Numbers{5, 3, 1}));
}

TEST(Indexing, PadTakesWhatItsModeSays) {
  const auto pad = [](const char* mode) {
    const Attributes attributes{{"axis", integer(1)},
                                {"before", integer(2)},
                                {"after", integer(1)},
                                {"mode", std::string(mode)},
                                {"value", -1.5}};
    return evaluate_op("pad", {tensor({1, 3}, {1, 2, 3})}, attributes).to_doubles();
  };
  EXPECT_EQ(pad("constant"), (Numbers{-1.5, -1.5, 1, 2, 3, -1.5}));
  EXPECT_EQ(pad("edge"), (Numbers{1, 1, 1, 2, 3, 3}));
  EXPECT_EQ(pad("reflect"), (Numbers{3, 2, 1, 2, 3, 2}));
  EXPECT_EQ(pad("wrap"), (Numbers{2, 3, 1, 2, 3, 1}));
}

}  // namespace
}  // namespace facet::testing
