#include <gmock/gmock.h>

#include "ir/op.h"
#include "tests/ir/error_of.h"
#include "tests/ir/networks.h"

/// Types of the ops that read and write by index, and what they refuse.
namespace facet::test {
namespace {

using ::testing::HasSubstr;

Value node(Graph& graph, std::string_view op, const std::vector<const char*>& types,
           Attributes attributes) {
  std::vector<Value> operands;
  for (const char* type : types) {
    operands.push_back(input(graph, "x" + std::to_string(operands.size()), type));
  }
  return graph.create(op, operands, std::move(attributes))->result();
}

std::string type_of(std::string_view op, const std::vector<const char*>& types,
                    Attributes attributes = {}) {
  Graph graph;
  return to_string(node(graph, op, types, std::move(attributes)).type());
}

std::string refusal(std::string_view op, const std::vector<const char*>& types,
                    Attributes attributes = {}) {
  Graph graph;
  return error_of([&] { node(graph, op, types, std::move(attributes)); });
}

Attribute integer(std::int64_t value) { return value; }

TEST(IndexingTypes, GatherPutsTheIndicesInPlaceOfTheAxis) {
  EXPECT_EQ(type_of("gather", {"f32[N, 5, 7]", "i64[2, 3]"}, {{"axis", integer(1)}}),
            "f32[N, 2, 3, 7]");
  EXPECT_EQ(type_of("gather", {"bool[30, 8]", "i32[N, 4]"}), "bool[N, 4, 8]");
  EXPECT_EQ(type_of("gather", {"i64[9]", "i64[]"}), "i64[]");
  EXPECT_THAT(refusal("gather", {"f32[5]", "f32[2]"}), HasSubstr("indices of type i64 or i32"));
  EXPECT_THAT(refusal("gather", {"f32[5]", "i64[2]"}, {{"axis", integer(1)}}), HasSubstr("axis 1"));
}

TEST(IndexingTypes, GatherNdOverBatches) {
  EXPECT_EQ(type_of("gather_nd", {"f32[N, 5, 7]", "i64[N, 3, 1]"}, {{"batch_dims", integer(1)}}),
            "f32[N, 3, 7]");
  EXPECT_THAT(refusal("gather_nd", {"f32[5, 7]", "i64[3, 3]"}), HasSubstr("does not take"));
  EXPECT_THAT(refusal("gather_nd", {"f32[5, 7]", "i64[4, 1]"}, {{"batch_dims", integer(1)}}),
              HasSubstr("does not take"));
  EXPECT_THAT(refusal("gather_nd", {"f32[5, 7]", "i64[5]"}, {{"batch_dims", integer(1)}}),
              HasSubstr("does not take"));
}

TEST(IndexingTypes, ElementsNeedIndicesThatFit) {
  EXPECT_EQ(type_of("gather_elements", {"i8[3, 4]", "i64[9, 2]"}), "i8[9, 2]");
  EXPECT_THAT(refusal("gather_elements", {"f32[3, 4]", "i64[3, 5]"}), HasSubstr("no larger"));
  EXPECT_THAT(refusal("scatter_elements", {"f32[3, 4]", "i64[2, 4]", "f32[3, 4]"}),
              HasSubstr("updates"));
  EXPECT_THAT(refusal("scatter_elements", {"f32[3]", "i64[3]", "f32[3]"},
                      {{"reduction", std::string("mean")}}),
              HasSubstr("'mean' is no reduction"));
}

TEST(IndexingTypes, ScatterNdTakesSlices) {
  EXPECT_EQ(type_of("scatter_nd", {"i32[N, 4, 5]", "i64[7, 2]", "i32[7, 5]"}), "i32[N, 4, 5]");
  EXPECT_THAT(refusal("scatter_nd", {"f32[4, 5]", "i64[7, 3]", "f32[7]"}),
              HasSubstr("1 to 2 places"));
  EXPECT_THAT(refusal("scatter_nd", {"f32[4, 5]", "i64[7, 1]", "bf16[7, 5]"}), HasSubstr("dtype"));
}

TEST(IndexingTypes, TopKCountsWithinItsAxis) {
  EXPECT_EQ(type_of("top_k", {"f32[N, 9]"}, {{"k", integer(3)}}), "f32[N, 3]");
  EXPECT_THAT(refusal("top_k", {"f32[N, 9]"}, {{"k", integer(10)}}), HasSubstr("not 10"));
  EXPECT_THAT(refusal("top_k", {"f32[N, 9]"}, {{"k", integer(1)}, {"axis", integer(0)}}),
              HasSubstr("fixed axis"));
}

TEST(IndexingTypes, StridedSliceStaysInside) {
  const auto steps = [](std::int64_t start, std::int64_t count, std::int64_t step) {
    return Attributes{{"axis", integer(0)}, {"start", start}, {"count", count}, {"step", step}};
  };
  EXPECT_EQ(type_of("strided_slice", {"f32[9, N]"}, steps(8, 3, -4)), "f32[3, N]");
  for (const Attributes& outside :
       {steps(0, 4, 3), steps(8, 4, -4), steps(9, 1, 1), steps(-1, 1, 1), steps(0, 1, 0),
        steps(0, 0, 1), steps(0, 2, INT64_MAX), steps(8, 2, INT64_MIN), steps(0, INT64_MAX, 1)}) {
    EXPECT_THAT(refusal("strided_slice", {"f32[9]"}, outside), HasSubstr("do not lie in axis 0"));
  }
}

TEST(IndexingTypes, ScatterAddIsTheAdjointOfGather) {
  EXPECT_EQ(type_of("scatter_add", {"f32[N, 2, 3, 7]", "i64[2, 3]"},
                    {{"axis", integer(1)}, {"extent", integer(5)}}),
            "f32[N, 5, 7]");
  EXPECT_THAT(refusal("scatter_add", {"f32[4, 2]", "i64[3]"}, {{"extent", integer(5)}}),
              HasSubstr("axes of f32[4, 2]"));
}

TEST(IndexingTypes, SamplingChecksItsGridAndBoxes) {
  EXPECT_EQ(type_of("grid_sample", {"f32[N, 3, 8, 9]", "f32[N, 5, 6, 2]"}), "f32[N, 3, 5, 6]");
  EXPECT_EQ(type_of("grid_sample", {"f32[2, 3, 8, 9, 7]", "f32[2, 5, 6, 4, 3]"}),
            "f32[2, 3, 5, 6, 4]");
  EXPECT_THAT(refusal("grid_sample", {"f32[2, 3, 8, 9]", "f32[2, 5, 6, 3]"}), HasSubstr("grid"));
  EXPECT_THAT(refusal("grid_sample", {"f32[1, 3, 8, 9]", "f32[1, 5, 6, 2]"},
                      {{"mode", std::string("bilinear")}}),
              HasSubstr("no mode 'bilinear'"));
  EXPECT_EQ(type_of("roi_align", {"f32[N, 3, 8, 9]", "f32[R, 4]", "i64[R]"},
                    {{"output_height", integer(7)}, {"output_width", integer(5)}}),
            "f32[R, 3, 7, 5]");
  EXPECT_THAT(refusal("roi_align", {"f32[1, 3, 8, 9]", "f32[4, 5]", "i64[4]"}), HasSubstr("boxes"));
}

TEST(IndexingTypes, PadKnowsItsModes) {
  const auto pad = [](const char* mode) {
    return Attributes{{"axis", integer(0)}, {"before", integer(2)}, {"mode", std::string(mode)}};
  };
  EXPECT_EQ(type_of("pad", {"bool[4, N]"}, pad("reflect")), "bool[6, N]");
  EXPECT_THAT(refusal("pad", {"f32[4]"}, pad("symmetric")), HasSubstr("'symmetric'"));
}

/// Elements move whatever they are.
TEST(IndexingTypes, ShapeOpsTakeAnyDtype) {
  for (const char* dtype : {"i64", "i32", "i8", "u8", "bool", "f64", "f16"}) {
    const std::string x = std::string(dtype) + "[2, 3]";
    EXPECT_EQ(type_of("reshape", {x.c_str()}, {{"shape", Ints{3, 2}}}),
              std::string(dtype) + "[3, 2]");
    EXPECT_EQ(type_of("transpose", {x.c_str()}, {{"permutation", Ints{1, 0}}}),
              std::string(dtype) + "[3, 2]");
    EXPECT_EQ(type_of("concat", {x.c_str(), x.c_str()}, {{"axis", integer(0)}}),
              std::string(dtype) + "[4, 3]");
    EXPECT_EQ(type_of("gather_elements", {x.c_str(), "i64[1, 3]"}), std::string(dtype) + "[1, 3]");
  }
}

}  // namespace
}  // namespace facet::test
