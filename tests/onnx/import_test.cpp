#include "runtime/formats/onnx/onnx_import.h"

#include <gtest/gtest.h>

#include "backends/reference/reference.h"

namespace facet {
namespace {

TEST(OnnxImport, ImportsAModelOfOneNode) {
  const std::string path = "/usr/share/libonnx-testdata/data/node/test_relu/model.onnx";
  const ImportedModel model = import_onnx(path);
  EXPECT_EQ(model.graph.outputs().size(), 1u);
}

}  // namespace
}  // namespace facet
