#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>

#include "backends/reference/reference.h"
#include "ir/error.h"
#include "runtime/formats/onnx/onnx_import.h"
#include "tests/onnx/model_writer.h"

// What ONNX's backend suite does not show of operators that index, cut, pad and transform: what
// they become, dynamic batches, and what they refuse.

namespace facet {
namespace {

using namespace facet::testing;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pointwise;
using Integers = std::vector<std::int64_t>;
using Numbers = std::vector<double>;

Message text_attribute(const std::string& name, const std::string& value) {
  return Message().text(1, name).text(4, value).number(20, 3);
}

/// One node that reads "x" and constants "c1", "c2" ... ("" where one is left out).
Model model_of(const std::string& op, const std::vector<Extent>& x, const std::vector<Extent>& y,
               const std::vector<Message>& attributes = {}, int opset = 20) {
  Model model;
  model.opset = opset;
  model.ir_version = 9;
  model.inputs = {value_info("x", x)};
  model.outputs = {value_info("y", y)};
  model.nodes = {node(op, "n", {"x"}, {"y"}, attributes)};
  return model;
}

/// The same with integer constants behind x.
Model with_integers(const std::string& op, const std::vector<Extent>& x,
                    const std::vector<Extent>& y, const std::vector<Integers>& constants,
                    const std::vector<Message>& attributes = {}, int opset = 20) {
  Model model = model_of(op, x, y, attributes, opset);
  std::vector<std::string> names{"x"};
  for (const Integers& values : constants) {
    names.push_back(values.empty() ? "" : "c" + std::to_string(names.size()));
    if (values.empty()) continue;
    model.initializers.push_back(
        tensor<std::int64_t>(names.back(), {static_cast<std::int64_t>(values.size())}, values));
  }
  model.nodes = {node(op, "n", names, {"y"}, attributes)};
  return model;
}

ImportedModel import(const Model& model) {
  const std::string bytes = model.bytes();
  return import_onnx(std::as_bytes(std::span(bytes)), {}, "m.onnx");
}

std::string refusal(const Model& model) {
  try {
    import(model);
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was refused";
}

std::vector<std::string> kinds(const ImportedModel& model) {
  std::vector<std::string> list;
  for (const auto& node : model.graph.nodes()) {
    if (!node->is("input") && !node->is("constant")) list.emplace_back(node->kind());
  }
  return list;
}

HostTensor run(const ImportedModel& model, const HostTensor& x) {
  return evaluate(model.graph, {{"x", x}}, model.weights).at("y");
}

HostTensor ramp(std::vector<std::int64_t> shape) {
  HostTensor values(DType::f32, std::move(shape));
  for (std::int64_t i = 0; i < values.element_count(); ++i) {
    values.as_mutable<float>()[i] = static_cast<float>(i);
  }
  return values;
}

TEST(OnnxIndex, ConstantIndicesThatFollowEachOtherAreASlice) {
  const ImportedModel rows =
      import(with_integers("Gather", {"N", 4, 2}, {"N", 2, 2}, {{-3, 2}}, {attribute("axis", 1)}));
  EXPECT_THAT(kinds(rows), ElementsAre("slice"));
  EXPECT_EQ(run(rows, ramp({1, 4, 2})).to_doubles(), (Numbers{2, 3, 4, 5}));
  Model token = with_integers("Gather", {"N", 4, 2}, {"N", 2}, {{0}}, {attribute("axis", 1)});
  token.initializers = {tensor<std::int64_t>("c1", {}, {0})};
  const ImportedModel first = import(token);
  EXPECT_THAT(kinds(first), ElementsAre("slice", "reshape"));
  EXPECT_EQ(run(first, ramp({2, 4, 2})).to_doubles(), (Numbers{0, 1, 8, 9}));
}

TEST(OnnxIndex, OtherConstantIndicesAreGatheredAndChecked) {
  const ImportedModel model =
      import(with_integers("Gather", {"N", 3}, {"N", 2}, {{2, 0}}, {attribute("axis", 1)}));
  EXPECT_THAT(kinds(model), ElementsAre("gather"));
  EXPECT_EQ(run(model, ramp({2, 3})).to_doubles(), (Numbers{2, 0, 5, 3}));
  EXPECT_THAT(
      refusal(with_integers("Gather", {"N", 3}, {"N", 2}, {{2, 3}}, {attribute("axis", 1)})),
      HasSubstr("index 3 lies outside an axis of extent 3"));
}

TEST(OnnxIndex, SlicesInStepsOverADynamicBatch) {
  const ImportedModel model =
      import(with_integers("Slice", {"N", 6}, {"N", 2}, {{-1}, {-6}, {1}, {-3}}));
  EXPECT_THAT(kinds(model), ElementsAre("strided_slice"));
  EXPECT_EQ(run(model, ramp({2, 6})).to_doubles(), (Numbers{5, 2, 11, 8}));
}

TEST(OnnxIndex, NegativePadsCropFirst) {
  const ImportedModel model = import(with_integers("Pad", {"N", 5}, {"N", 5}, {{2, -2}, {}, {1}},
                                                   {text_attribute("mode", "reflect")}));
  EXPECT_THAT(kinds(model), ElementsAre("slice", "pad"));
  EXPECT_EQ(run(model, ramp({1, 5})).to_doubles(), (Numbers{2, 1, 0, 1, 2}));
  EXPECT_THAT(refusal(with_integers("Pad", {"N", 5}, {"N", 1}, {{-3, -2}, {}, {1}})),
              HasSubstr("leaves nothing"));
  EXPECT_THAT(refusal(with_integers("Pad", {"N", 5}, {"N", 1}, {{INT64_MIN, INT64_MIN}, {}, {1}})),
              HasSubstr("leaves nothing"));
  EXPECT_THAT(refusal(with_integers("Pad", {"N", 5}, {"M", 5}, {{1, 0}, {}, {0}})),
              HasSubstr("which is dynamic"));
}

TEST(OnnxIndex, TilesOverADynamicBatch) {
  const ImportedModel model = import(with_integers("Tile", {"N", 2}, {"N", 6}, {{1, 3}}));
  EXPECT_EQ(run(model, ramp({2, 2})).to_doubles(), (Numbers{0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3}));
}

TEST(OnnxIndex, TransformsOfAnyLengthAndBack) {
  const std::vector<Extent> half{"N", 4, 2};
  const ImportedModel there = import(
      model_of("DFT", {"N", 6, 1}, half, {attribute("axis", 1), attribute("onesided", 1)}, 17));
  Model inverse =
      model_of("DFT", half, {"N", 6, 1},
               {attribute("axis", 1), attribute("onesided", 1), attribute("inverse", 1)}, 17);
  const HostTensor x = HostTensor::from_floats({1, 6, 1}, {3, -1, 4, 1, -5, 9});
  const HostTensor spectrum = run(there, x);
  EXPECT_EQ(spectrum.shape(), (Integers{1, 4, 2}));
  // By hand: the sums of all elements, and with alternating signs.
  EXPECT_NEAR(spectrum.at(0), 11, 1e-6);
  EXPECT_NEAR(spectrum.at(6), 3 + 1 + 4 - 1 - 5 - 9, 1e-5);
  EXPECT_THAT(run(import(inverse), spectrum.cast(DType::f32)).to_doubles(),
              Pointwise(DoubleNear(1e-5), x.to_doubles()));
}

/// A matrix of that size would be made from a file of a few bytes.
TEST(OnnxIndex, RefusesTransformsThatAreTooLong) {
  EXPECT_THAT(
      refusal(model_of("DFT", {"N", 100000, 1}, {"N", 100000, 2}, {attribute("axis", 1)}, 17)),
      HasSubstr("a transform of 100000 points"));
}

TEST(OnnxIndex, ANormOfZeroGivesZeros) {
  const ImportedModel model =
      import(model_of("LpNormalization", {"N", 2}, {"N", 2}, {attribute("p", 1)}));
  EXPECT_EQ(run(model, HostTensor::from_floats({2, 2}, {3, -1, 0, 0})).to_doubles(),
            (Numbers{0.75, -0.25, 0, 0}));
}

TEST(OnnxIndex, RefusesImpossibleExtents) {
  EXPECT_THAT(refusal(with_integers("Tile", {8, 2}, {8, 6}, {{1, INT64_MAX}})), HasSubstr("Tile"));
  EXPECT_THAT(refusal(with_integers("Tile", {8, 2}, {8, 6}, {{1, 2, 3}})), HasSubstr("Tile"));
  EXPECT_THAT(refusal(model_of("DepthToSpace", {"N", 6, 2, 2}, {"N", 1, 4, 4},
                               {attribute("blocksize", 2)})),
              HasSubstr("6 is no multiple of 4"));
}

}  // namespace
}  // namespace facet
