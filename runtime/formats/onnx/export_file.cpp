#include "runtime/formats/onnx/export_file.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>

#include "ir/error.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/formats/onnx/export_graph.h"

// The model is written piece by piece, as protobuf's wire format allows: a message is a row of
// fields, and a field of bytes is its number, its length and the bytes. So the graph's length is
// added up first, and every weight goes from where it lies straight to the file.

namespace facet::onnx_export {
namespace {

using google::protobuf::io::CodedOutputStream;

constexpr std::int64_t kMostBytes = std::numeric_limits<std::int32_t>::max();
/// Smaller tensors stay in the model: readers want scalars and shapes at hand.
constexpr std::int64_t kLeastExternalBytes = 1024;
/// Offsets that readers can map into memory.
constexpr std::int64_t kAlignment = 4096;

/// Number and length of a field of bytes.
std::string field_header(int number, std::size_t length) {
  std::array<std::uint8_t, 20> bytes{};
  std::uint8_t* end =
      CodedOutputStream::WriteTagToArray(static_cast<std::uint32_t>(number << 3 | 2), bytes.data());
  end = CodedOutputStream::WriteVarint64ToArray(length, end);
  return {bytes.data(), end};
}

/// An initializer: what stands ahead of its bytes, and the bytes that stand in the model.
struct Entry {
  std::string head;
  std::span<const std::byte> bytes;
  std::size_t size() const { return head.size() + bytes.size(); }
};

Entry entry_of(::onnx::TensorProto& header, std::span<const std::byte> bytes) {
  std::string content = header.SerializeAsString();
  if (!bytes.empty()) {
    content += field_header(::onnx::TensorProto::kRawDataFieldNumber, bytes.size());
  }
  return {field_header(::onnx::GraphProto::kInitializerFieldNumber, content.size() + bytes.size()) +
              content,
          bytes};
}

::onnx::TensorProto header_of(const std::string& name, const HostTensor& tensor) {
  ::onnx::TensorProto header;
  header.set_name(name);
  header.set_data_type(onnx_dtype(tensor.dtype()));
  for (const std::int64_t extent : tensor.shape()) header.add_dims(extent);
  return header;
}

void set_external(::onnx::TensorProto& header, const std::string& location, std::int64_t offset,
                  std::int64_t length) {
  header.set_data_location(::onnx::TensorProto::EXTERNAL);
  const auto add = [&](const char* key, std::string value) {
    auto* entry = header.add_external_data();
    entry->set_key(key);
    entry->set_value(std::move(value));
  };
  add("location", location);
  add("offset", std::to_string(offset));
  add("length", std::to_string(length));
}

/// The file beside the model.
class DataFile {
 public:
  explicit DataFile(const std::filesystem::path& path) : file_(path) {}

  /// Returns where the bytes start.
  std::int64_t append(std::span<const std::byte> bytes) {
    const std::int64_t start = (size_ + kAlignment - 1) / kAlignment * kAlignment;
    file_.write(std::string(static_cast<std::size_t>(start - size_), '\0'));
    file_.write(bytes);
    size_ = start + static_cast<std::int64_t>(bytes.size());
    return start;
  }
  void commit() { file_.commit(); }

 private:
  AtomicFile file_;
  std::int64_t size_ = 0;
};

std::int64_t total_bytes(const Weights& weights) {
  std::int64_t total = 0;
  for (const auto& [name, tensor] : weights) {
    total += tensor.byte_count() + 256 + static_cast<std::int64_t>(name.size());
  }
  return total;
}

}  // namespace

void write_model(const ::onnx::ModelProto& model, const Weights& weights,
                 const std::filesystem::path& path, bool external) {
  const auto rest = static_cast<std::int64_t>(model.ByteSizeLong());
  if (total_bytes(weights) + rest > kMostBytes) external = true;
  AtomicFile file(path);
  std::optional<DataFile> data;
  const std::filesystem::path data_path = path.string() + ".data";
  if (external) data.emplace(data_path);

  std::vector<Entry> entries;
  const std::string graph = model.graph().SerializeAsString();
  std::size_t graph_bytes = graph.size();
  for (const auto& [name, tensor] : weights) {
    ::onnx::TensorProto header = header_of(name, tensor);
    std::span<const std::byte> bytes(tensor.data(), static_cast<std::size_t>(tensor.byte_count()));
    if (external && tensor.byte_count() >= kLeastExternalBytes) {
      set_external(header, data_path.filename().string(), data->append(bytes), tensor.byte_count());
      bytes = {};
    }
    entries.push_back(entry_of(header, bytes));
    graph_bytes += entries.back().size();
  }
  ::onnx::ModelProto head = model;
  head.clear_graph();
  const std::string fields = head.SerializeAsString();
  if (static_cast<std::int64_t>(graph_bytes + fields.size()) > kMostBytes - 64) {
    throw failure(
        fmt::format("{}: the model without its weights is larger than the 2 GiB that ONNX "
                    "allows",
                    path.string()));
  }
  file.write(fields);
  file.write(field_header(::onnx::ModelProto::kGraphFieldNumber, graph_bytes));
  file.write(graph);
  for (const Entry& entry : entries) {
    file.write(entry.head);
    file.write(entry.bytes);
  }
  if (data) data->commit();
  file.commit();
}

}  // namespace facet::onnx_export
