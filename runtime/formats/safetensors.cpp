#include "runtime/formats/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <span>

#include "ir/error.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/formats/mapped_file.h"
#include "runtime/formats/safetensors_header.h"

namespace facet {
namespace {

static_assert(std::endian::native == std::endian::little,
              "tensors are mapped as they are stored: little-endian");

constexpr std::size_t kLengthSize = 8;  // the header's length, before the header
constexpr std::size_t kAlignment = 64;  // where the data of written files begins

std::string_view header_of(const MappedFile& file) {
  const auto bytes = file.bytes();
  if (bytes.size() < kLengthSize) {
    throw failure(fmt::format("it has only {} bytes", bytes.size()));
  }
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthSize);
  if (length > kLargestSafetensorsHeader) {
    throw failure(fmt::format("it declares a header of {} bytes, more than the {} allowed", length,
                              kLargestSafetensorsHeader));
  }
  if (length > bytes.size() - kLengthSize) {
    throw failure(
        fmt::format("it declares a header of {} bytes but has only {} in all; it may be "
                    "cut short",
                    length, bytes.size()));
  }
  return {reinterpret_cast<const char*>(bytes.data()) + kLengthSize,
          static_cast<std::size_t>(length)};
}

void check_booleans(const std::string& name, const HostTensor& tensor) {
  if (tensor.dtype() != DType::boolean) return;
  const auto* values = tensor.as<std::uint8_t>();
  if (std::any_of(values, values + tensor.element_count(), [](auto value) { return value > 1; })) {
    throw failure(fmt::format("the BOOL tensor \"{}\" has values that are not 0 or 1", name));
  }
}

/// Positions of `tensors` by falling element size: with the first at an aligned byte, all are.
std::vector<std::size_t> data_order(const NamedTensors& tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return size_of(tensors[a].second.dtype()) > size_of(tensors[b].second.dtype());
  });
  return order;
}

/// As a JSON string. Throws Error(usage) if it is not UTF-8.
std::string json_string(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::type_error&) {
    throw usage_error(fmt::format(
        "a safetensors file holds UTF-8 text only; rename \"{}\"",
        nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)));
  }
}

void check_names(const NamedTensors& tensors) {
  std::set<std::string_view> seen;
  for (const auto& [name, tensor] : tensors) {
    if (name == "__metadata__") {
      throw usage_error("a safetensors file cannot have a tensor named __metadata__; rename it");
    }
    if (!seen.insert(name).second) {
      throw usage_error(fmt::format("two tensors are named \"{}\"; rename one", name));
    }
    if (tensor.empty()) throw usage_error(fmt::format("the tensor \"{}\" has no bytes", name));
  }
}

/// The header in the order of `tensors`, with the data laid out in the order of `order`, padded
/// with blanks so that the data begins at an aligned byte.
std::string header_text(const NamedTensors& tensors, const std::vector<std::size_t>& order,
                        const Metadata& metadata) {
  std::vector<std::int64_t> begins(tensors.size());
  std::int64_t end = 0;
  for (const std::size_t i : order) {
    begins[i] = end;
    end += tensors[i].second.byte_count();
  }
  std::vector<std::string> entries;
  if (!metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : metadata) {
      pairs.push_back(fmt::format("{}:{}", json_string(key), json_string(value)));
    }
    entries.push_back(fmt::format("\"__metadata__\":{{{}}}", fmt::join(pairs, ",")));
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, tensor] = tensors[i];
    entries.push_back(fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                                  json_string(name), safetensors_dtype(tensor.dtype()),
                                  fmt::join(tensor.shape(), ","), begins[i],
                                  begins[i] + tensor.byte_count()));
  }
  std::string text = fmt::format("{{{}}}", fmt::join(entries, ","));
  text.resize((text.size() + kLengthSize + kAlignment - 1) / kAlignment * kAlignment - kLengthSize,
              ' ');
  if (text.size() > kLargestSafetensorsHeader) {
    throw usage_error(
        fmt::format("{} tensors do not fit one safetensors file: its header would "
                    "have {} bytes; write several files",
                    tensors.size(), text.size()));
  }
  return text;
}

}  // namespace

SafetensorsFile::SafetensorsFile(std::string path, NamedTensors tensors, Metadata metadata)
    : path_(std::move(path)), tensors_(std::move(tensors)), metadata_(std::move(metadata)) {
  for (std::size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].first, i);
}

const HostTensor* SafetensorsFile::find(std::string_view name) const {
  const auto position = index_.find(name);
  return position == index_.end() ? nullptr : &tensors_[position->second].second;
}

HostTensor SafetensorsFile::at(std::string_view name) const {
  if (const HostTensor* tensor = find(name)) return *tensor;
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& item : tensors_) names.push_back(item.first);
  const std::string hint = did_you_mean(std::string(name), names);
  throw failure(
      fmt::format("{} has no tensor \"{}\"{}{}", path_, name, hint.empty() ? "" : "; ", hint));
}

SafetensorsFile read_safetensors(const std::filesystem::path& path) {
  return read_safetensors(MappedFile::open(path));
}

SafetensorsFile read_safetensors(const std::shared_ptr<const MappedFile>& file) {
  try {
    const std::string_view json = header_of(*file);
    const std::size_t data_begin = kLengthSize + json.size();
    auto header = parse_safetensors_header(json, file->bytes().size() - data_begin);
    NamedTensors tensors;
    tensors.reserve(header.entries.size());
    for (auto& entry : header.entries) {
      tensors.emplace_back(std::move(entry.name),
                           tensor_in(file, entry.dtype, std::move(entry.shape),
                                     data_begin + static_cast<std::size_t>(entry.begin)));
      check_booleans(tensors.back().first, tensors.back().second);
    }
    return {file->path(), std::move(tensors), std::move(header.metadata)};
  } catch (const Error& error) {
    throw failure(fmt::format("{}: not a valid safetensors file: {}; save or download it again",
                              file->path(), error.what()));
  }
}

void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const Metadata& metadata) {
  check_names(tensors);
  const auto order = data_order(tensors);
  const std::string header = header_text(tensors, order, metadata);
  const std::uint64_t length = header.size();
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(header);
  for (const std::size_t i : order) {
    const HostTensor& tensor = tensors[i].second;
    file.write({tensor.data(), static_cast<std::size_t>(tensor.byte_count())});
  }
  file.commit();
}

}  // namespace facet
