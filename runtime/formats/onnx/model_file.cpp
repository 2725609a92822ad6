#include "runtime/formats/onnx/model_file.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <memory>
#include <string_view>
#include <system_error>

#include "ir/error.h"
#include "runtime/formats/mapped_file.h"
#include "runtime/formats/onnx/tensor_proto.h"
#include "runtime/formats/onnx/wire_scan.h"

namespace facet::onnx_import {
namespace {

using ::onnx::AttributeProto;
using ::onnx::GraphProto;
using ::onnx::NodeProto;
using ::onnx::TensorProto;

/// What a small file may unfold to when it is parsed; larger ones some multiple of their size.
constexpr std::int64_t kParsedBytes = std::int64_t{48} << 20;
constexpr std::int64_t kParsedFactor = 16;
/// Initializers of more bytes are cut out of the message.
constexpr std::int64_t kSmallPayload = 1024;

/// Reads external tensors; each file is mapped once.
class ExternalData {
 public:
  explicit ExternalData(std::filesystem::path folder) : folder_(std::move(folder)) {}

  HostTensor read(const TensorProto& tensor) {
    std::string location;
    std::uint64_t offset = 0;
    std::uint64_t length = std::numeric_limits<std::uint64_t>::max();
    for (const auto& entry : tensor.external_data()) {
      if (entry.key() == "location") location = entry.value();
      if (entry.key() == "offset") offset = number(tensor, entry.value());
      if (entry.key() == "length") length = number(tensor, entry.value());
    }
    const DType dtype = facet_dtype(tensor.data_type());
    std::vector<std::int64_t> extents = extents_of(tensor);
    const auto size = static_cast<std::uint64_t>(element_count(extents) * size_of(dtype));
    if (length == std::numeric_limits<std::uint64_t>::max()) length = size;
    if (length != size) {
      throw problem(tensor, fmt::format("has {} bytes where its shape asks for {}", length, size));
    }
    const auto file = open(tensor, location);
    const std::uint64_t available = file->bytes().size();
    if (offset > available || size > available - offset) {
      throw problem(tensor, fmt::format("lies at {} + {}, beyond the {} bytes of '{}'", offset,
                                        size, available, location));
    }
    return tensor_in(file, dtype, std::move(extents), static_cast<std::size_t>(offset));
  }

 private:
  static Error problem(const TensorProto& tensor, const std::string& what) {
    return failure(fmt::format("the external data of tensor '{}' {}", tensor.name(), what));
  }

  static std::uint64_t number(const TensorProto& tensor, const std::string& text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      throw problem(tensor, fmt::format("has the offset or length '{}', not a number", text));
    }
    return value;
  }

  std::shared_ptr<const MappedFile> open(const TensorProto& tensor, const std::string& location) {
    const auto known = files_.find(location);
    if (known != files_.end()) return known->second;
    const std::filesystem::path relative(location);
    bool inside = !folder_.empty() && !location.empty() && relative.is_relative() &&
                  location.find('\0') == std::string::npos;
    for (const auto& part : relative) inside = inside && part != "..";
    std::error_code error;
    const auto root = std::filesystem::canonical(folder_, error);
    if (error) inside = false;
    const auto path = inside ? std::filesystem::canonical(root / relative, error) : root;
    if (inside && error)
      throw problem(tensor, fmt::format("is missing: there is no file '{}'", location));
    // Links are resolved by now: the folder's own path must be the beginning.
    inside = inside &&
             std::mismatch(root.begin(), root.end(), path.begin(), path.end()).first == root.end();
    if (!inside) {
      throw problem(tensor,
                    fmt::format("is in '{}', which is not in the model's folder", location));
    }
    return files_[location] = MappedFile::open(path);
  }

  std::filesystem::path folder_;
  std::map<std::string, std::shared_ptr<const MappedFile>> files_;
};

/// Tensors that are not initializers of the main graph hold their own data. Types Facet has not are
/// let pass: an operator that reads one is refused by name.
void check_tensor(const TensorProto& tensor) {
  extents_of(tensor);
  if (tensor.data_location() == TensorProto::EXTERNAL) {
    throw failure(
        fmt::format("the tensor '{}' of an attribute or a function has external data: only "
                    "initializers may",
                    tensor.name()));
  }
}

void check_graph(const GraphProto& graph, bool is_main);

void check_nodes(const google::protobuf::RepeatedPtrField<NodeProto>& nodes) {
  for (const NodeProto& node : nodes) {
    for (const AttributeProto& attribute : node.attribute()) {
      if (attribute.has_t()) check_tensor(attribute.t());
      for (const TensorProto& tensor : attribute.tensors()) check_tensor(tensor);
      if (attribute.has_sparse_tensor() || attribute.sparse_tensors_size() > 0) {
        throw failure(fmt::format("attribute '{}' of node '{}' is out of scope: sparse tensors",
                                  attribute.name(), node.name()));
      }
      if (attribute.has_g()) check_graph(attribute.g(), false);
      for (const GraphProto& graph : attribute.graphs()) check_graph(graph, false);
    }
  }
}

void check_graph(const GraphProto& graph, bool is_main) {
  if (graph.sparse_initializer_size() > 0) {
    throw failure("its initializers are out of scope: sparse tensors");
  }
  if (!is_main) {
    for (const TensorProto& tensor : graph.initializer()) check_tensor(tensor);
  }
  check_nodes(graph.node());
}

/// Leaves the message of a large initializer valid, but without its data.
void cut_out(TensorProto& tensor, std::int64_t byte_count) {
  if (byte_count <= kSmallPayload && tensor.data_location() != TensorProto::EXTERNAL) return;
  tensor.clear_data_location();
  tensor.clear_external_data();
  tensor.clear_float_data();
  tensor.clear_double_data();
  tensor.clear_int32_data();
  tensor.clear_int64_data();
  tensor.clear_uint64_data();
  tensor.clear_raw_data();
  if (element_count(extents_of(tensor)) > 0) tensor.set_raw_data(std::string(1, '\0'));
}

Payload read_payload(TensorProto& tensor, ExternalData& external) {
  extents_of(tensor);
  try {
    facet_dtype(tensor.data_type());
  } catch (const Error& error) {
    return {HostTensor(), error.what()};
  }
  if (tensor.data_location() == TensorProto::EXTERNAL) return {external.read(tensor), {}};
  if (static_cast<std::int64_t>(tensor.raw_data().size()) > kSmallPayload)
    return {take_tensor(tensor), {}};
  return {read_tensor(tensor), {}};
}

}  // namespace

ModelFile read_model(std::span<const std::byte> bytes, const std::filesystem::path& folder) {
  const std::int64_t parsed = parsed_size(bytes);
  if (parsed > kParsedBytes + kParsedFactor * static_cast<std::int64_t>(bytes.size())) {
    throw failure(fmt::format("its {} bytes unfold to about {}: it is broken or hostile",
                              bytes.size(), parsed));
  }
  ModelFile model;
  if (!model.proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      !model.proto.has_graph()) {
    throw failure("it is no ONNX model");
  }
  check_graph(model.proto.graph(), true);
  for (const auto& function : model.proto.functions()) check_nodes(function.node());
  ExternalData external(folder);
  for (TensorProto& tensor : *model.proto.mutable_graph()->mutable_initializer()) {
    Payload payload = read_payload(tensor, external);
    cut_out(tensor, payload.problem.empty() ? payload.tensor.byte_count() : 0);
    if (!model.payloads.emplace(tensor.name(), std::move(payload)).second) {
      throw failure(fmt::format("the initializer '{}' is given twice", tensor.name()));
    }
  }
  return model;
}

}  // namespace facet::onnx_import
