#include "runtime/formats/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

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

Error broken(const std::string& path, std::string_view what) {
  return failure(fmt::format("{}: not a valid safetensors file: {}; save or download it again",
                             path, what));
}

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
    throw failure(fmt::format("it declares a header of {} bytes but has only {} in all; it may be "
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

std::string header_text(const NamedTensors& tensors, const std::vector<std::size_t>& order,
                        const Metadata& metadata) {
  std::vector<std::int64_t> begins(tensors.size());
  std::int64_t end = 0;
  for (const std::size_t i : order) {
    begins[i] = end;
    end += tensors[i].second.byte_count();
  }
  auto header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::map<std::string_view, int> seen;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, tensor] = tensors[i];
    if (name == "__metadata__" || seen[name]++ != 0) {
      throw usage_error(fmt::format("a safetensors file cannot have the tensor name \"{}\"{}", name,
                                    name == "__metadata__" ? "" : " twice; rename one"));
    }
    if (tensor.empty()) throw usage_error(fmt::format("the tensor \"{}\" has no bytes", name));
    auto& entry = header.emplace_back(name, nlohmann::ordered_json::object());
    static_cast<void>(entry);
  }
  return header.dump();
}

}  // namespace
}  // namespace facet
