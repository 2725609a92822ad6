#include "ir/index_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "ir/attributes.h"
#include "ir/error.h"
#include "ir/text.h"

namespace facet {
namespace {

HostTensor whole(std::vector<std::int64_t> shape, const std::vector<double>& values,
                 DType dtype = DType::i64) {
  return HostTensor::from_doubles(std::move(shape), values).cast(dtype);
}

/// [rows * columns], a * rows + b * columns + start.
HostTensor grid(std::int64_t rows, std::int64_t columns, int a, int b, int start) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      values.push_back(static_cast<double>(start + a * i + b * j));
    }
  }
  return whole({rows * columns}, values);
}

TEST(IndexTable, FindsTheGrid) {
  const auto table = as_index_table(grid(4, 3, 1, -1, 2));
  ASSERT_TRUE(table.has_value());
  EXPECT_EQ(table->start, 2);
  EXPECT_EQ(table->counts, (std::vector<std::int64_t>{4, 3}));
  EXPECT_EQ(table->steps, (std::vector<std::int64_t>{1, -1}));
}

TEST(IndexTable, ExpandsToWhatItWasFoundIn) {
  const std::vector<HostTensor> cases = {
      grid(4, 3, 1, -1, 2),
      grid(1, 7, 0, 5, -3),
      grid(6, 1, 2, 0, 0),
      grid(5, 4, 0, 0, 9),
      whole({2, 2, 2}, {0, 1, 10, 11, 100, 101, 110, 111}, DType::i32),
      whole({2}, {4, 4})};
  for (const HostTensor& tensor : cases) {
    const auto table = as_index_table(tensor);
    ASSERT_TRUE(table.has_value());
    EXPECT_TRUE(equal(expand(*table, tensor.dtype(), tensor.shape()), tensor));
  }
}

TEST(IndexTable, IsNotEverything) {
  EXPECT_FALSE(as_index_table(whole({5}, {0, 1, 2, 3, 5})));
  EXPECT_FALSE(as_index_table(whole({6}, {0, 1, 2, 0, 1, 3})));
  EXPECT_FALSE(as_index_table(whole({1}, {0})));
  EXPECT_FALSE(as_index_table(HostTensor::from_floats({3}, {0, 1, 2})));
}

TEST(IndexTable, CountsMustFillTheShape) {
  EXPECT_THROW(expand({0, {2, 3}, {1, 1}}, DType::i64, {7}), Error);
  EXPECT_THROW(expand({0, {2, 3}, {1}}, DType::i64, {6}), Error);
}

TEST(IndexTable, NoTextAsksForEndlessMemory) {
  const std::int64_t many = std::int64_t{1} << 40;
  EXPECT_THROW(expand({0, {many}, {1}}, DType::u8, {many}), Error);
}

/// Doubles, which the search reads, cannot tell these apart.
TEST(IndexTable, NumbersBeyondDoublesAreNoTable) {
  HostTensor far(DType::i64, {3});
  for (std::int64_t i = 0; i < 3; ++i) {
    far.as_mutable<std::int64_t>()[i] = (std::int64_t{1} << 60) + i;
  }
  EXPECT_FALSE(as_index_table(far));
  HostTensor ends(DType::i64, {2});
  ends.as_mutable<std::int64_t>()[0] = std::numeric_limits<std::int64_t>::min();
  ends.as_mutable<std::int64_t>()[1] = std::numeric_limits<std::int64_t>::max();
  EXPECT_FALSE(as_index_table(ends));
}

TEST(IndexTable, AnyStepsExpand) {
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  const HostTensor wrapped = expand({most, {3}, {most}}, DType::i64, {3});
  EXPECT_EQ(wrapped.as<std::int64_t>()[1], -2);
}

TEST(IndexTable, LargeOnesReadBackFromText) {
  Graph graph("tables");
  const HostTensor table = grid(20, 20, 1, -1, 19);
  graph.outputs().push_back({"y", graph.create("constant", {}, {{"value", table}})->result()});
  const std::string text = to_text(graph);
  EXPECT_THAT(text, ::testing::HasSubstr("tensor<i64[400]; table 19 [20, 20] [1, -1]>"));
  const Graph again = parse_graph(text);
  EXPECT_EQ(to_text(again), text);
  EXPECT_EQ(fingerprint(again), fingerprint(graph));
  std::string wrong = text;
  wrong.replace(wrong.find("[20, 20]"), 8, "[20, 21]");
  EXPECT_THROW(parse_graph(wrong), Error);
}

}  // namespace
}  // namespace facet
