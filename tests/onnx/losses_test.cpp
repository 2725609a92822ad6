#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "backends/reference/reference.h"
#include "ir/op.h"
#include "passes/differentiate.h"
#include "runtime/formats/onnx/onnx_import.h"
#include "tests/support/fill.h"
#include "tests/support/paths.h"

// Imported losses are differentiated like declared ones: weights, labels to ignore, pixels and all.

namespace facet {
namespace {

class OnnxLoss : public ::testing::TestWithParam<const char*> {};

TEST_P(OnnxLoss, HasTheGradientOfItsValue) {
  const std::filesystem::path folder = testing::onnx_test_data();
  const auto path = folder / "node" / (std::string("test_") + GetParam()) / "model.onnx";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "libonnx-testdata is not installed";
  ImportedModel model = import_onnx(path);
  Graph& graph = model.graph;
  TensorMap inputs;
  for (const Node* node : graph.inputs()) {
    const Type& type = node->result_types()[0];
    const HostTensor values =
        testing::uniform(node->attributes().text("name"), static_extents(type.shape), 0.1, 2.9);
    inputs[node->attributes().text("name")] = values.cast(type.dtype);
  }
  const Value x = graph.inputs()[0]->result();
  const std::string name = x.node->attributes().text("name");
  const Value loss = graph.outputs()[0].value;
  ASSERT_EQ(element_count(loss.shape()), Dim(1));
  const Seed seed{loss, Builder(graph, nullptr, {}).scalar(1)};
  const Value gradient = differentiate(graph, {&seed, 1}, {&x, 1}).at(0);
  ASSERT_TRUE(gradient);
  graph.outputs() = {{"loss", loss}, {"gradient", gradient}};
  const HostTensor found = evaluate(graph, inputs, model.weights).at("gradient");
  double largest = 0;
  for (std::int64_t i = 0; i < std::min<std::int64_t>(found.element_count(), 40); ++i) {
    const auto loss_at = [&](double step) {
      TensorMap moved = inputs;
      HostTensor values = inputs.at(name).cast(DType::f64).clone();
      values.as_mutable<double>()[i] += step;
      moved[name] = values;
      return evaluate(graph, moved, model.weights).at("loss").at(0);
    };
    EXPECT_NEAR(found.at(i), (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5, 1e-8) << "element " << i;
    largest = std::max(largest, std::fabs(found.at(i)));
  }
  EXPECT_GT(largest, 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Onnx, OnnxLoss,
                         ::testing::Values("sce_mean", "sce_sum", "sce_mean_3d",
                                           "sce_mean_weight_ii", "sce_mean_weight_ii_4d",
                                           "sce_NCd1d2d3_sum_weight_high_ii",
                                           "nllloss_NCd1d2_with_weight_reduction_mean",
                                           "nllloss_NCd1d2_no_weight_reduction_mean_ii"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace facet
