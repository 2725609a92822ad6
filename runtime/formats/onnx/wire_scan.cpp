#include "runtime/formats/onnx/wire_scan.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <onnx/onnx_pb.h>

#include <limits>

#include "ir/error.h"

namespace facet::onnx_import {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr int kDeepest = 64;
/// More than any of ONNX's messages takes, with its pointer and allocation.
constexpr std::int64_t kMessageBytes = 320;
constexpr std::int64_t kStringBytes = 48;

/// Walks the wire format by the message's descriptor, as the parser will.
class Scanner {
 public:
  explicit Scanner(std::span<const std::byte> bytes)
      : stream_(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                static_cast<int>(bytes.size())) {
    stream_.PushLimit(static_cast<int>(bytes.size()));
  }

  std::int64_t message(const Descriptor& type, int depth) {
    if (depth > kDeepest) throw failure("messages are nested too deeply");
    std::int64_t size = kMessageBytes;
    while (const std::uint32_t tag = stream_.ReadTag()) {
      const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
      if (WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
        size += delimited(field, depth);
      } else if (WireFormatLite::SkipField(&stream_, tag)) {
        size += 16;  // a number, alone or of an unpacked list
      } else {
        throw broken();
      }
    }
    // A tag of 0 ends a message only at its end.
    if (!stream_.ConsumedEntireMessage()) throw broken();
    return size;
  }

 private:
  static Error broken() { return failure("its bytes are damaged or cut short"); }

  std::int64_t delimited(const FieldDescriptor* field, int depth) {
    std::uint32_t length = 0;
    if (!stream_.ReadVarint32(&length)) throw broken();
    if (stream_.CurrentPosition() + static_cast<std::int64_t>(length) > end()) throw broken();
    if (field != nullptr && field->message_type() != nullptr) {
      const CodedInputStream::Limit outer = stream_.PushLimit(static_cast<int>(length));
      const std::int64_t size = message(*field->message_type(), depth + 1);
      stream_.PopLimit(outer);
      return size;
    }
    if (!stream_.Skip(static_cast<int>(length))) throw broken();
    const bool text = field == nullptr || field->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
    // A packed varint of one byte can be eight in memory.
    const bool varints = !text && field->type() != FieldDescriptor::TYPE_FLOAT &&
                         field->type() != FieldDescriptor::TYPE_DOUBLE;
    return kStringBytes + static_cast<std::int64_t>(length) * (varints ? 8 : 1);
  }

  std::int64_t end() const {
    return stream_.CurrentPosition() + static_cast<std::int64_t>(stream_.BytesUntilLimit());
  }

  CodedInputStream stream_;
};

}  // namespace

std::int64_t parsed_size(std::span<const std::byte> bytes, WireMessage kind) {
  if (bytes.size() >= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    throw failure(
        "it is larger than 2 GiB; models of that size keep their weights in external data");
  }
  Scanner scanner(bytes);
  return scanner.message(kind == WireMessage::model ? *::onnx::ModelProto::descriptor()
                                                    : *::onnx::TensorProto::descriptor(),
                         0);
}

}  // namespace facet::onnx_import
