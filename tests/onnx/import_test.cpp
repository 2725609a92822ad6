#include "runtime/formats/onnx/onnx_import.h"

#include <gtest/gtest.h>

namespace facet {
namespace {

TEST(OnnxImport, NeedsAFile) { EXPECT_ANY_THROW(import_onnx("missing.onnx")); }

}  // namespace
}  // namespace facet
