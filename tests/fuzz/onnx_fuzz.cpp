#include "runtime/formats/onnx/onnx_import.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace facet;
  return fuzz::attempt([&] {
    const ImportedModel model = import_onnx(fuzz::bytes_of(data, size), {}, "x");
    fuzz::touch_all(model.weights);
    verify(model.graph);
  });
}
