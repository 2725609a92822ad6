#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "backends/reference/reference.h"
#include "ir/error.h"
#include "ir/text.h"
#include "passes/vector_jacobian.h"
#include "runtime/formats/onnx/onnx_import.h"
#include "tests/onnx/model_writer.h"

namespace facet {
namespace {

using namespace facet::testing;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::span<const std::byte> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

ImportedModel import(const Model& model, const ImportOptions& options = {}) {
  return import_onnx(bytes_of(model.bytes()), {}, "m.onnx", options);
}

std::string error_of(const Model& model, const ImportOptions& options = {}) {
  try {
    import(model, options);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

Type output_type(const ImportedModel& model) { return model.graph.outputs().at(0).value.type(); }

std::vector<double> run(const ImportedModel& model, const TensorMap& inputs) {
  return evaluate(model.graph, inputs, model.weights)
      .at(model.graph.outputs().at(0).name)
      .to_doubles();
}

/// y = x w + b over a dynamic batch.
Model layer() {
  Model model;
  model.inputs = {value_info("x", {"batch", 3})};
  model.outputs = {value_info("y", {"batch", 2})};
  model.initializers = {tensor<float>("fc.weight", {2, 3}, {1, 2, 3, 4, 5, 6}),
                        tensor<float>("fc.bias", {2}, {10, 20})};
  model.nodes = {
      node("Gemm", "fc", {"x", "fc.weight", "fc.bias"}, {"y"}, {attribute("transB", 1)})};
  return model;
}

TEST(OnnxImport, AnImportedLayerIsLikeADeclaredOne) {
  const ImportedModel model = import(layer());
  const Node* y = model.graph.outputs().at(0).value.node;
  EXPECT_EQ(y->kind(), "linear");
  EXPECT_EQ(y->attributes().strings("epilogue"), Strings{"bias"});
  EXPECT_EQ(y->provenance().scope, "fc");
  ASSERT_EQ(model.graph.parameters().size(), 2u);
  EXPECT_EQ(model.graph.parameters()[0].key, "fc.weight");
  EXPECT_EQ(model.graph.parameters()[0].role, ParameterRole::weight);
  EXPECT_EQ(model.graph.parameters()[1].role, ParameterRole::bias);
  EXPECT_EQ(to_string(output_type(model)), "f32[batch, 2]");
  EXPECT_EQ(model.metadata.at("origin"), "a test");
  EXPECT_EQ(model.graph.taps().at(0).name, "fc");
  EXPECT_EQ(run(model, {{"x", HostTensor::from_floats({1, 3}, {1, 1, 2})}}),
            (std::vector<double>{19, 41}));
}

TEST(OnnxImport, DimensionsAreBoundByNameOrByAShape) {
  EXPECT_EQ(to_string(output_type(
                import(layer(), {.dims = {{"batch", 4}}, .bindings = {}, .input_shapes = {}}))),
            "f32[4, 2]");
  EXPECT_EQ(to_string(output_type(
                import(layer(), {.dims = {}, .bindings = {}, .input_shapes = {{"x", {5, 3}}}}))),
            "f32[5, 2]");
  EXPECT_THAT(error_of(layer(), {.dims = {{"bath", 4}}, .bindings = {}, .input_shapes = {}}),
              AllOf(HasSubstr("no dynamic dimension 'bath'"), HasSubstr("did you mean 'batch'")));
  EXPECT_THAT(error_of(layer(), {.dims = {}, .bindings = {}, .input_shapes = {{"x", {5, 4}}}}),
              HasSubstr("input 'x' has shape [5, 4]"));
}

TEST(OnnxImport, UnnamedDimensionsGetNames) {
  Model model = layer();
  model.inputs = {value_info("x", {"", 3})};
  EXPECT_EQ(to_string(output_type(import(model))), "f32[N, 2]");
}

TEST(OnnxImport, AnImportedLayerDifferentiates) {
  const ImportedModel model = import(layer());
  const Graph product = vector_jacobian_product(model.graph.with_symbol("batch", 1), {"y"});
  const TensorMap gradients = evaluate(product,
                                       {{"x", HostTensor::from_floats({1, 3}, {1, 2, 3})},
                                        {"cotangent:y", HostTensor::from_floats({1, 2}, {1, 10})}},
                                       model.weights);
  EXPECT_EQ(gradients.at("input:x").to_doubles(), (std::vector<double>{41, 52, 63}));
  EXPECT_EQ(gradients.at("fc.weight").to_doubles(), (std::vector<double>{1, 2, 3, 10, 20, 30}));
  EXPECT_EQ(gradients.at("fc.bias").to_doubles(), (std::vector<double>{1, 10}));
}

/// What exporters write for x.view(x.size(0), -1): the batch stays open.
TEST(OnnxImport, ShapeArithmeticKeepsTheBatchOpen) {
  Model model;
  model.inputs = {value_info("x", {"N", 4, 6})};
  model.outputs = {value_info("y", {"N", 24})};
  model.initializers = {
      tensor<std::int64_t>("zero", {}, {0}), tensor<std::int64_t>("axes", {1}, {0}),
      tensor<std::int64_t>("rest", {1}, {-1}), tensor<std::int64_t>("two", {}, {2})};
  model.nodes = {node("Shape", "shape", {"x"}, {"s"}),
                 node("Gather", "gather", {"s", "zero"}, {"n"}),
                 node("Mul", "double", {"n", "two"}, {"n2"}),
                 node("Div", "half", {"n2", "two"}, {"n1"}),
                 node("Unsqueeze", "list", {"n1", "axes"}, {"l"}),
                 node("Concat", "concat", {"l", "rest"}, {"t"}, {attribute("axis", 0)}),
                 node("Reshape", "view", {"x", "t"}, {"y"})};
  const ImportedModel imported = import(model);
  EXPECT_EQ(to_string(output_type(imported)), "f32[N, 24]");
  EXPECT_EQ(imported.graph.size(), 2u) << to_text(imported.graph);  // the input and the reshape
}

/// A class token repeated over the batch.
TEST(OnnxImport, ExpandsToADynamicBatch) {
  Model model;
  model.inputs = {value_info("x", {"N", 2, 3})};
  model.outputs = {value_info("y", {"N", 3, 3})};
  model.initializers = {
      tensor<float>("token", {1, 1, 3}, {7, 8, 9}), tensor<std::int64_t>("zero", {1}, {0}),
      tensor<std::int64_t>("rest", {2}, {-1, -1}), tensor<std::int64_t>("ones", {3}, {1, 1, 1})};
  model.nodes = {node("Shape", "shape", {"x"}, {"s"}),
                 node("Gather", "gather", {"s", "zero"}, {"n"}),
                 node("Concat", "sizes", {"n", "rest"}, {"t"}, {attribute("axis", 0)}),
                 node("Max", "positive", {"t", "ones"}, {"u"}),
                 node("Expand", "tokens", {"token", "u"}, {"e"}),
                 node("Concat", "cat", {"e", "x"}, {"y"}, {attribute("axis", 1)})};
  const ImportedModel imported = import(model);
  EXPECT_EQ(to_string(output_type(imported)), "f32[N, 3, 3]");
  const HostTensor x =
      HostTensor::from_floats({2, 2, 3}, {1, INFINITY, 3, NAN, 5, 6, 1, 2, 3, 4, 5, 6});
  const std::vector<double> y = run(imported, {{"x", x}});
  EXPECT_EQ(std::vector<double>(y.begin(), y.begin() + 3), (std::vector<double>{7, 8, 9}));
  EXPECT_EQ(std::vector<double>(y.begin() + 9, y.begin() + 12), (std::vector<double>{7, 8, 9}));
}

TEST(OnnxImport, ListsAllThatCannotBeImported) {
  Model model;
  model.inputs = {value_info("x", {2, 3})};
  model.outputs = {value_info("y", {2, 3})};
  model.nodes = {node("NonZero", "first", {"x"}, {"a"}), node("Relu", "fine", {"x"}, {"b"}),
                 node("Relu", "behind", {"a"}, {"c"}), node("Gelu3", "second", {"b"}, {"d"}),
                 node("Mystery", "third", {"d"}, {"y"}, {}, "com.example")};
  const std::string error = error_of(model);
  EXPECT_THAT(error, AllOf(HasSubstr("NonZero 'first': out of scope"), HasSubstr("Gelu3 'second'"),
                           HasSubstr("com.example::Mystery 'third'"), Not(HasSubstr("'fine'")),
                           Not(HasSubstr("'behind'"))));
}

TEST(OnnxImport, InlinesFunctions) {
  Model model;
  model.inputs = {value_info("x", {2})};
  model.outputs = {value_info("y", {2})};
  model.nodes = {node("Twice", "call", {"x"}, {"y"}, {}, "own")};
  Message function = Message()
                         .text(1, "Twice")
                         .text(4, "a")
                         .text(5, "b")
                         .message(7, node("Add", "sum", {"a", "a"}, {"b"}));
  function.message(9, Message().text(1, "").number(2, 17)).text(10, "own");
  model.functions = {function};
  EXPECT_EQ(run(import(model), {{"x", HostTensor::from_floats({2}, {1, 2})}}),
            (std::vector<double>{2, 4}));
}

TEST(OnnxImport, RefusesFunctionsThatCallThemselvesOrExplode) {
  Model model;
  model.inputs = {value_info("x", {2})};
  model.outputs = {value_info("y", {2})};
  const auto function = [](const std::string& name, const std::string& called) {
    Message message = Message().text(1, name).text(4, "a").text(5, "c");
    message.message(7, node(called, "one", {"a"}, {"b"}, {}, "own"));
    message.message(7, node(called, "two", {"b"}, {"c"}, {}, "own"));
    return message.message(9, Message().text(1, "own").number(2, 1)).text(10, "own");
  };
  model.nodes = {node("F0", "call", {"x"}, {"y"}, {}, "own")};
  model.functions = {function("F0", "F0")};
  EXPECT_THAT(error_of(model), HasSubstr("'F0' calls itself"));
  model.functions.clear();
  for (int i = 0; i < 40; ++i)
    model.functions.push_back(function("F" + std::to_string(i), "F" + std::to_string(i + 1)));
  EXPECT_THAT(error_of(model), HasSubstr("unfold to more than"));
}

TEST(OnnxImport, RefusesCyclesAndNamesGivenTwice) {
  Model model;
  model.inputs = {value_info("x", {2})};
  model.outputs = {value_info("y", {2})};
  model.nodes = {node("Add", "one", {"x", "y"}, {"a"}), node("Relu", "two", {"a"}, {"y"})};
  EXPECT_THAT(error_of(model), Not(IsEmpty()));
  model.nodes = {node("Relu", "one", {"x"}, {"y"}), node("Relu", "two", {"x"}, {"y"})};
  EXPECT_THAT(error_of(model), Not(IsEmpty()));
}

TEST(OnnxImport, RefusesTensorsThatAreNotAsLongAsTheirShape) {
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{2, 4},
                                                 {-2, -3},
                                                 {std::int64_t{1} << 60, std::int64_t{1} << 60},
                                                 {std::int64_t{1} << 60}}) {
    Model model = layer();
    model.initializers[0] = tensor<float>("fc.weight", shape, {1, 2, 3, 4, 5, 6});
    EXPECT_THAT(error_of(model), HasSubstr("fc.weight")) << shape[0];
  }
}

TEST(OnnxImport, RefusesFilesThatUnfold) {
  Message graph;
  for (int i = 0; i < 400000; ++i) graph.message(1, Message());  // nodes of two bytes
  const std::string bytes = Message().message(7, graph).bytes();
  try {
    import_onnx(bytes_of(bytes), {}, "m.onnx");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("unfold"));
  }
}

TEST(OnnxImport, RefusesEveryTruncation) {
  const std::string whole = layer().bytes();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    try {
      import_onnx(bytes_of(whole.substr(0, size)), {}, "m.onnx");
    } catch (const Error&) {
      continue;
    }
    // The metadata stands last: a file without it is a model still.
    EXPECT_GT(size, whole.size() - 30) << size;
  }
}

class ExternalData : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "facet_external_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    std::filesystem::create_directory(folder_ / "model");
    const std::vector<float> values = {0, 1, 2, 3, 4, 5, 6};
    for (const char* name : {"model/weights.bin", "secret.bin"}) {
      std::ofstream file(folder_ / name, std::ios::binary);
      file.write(reinterpret_cast<const char*>(values.data()), 28);
    }
    std::filesystem::create_symlink("../secret.bin", folder_ / "model/link.bin");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static Message entry(const std::string& key, const std::string& value) {
    return Message().text(1, key).text(2, value);
  }

  ImportedModel read(const std::string& location, const std::string& offset = "4",
                     const std::string& length = "24") {
    Model model = layer();
    Message weight =
        Message().number(1, 2).number(1, 3).number(2, kFloat).text(8, "fc.weight").number(14, 1);
    weight.message(13, entry("location", location)).message(13, entry("offset", offset));
    weight.message(13, entry("length", length));
    model.initializers[0] = weight;
    std::ofstream(folder_ / "model/m.onnx", std::ios::binary) << model.bytes();
    return import_onnx(folder_ / "model/m.onnx");
  }
  std::string error(const std::string& location, const std::string& offset = "4",
                    const std::string& length = "24") {
    try {
      read(location, offset, length);
    } catch (const Error& caught) {
      return caught.what();
    }
    return {};
  }

  std::filesystem::path folder_;
};

TEST_F(ExternalData, IsReadInPlace) {
  const ImportedModel model = read("weights.bin");
  EXPECT_EQ(model.weights.at("fc.weight").to_doubles(), (std::vector<double>{1, 2, 3, 4, 5, 6}));
}

TEST_F(ExternalData, StaysInTheModelsFolder) {
  for (const std::string& location :
       {std::string("../secret.bin"), std::string("link.bin"), std::string(""),
        (folder_ / "secret.bin").string(), std::string("./../secret.bin")}) {
    EXPECT_THAT(error(location), HasSubstr("not in the model's folder")) << location;
  }
  EXPECT_THAT(error("missing.bin"), HasSubstr("no file 'missing.bin'"));
}

TEST_F(ExternalData, LiesWithinItsFile) {
  EXPECT_THAT(error("weights.bin", "8"), HasSubstr("beyond the 28 bytes"));
  EXPECT_THAT(error("weights.bin", "18446744073709551612"), HasSubstr("beyond the 28 bytes"));
  EXPECT_THAT(error("weights.bin", "-4"), HasSubstr("not a number"));
  EXPECT_THAT(error("weights.bin", "4", "20"), HasSubstr("20 bytes where its shape asks for 24"));
}

}  // namespace
}  // namespace facet
