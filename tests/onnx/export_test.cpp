#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "backends/reference/reference.h"
#include "ir/dsl.h"
#include "runtime/formats/onnx/onnx_export.h"
#include "runtime/formats/onnx/onnx_text.h"
#include "runtime/formats/onnx/preprocess_metadata.h"
#include "runtime/weights.h"
#include "tests/onnx/onnx_case.h"
#include "tests/support/fill.h"
#include "tests/support/op_samples.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using testing::Folder;
using ::testing::HasSubstr;
using ::testing::Not;

/// Everything that the exporter treats in a way of its own.
Graph small_network() {
  Network net("small");
  const Scope s = net.root();
  Tensor x = net.input("image", {"N", 3, 8, 8});
  x = s.conv("conv", x, {.out = 16, .kernel = 3, .stride = 2, .padding = 1});
  x = s.prelu("act", s.batch_norm("bn", x));
  x = s.output(dropout(max_pool(x, {.kernel = 2}), 0.25));
  const Tensor rows = reshape(transpose(reshape(x, {0, 16, 4}), {0, 2, 1}), {0, 4, 16});
  const Tensor tokens = s.linear("tokens", rows, {.out = 24});
  net.output("tokens", tokens);
  net.output("again", tokens);
  net.output("scores", s.linear("fc", mean(clamp(tokens, -0.7, 0.7), {1}) * 0.5, {.out = 5}));
  return net.finish();
}

struct Case {
  Graph graph = small_network();
  TensorMap weights = trial_weights(graph, 3);
  Folder folder;
  std::filesystem::path path = folder / "m.onnx";

  std::string text(const OnnxExportOptions& options = {}) {
    export_onnx(graph, weights, path, options);
    return onnx_text(path);
  }
};

void expect_same_results(const Graph& graph, const TensorMap& weights, const ImportedModel& model) {
  const TensorMap inputs = testing::fill_inputs(graph, 3);
  const TensorMap expected = evaluate(graph, inputs, weights);
  const TensorMap found = evaluate(model.graph, inputs, model.weights);
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, values] : expected) {
    EXPECT_LE(testing::max_difference(values, found.at(name)), 1e-12) << name;
  }
}

TEST(OnnxExport, KeepsNamesAndTheDynamicBatch) {
  Case c;
  const std::string text = c.text();
  EXPECT_THAT(text, HasSubstr("(float[N,3,8,8] image)"));
  EXPECT_THAT(text, HasSubstr("float[N,4,24] tokens, float[N,4,24] again"));
  EXPECT_THAT(text, HasSubstr("Conv"));
  EXPECT_THAT(text, HasSubstr("image, conv.weight, conv.bias"));
  EXPECT_THAT(text, HasSubstr("ir_version: 8"));
  EXPECT_THAT(text, HasSubstr("opset_import: [\"\" : 17]"));
  const ImportedModel model = import_onnx(c.path);
  for (const Parameter& parameter : c.graph.parameters()) {
    const bool read = parameter.role != ParameterRole::batches_tracked;
    EXPECT_EQ(model.graph.find_parameter(parameter.key) != nullptr, read) << parameter.key;
  }
  std::vector<std::string> scopes;
  for (const Output& tap : model.graph.taps()) scopes.push_back(tap.name);
  EXPECT_THAT(scopes, ::testing::IsSupersetOf({"conv", "bn", "act", "fc"}));
}

TEST(OnnxExport, ComputesTheSameAtEveryOpset) {
  for (int opset = kFirstOnnxOpset; opset <= kLastOnnxOpset; ++opset) {
    SCOPED_TRACE(opset);
    Case c;
    OnnxExportOptions options;
    options.opset = opset;
    c.text(options);
    const ImportedModel model = import_onnx(c.path);
    EXPECT_EQ(model.opset, opset);
    EXPECT_TRUE(testing::same_network(c.graph, model.graph));
    expect_same_results(c.graph, c.weights, model);
  }
}

TEST(OnnxExport, PutsWeightsBesideTheModelOnRequest) {
  Case c;
  OnnxExportOptions options;
  options.external_data = true;
  c.text(options);  // the checker resolves the data
  EXPECT_THAT(c.folder.files(), ElementsAre("m.onnx", "m.onnx.data"));
  const auto model_bytes = std::filesystem::file_size(c.path);
  const ImportedModel model = import_onnx(c.path);
  expect_same_results(c.graph, c.weights, model);
  c.text();
  EXPECT_GT(std::filesystem::file_size(c.path), model_bytes);
}

TEST(OnnxExport, CarriesMetadata) {
  Case c;
  OnnxExportOptions options;
  options.preprocess = Preprocess{.width = 24,
                                  .height = 16,
                                  .fit = Preprocess::Fit::center_crop,
                                  .shorter_side = 30,
                                  .mean = {0.485F, 0.5F, 0.25F}};
  options.metadata = {{"training.weights", "best.safetensors"}};
  c.text(options);
  const Metadata metadata = import_onnx(c.path).metadata;
  EXPECT_EQ(metadata.at("producer_name"), "facet");
  EXPECT_EQ(metadata.at("training.weights"), "best.safetensors");
  EXPECT_EQ(metadata.at("preprocess.mean"), "0.485,0.5,0.25");
  EXPECT_EQ(metadata.at("preprocess.layout"), "NCHW");
  const std::optional<Preprocess> read = preprocess_of(metadata);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(preprocess_metadata(*read), preprocess_metadata(*options.preprocess));
  Metadata broken = metadata;
  broken["preprocess.std"] = "0.5,0.5";
  EXPECT_THAT(error_of([&] { preprocess_of(broken); }), HasSubstr("preprocess.std"));
  broken.erase("preprocess.std");
  EXPECT_THAT(error_of([&] { preprocess_of(broken); }), HasSubstr("lacks \"preprocess.std\""));
  EXPECT_FALSE(preprocess_of({}).has_value());
}

TEST(OnnxExport, WritesTrainingModeOnRequest) {
  for (const int opset : {13, 14, 22}) {
    Case c;
    OnnxExportOptions options;
    options.opset = opset;
    const std::string inference = c.text(options);
    EXPECT_THAT(inference, Not(HasSubstr("training_mode")));
    EXPECT_THAT(inference, HasSubstr("Dropout"));
    options.training = true;
    const std::string training = c.text(options);
    EXPECT_EQ(training.find("training_mode") != std::string::npos, opset >= 14);
    // Outputs behind y: the moved statistics; up to opset 13 those of the batch, too.
    EXPECT_THAT(training, HasSubstr("bn, bn:1, bn:2"));
    EXPECT_EQ(training.find("bn:2, bn:3, bn:4 =") != std::string::npos, opset < 14);
    EXPECT_THAT(training, HasSubstr("= Dropout (act/MaxPool, act/Constant, act/Constant_1)"));
  }
}

TEST(OnnxExport, FormsFollowTheOpset) {
  Case c;
  OnnxExportOptions options;
  options.opset = 17;
  EXPECT_THAT(c.text(options), HasSubstr("axes: ints = [1]"));  // of ReduceMean: an attribute
  options.opset = 18;
  EXPECT_THAT(c.text(options), Not(HasSubstr("axes: ints = [1]")));
}

TEST(OnnxExport, RefusesWhatCannotBeWrittenAllAtOnceAndLeavesNoFile) {
  Network net("losses");
  const Tensor logits = net.input("logits", {4, 10});
  const Tensor labels = net.input("labels", {4}, DType::i64);
  net.output("loss", cross_entropy(logits, labels));
  net.output("picked", pick(logits, labels));
  const Graph graph = net.finish();
  Folder folder;
  const std::string message = error_of([&] { export_onnx(graph, {}, folder / "m.onnx"); });
  EXPECT_THAT(message, HasSubstr("cross_entropy): losses are not exported"));
  EXPECT_THAT(message, HasSubstr("pick): losses are not exported"));
  EXPECT_TRUE(folder.files().empty());
}

TEST(OnnxExport, ChecksTheCall) {
  Case c;
  OnnxExportOptions options;
  options.opset = 12;
  EXPECT_THAT(error_of([&] { c.text(options); }), HasSubstr("opset 13 to 22, not 12"));
  TensorMap wrong = c.weights;
  wrong.erase("conv.weight");
  wrong["bn.bias"] = HostTensor(DType::f32, {7});
  const std::string message = error_of([&] { export_onnx(c.graph, wrong, c.path); });
  EXPECT_THAT(message, HasSubstr("conv.weight is missing"));
  EXPECT_THAT(message, HasSubstr("bn.bias is [7], the network has f32[16]"));
  EXPECT_THAT(error_of([&] { export_onnx(c.graph, c.weights, c.folder / "no" / "m.onnx"); }),
              HasSubstr("m.onnx"));
  EXPECT_TRUE(c.folder.files().empty());
}

TEST(OnnxExport, NamesThatCollideAreAnError) {
  Network net("collision");
  const Tensor x = net.input("weight", {2, 3});
  net.output("y", x * net.root().parameter("weight", {3}, {}));
  const Graph graph = net.finish();
  Folder folder;
  EXPECT_THAT(error_of([&] { export_onnx(graph, trial_weights(graph, 1), folder / "m.onnx"); }),
              HasSubstr("'weight' names two things"));
}

TEST(OnnxExport, OutputsMayBeInputsAndParameters) {
  Network net("through");
  const Tensor x = net.input("x", {"N", 3});
  net.output("same", x);
  net.output("table", net.root().parameter("rows", {2, 3}, {}));
  net.output("sum", x + 1.0);
  const Graph graph = net.finish();
  const TensorMap weights = trial_weights(graph, 1);
  Folder folder;
  export_onnx(graph, weights, folder / "m.onnx");
  EXPECT_THAT(onnx_text(folder / "m.onnx"), HasSubstr("Identity"));
  expect_same_results(graph, weights, import_onnx(folder / "m.onnx"));
}

}  // namespace
}  // namespace facet
