#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "backends/reference/reference.h"
#include "ir/op.h"
#include "runtime/formats/onnx/onnx_text.h"
#include "tests/onnx/onnx_case.h"
#include "tests/support/op_samples.h"

// Every op of the table, by its own samples, at three opsets: written, checked by ONNX (official
// checker and strict shape inference, on the file), read again, and equal in float64; or refused
// with a reason.

namespace facet {
namespace {

using testing::Folder;

/// Ops that ONNX has in part: what their refusal says at any opset.
const std::map<std::string_view, std::string> kPartial = {
    {"bitwise", "BitShift takes unsigned integers"}};

/// A refusal must be the op's reason, or name an opset that is later than the one asked for.
void expect_reasonable(const OpDef& op, int opset, const std::string& message) {
  if (!op.onnx.reason().empty()) {
    EXPECT_NE(message.find(op.onnx.reason()), std::string::npos) << message;
    return;
  }
  const auto partial = kPartial.find(op.name);
  if (partial != kPartial.end() && message.find(partial->second) != std::string::npos) return;
  std::smatch match;
  ASSERT_TRUE(std::regex_search(message, match, std::regex("in ONNX since opset (\\d+)")))
      << message;
  EXPECT_GT(std::stoi(match[1]), opset) << message;
}

void expect_equal_results(const testing::SampleCase& sample, const ImportedModel& model) {
  const TensorMap expected = evaluate(sample.graph, sample.inputs, {});
  const TensorMap found = evaluate(model.graph, sample.inputs, model.weights);
  ASSERT_EQ(expected.size(), found.size());
  for (const auto& [name, values] : expected) {
    double largest = 1;
    for (const double value : values.to_doubles()) {
      if (std::isfinite(value)) largest = std::max(largest, std::fabs(value));
    }
    // Scales and bounds become single precision on the way.
    EXPECT_LE(testing::max_difference(values, found.at(name)), 1e-6 * largest) << name;
  }
}

class ExportOps : public ::testing::TestWithParam<int> {};

TEST_P(ExportOps, EverySampleIsWrittenAndReadAgainOrRefusedWithAReason) {
  const int opset = GetParam();
  Folder folder;
  const auto path = folder / "op.onnx";
  OnnxExportOptions options;
  options.opset = opset;
  int written = 0;
  for (const OpDef* op : all_ops()) {
    for (const Sample& sample : op->samples.make()) {
      SCOPED_TRACE(testing::describe(*op, sample));
      const testing::SampleCase one = testing::make_case(*op, sample);
      const std::string refusal =
          testing::error_of([&] { export_onnx(one.graph, {}, path, options); });
      if (!refusal.empty()) {
        expect_reasonable(*op, opset, refusal);
        EXPECT_TRUE(folder.files().empty());
        continue;
      }
      EXPECT_TRUE(op->onnx.reason().empty()) << "it says: " << op->onnx.reason();
      EXPECT_EQ(testing::error_of([&] { onnx_text(path); }), "");
      try {
        expect_equal_results(one, import_onnx(path));
      } catch (const Error& error) {
        ADD_FAILURE() << error.what() << "\n" << onnx_text(path);
      }
      std::filesystem::remove(path);
      ++written;
    }
  }
  EXPECT_GT(written, 250);
}

INSTANTIATE_TEST_SUITE_P(Opsets, ExportOps, ::testing::Values(13, 17, 22),
                         ::testing::PrintToStringParamName());

TEST(ExportTable, EveryOpButTheBackwardOnesIsWrittenAtTheNewestOpset) {
  Folder folder;
  OnnxExportOptions options;
  options.opset = kLastOnnxOpset;
  for (const OpDef* op : all_ops()) {
    if (!op->onnx.reason().empty()) continue;
    bool written = op->samples.make().empty();  // leaves have no samples
    for (const Sample& sample : op->samples.make()) {
      const testing::SampleCase one = testing::make_case(*op, sample);
      written |= testing::error_of([&] {
                   export_onnx(one.graph, {}, folder / "op.onnx", options);
                 }).empty();
      if (written) break;
    }
    EXPECT_TRUE(written) << op->name;
  }
}

}  // namespace
}  // namespace facet
