#include "passes/strided_view.h"

#include <numeric>

#include "tests/passes/pass_case.h"

namespace facet {
namespace {

/// The view that the first output of a graph with this body is.
std::optional<StridedView> view_in(Graph& graph, double* factor = nullptr) {
  return strided_view(graph.outputs().at(0).value, factor);
}

/// Checks a view without symbols against the reference: elements of the base 0, 1, 2, ... come out
/// where the strides say.
void expect_exact(std::string_view body) {
  Graph graph = testing::parse_body(body);
  const auto view = view_in(graph);
  ASSERT_TRUE(view.has_value());
  ASSERT_TRUE(view->base.node->is("input"));
  const std::vector<std::int64_t> extents = static_extents(view->base.shape());
  HostTensor base(DType::f32, extents);
  std::iota(base.as_mutable<float>(), base.as_mutable<float>() + base.element_count(), 0.0F);
  const HostTensor found = evaluate(graph, {{"x", base}}, {}).begin()->second;
  ASSERT_EQ(found.shape(), static_extents(view->shape));
  for (std::int64_t i = 0; i < found.element_count(); ++i) {
    std::int64_t at = view->offset, rest = i;
    for (std::size_t axis = view->shape.size(); axis-- > 0;) {
      at += rest % view->shape[axis].factor * view->strides[axis];
      rest /= view->shape[axis].factor;
    }
    ASSERT_EQ(found.at(i), static_cast<double>(at)) << "element " << i;
  }
}

TEST(StridedView, ThroughReshapeTransposeAndSlice) {
  expect_exact(R"(
  %0 = input() {name = "x", type = "f32[2, 5, 24]"} : f32[2, 5, 24]
  %1 = reshape(%0) {shape = [2, 5, 3, 2, 4]} : f32[2, 5, 3, 2, 4]
  %2 = transpose(%1) {permutation = [2, 0, 3, 1, 4]} : f32[3, 2, 2, 5, 4]
  %3 = slice(%2) {axis = 0, end = 2, start = 1} : f32[1, 2, 2, 5, 4]
  %4 = reshape(%3) {shape = [2, 2, 5, 1, 4]} : f32[2, 2, 5, 1, 4]
  %5 = slice(%4) {axis = -1, end = 4, start = 1} : f32[2, 2, 5, 1, 3]
  return "y" = %5
)");
  expect_exact(R"(
  %0 = input() {name = "x", type = "f32[2, 12, 2, 3]"} : f32[2, 12, 2, 3]
  %1 = slice(%0) {axis = 1, end = 11, start = 3} : f32[2, 8, 2, 3]
  %2 = reshape(%1) {shape = [2, 2, 4, 6]} : f32[2, 2, 4, 6]
  %3 = transpose(%2) {permutation = [0, 1, 3, 2]} : f32[2, 2, 6, 4]
  return "y" = %3
)");
}

TEST(StridedView, TheBatchMayBeSymbolic) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[N, 8, 2, 3]"} : f32[N, 8, 2, 3]
  %1 = reshape(%0) {shape = [0, 2, 4, 6]} : f32[N, 2, 4, 6]
  %2 = slice(%1) {axis = 2, end = 3, start = 1} : f32[N, 2, 2, 6]
  return "y" = %2
)");
  const Value x = graph.inputs().at(0)->result();
  EXPECT_EQ(view_in(graph), (StridedView{x, {"N", 2, 2, 6}, {48, 24, 6, 1}, 6}));
}

// A reshape that strides cannot say is the base of what follows.
TEST(StridedView, StopsWhereAnAxisWouldCrossRows) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[N, 4, 6]"} : f32[N, 4, 6]
  %1 = transpose(%0) {permutation = [0, 2, 1]} : f32[N, 6, 4]
  %2 = reshape(%1) {shape = [0, 24]} : f32[N, 24]
  %3 = slice(%2) {axis = 1, end = 24, start = 4} : f32[N, 20]
  return "y" = %3
)");
  const Value base = graph.outputs().at(0).value.node->operand(0);
  EXPECT_EQ(view_in(graph), (StridedView{base, {"N", 20}, {24, 1}, 4}));
}

TEST(StridedView, LooksThroughNumbersWhenAsked) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[N, 4, 6]"} : f32[N, 4, 6]
  %1 = constant() {value = tensor<f32[1]; [4.0]>} : f32[1]
  %2 = mul(%0, %1) : f32[N, 4, 6]
  %3 = transpose(%2) {permutation = [0, 2, 1]} : f32[N, 6, 4]
  %4 = constant() {value = tensor<f32[]; [8.0]>} : f32[]
  %5 = div(%3, %4) : f32[N, 6, 4]
  return "y" = %5
)");
  double factor = 0;
  const auto view = view_in(graph, &factor);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->base, graph.inputs().at(0)->result());
  EXPECT_EQ(view->strides, (Ints{24, 1, 6}));
  EXPECT_EQ(factor, 0.5);
  EXPECT_EQ(view_in(graph)->base, graph.outputs().at(0).value);
}

// A product that broadcasts makes more than the operand has.
TEST(StridedView, DoesNotLookThroughBroadcasts) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[N, 6]"} : f32[N, 6]
  %1 = constant() {value = tensor<f32[1, 1, 1]; [4.0]>} : f32[1, 1, 1]
  %2 = mul(%0, %1) : f32[1, N, 6]
  return "y" = %2
)");
  double factor = 0;
  EXPECT_EQ(view_in(graph, &factor), std::nullopt);  // the batch is an inner axis there
  EXPECT_EQ(factor, 1);
}

TEST(StridedView, InnerExtentsHaveToBeFixed) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[4, N, 6]"} : f32[4, N, 6]
  %1 = transpose(%0) {permutation = [1, 0, 2]} : f32[N, 4, 6]
  return "y" = %1
)");
  const Value y = graph.outputs().at(0).value;
  EXPECT_EQ(view_in(graph), (StridedView{y, {"N", 4, 6}, {24, 6, 1}, 0}));
  EXPECT_EQ(strided_view(graph.inputs().at(0)->result()), std::nullopt);
}

TEST(StridedView, ReshapedSplitsAndMergesRuns) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[N, 6, 4]"} : f32[N, 6, 4]
  %1 = transpose(%0) {permutation = [0, 2, 1]} : f32[N, 4, 6]
  return "y" = %1
)");
  const StridedView view = *view_in(graph);
  EXPECT_EQ(reshaped(view, {"N", 1, 2, 2, 6})->strides, (Ints{24, 0, 2, 1, 4}));
  EXPECT_EQ(reshaped(view, {"N", 4, 3, 2, 1})->strides, (Ints{24, 1, 8, 4, 0}));
  EXPECT_EQ(reshaped(view, {"N", 24}), std::nullopt);
  EXPECT_EQ(reshaped(view, {"N", 3, 8}), std::nullopt);
}

}  // namespace
}  // namespace facet
