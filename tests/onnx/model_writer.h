#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

/// Writes small ONNX models byte by byte, right or wrong as a test wants them: protobuf's own
/// headers stay with the importer. Field numbers are those of onnx.proto.
namespace facet::testing {

/// A protobuf message under construction.
class Message {
 public:
  Message& number(int field, std::uint64_t value) {
    varint(static_cast<std::uint64_t>(field) << 3);
    varint(value);
    return *this;
  }
  Message& text(int field, std::string_view value) {
    varint(static_cast<std::uint64_t>(field) << 3 | 2);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  Message& message(int field, const Message& value) { return text(field, value.bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

inline constexpr int kFloat = 1;
inline constexpr int kInt64 = 7;

/// A number, a name, or "" for an open extent.
struct Extent {
  Extent(int value) : number(value) {}                    // NOLINT(google-explicit-constructor)
  Extent(const char* value) : name(value), open(true) {}  // NOLINT(google-explicit-constructor)
  int number = 0;
  std::string name;
  bool open = false;
};

inline Message value_info(const std::string& name, const std::vector<Extent>& shape,
                          int type = kFloat) {
  Message dims;
  for (const Extent& extent : shape) {
    Message dim;
    if (!extent.open) dim.number(1, static_cast<std::uint64_t>(extent.number));
    if (!extent.name.empty()) dim.text(2, extent.name);
    dims.message(1, dim);
  }
  const Message tensor = Message().number(1, static_cast<std::uint64_t>(type)).message(2, dims);
  return Message().text(1, name).message(2, Message().message(1, tensor));
}

template <class T>
Message tensor(const std::string& name, const std::vector<std::int64_t>& shape,
               const std::vector<T>& values) {
  Message message;
  for (const std::int64_t extent : shape) message.number(1, static_cast<std::uint64_t>(extent));
  message.number(2, sizeof(T) == 8 ? kInt64 : kFloat);
  message.text(8, name);
  return message.text(9, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
}

inline Message attribute(const std::string& name, std::int64_t value) {
  return Message().text(1, name).number(3, static_cast<std::uint64_t>(value)).number(20, 2);
}

inline Message node(const std::string& op, const std::string& name,
                    const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                    const std::vector<Message>& attributes = {}, const std::string& domain = "") {
  Message message;
  for (const std::string& input : inputs) message.text(1, input);
  for (const std::string& output : outputs) message.text(2, output);
  message.text(3, name).text(4, op);
  for (const Message& item : attributes) message.message(5, item);
  if (!domain.empty()) message.text(7, domain);
  return message;
}

struct Model {
  std::vector<Message> nodes, initializers, inputs, outputs, functions;
  int opset = 17;
  int ir_version = 8;

  std::string bytes() const {
    Message graph;
    for (const Message& item : nodes) graph.message(1, item);
    graph.text(2, "small");
    for (const Message& item : initializers) graph.message(5, item);
    for (const Message& item : inputs) graph.message(11, item);
    for (const Message& item : outputs) graph.message(12, item);
    Message model;
    model.number(1, static_cast<std::uint64_t>(ir_version));
    model.message(8, Message().text(1, "").number(2, static_cast<std::uint64_t>(opset)));
    if (!functions.empty()) model.message(8, Message().text(1, "own").number(2, 1));
    model.message(7, graph);
    model.message(14, Message().text(1, "origin").text(2, "a test"));
    for (const Message& item : functions) model.message(25, item);
    return model.bytes();
  }
};

}  // namespace facet::testing
