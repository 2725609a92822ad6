#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

/// Record files byte by byte, as the format has them.
namespace facet::test {

template <class T>
std::string raw(T value) {
  std::string text(sizeof(T), '\0');
  std::memcpy(text.data(), &value, sizeof(T));
  return text;
}

/// A part of a record, padded to 4 bytes.
inline std::string record_part(std::uint32_t kind, const std::string& bytes) {
  return raw(0xCED7230AU) + raw(kind << 29U | static_cast<std::uint32_t>(bytes.size())) + bytes +
         std::string((4 - bytes.size() % 4) % 4, '\0');
}

inline std::string record_payload(std::uint32_t flag, float label, const std::vector<float>& labels,
                                  const std::string& picture, std::uint64_t id = 0) {
  std::string bytes = raw(flag) + raw(label) + raw(id) + raw(std::uint64_t{0});
  for (const float one : labels) bytes += raw(one);
  return bytes + picture;
}

/// A whole record with one label in the header.
inline std::string plain_record(float label, const std::string& picture) {
  return record_part(0, record_payload(0, label, {}, picture));
}

/// With an array of labels.
inline std::string labels_record(const std::vector<float>& labels, const std::string& picture) {
  return record_part(0,
                     record_payload(static_cast<std::uint32_t>(labels.size()), 0, labels, picture));
}

/// Puts records one behind the other and makes the lines of the index with the keys 0, 1, 2 ...
struct RecordBytes {
  std::string records;
  std::string index;
  int key = 0;

  void add(const std::string& record) { add(key, record); }
  void add(int with_key, const std::string& record) {
    index += std::to_string(with_key) + "\t" + std::to_string(records.size()) + "\n";
    records += record;
    key = with_key + 1;
  }
};

}  // namespace facet::test
