#include "runtime/formats/onnx/onnx_text.h"

#include <fmt/format.h>
#include <onnx/checker.h>
#include <onnx/defs/printer.h>

#include <sstream>

#include "ir/error.h"
#include "runtime/formats/mapped_file.h"

namespace facet {

std::string onnx_text(const std::filesystem::path& path) {
  constexpr int kMostBytes = 256;
  try {
    ::onnx::checker::check_model(path.string(), /*full_check=*/true);
    const auto file = MappedFile::open(path);
    ::onnx::ModelProto model;
    const auto bytes = file->bytes();
    if (!model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      throw failure("it is not an ONNX model");
    }
    for (::onnx::TensorProto& tensor : *model.mutable_graph()->mutable_initializer()) {
      if (tensor.raw_data().size() > kMostBytes) tensor.clear_raw_data();
      if (tensor.raw_data().empty()) tensor.clear_dims();
      if (tensor.raw_data().empty()) tensor.add_dims(0);
    }
    std::ostringstream text;
    text << model;
    return text.str();
  } catch (const std::exception& error) {
    throw failure(fmt::format("{}: {}", path.string(), error.what()));
  }
}

}  // namespace facet
