#include "runtime/formats/torch_storages.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "ir/error.h"
#include "runtime/formats/quoted.h"

namespace facet {
namespace {

constexpr std::array<std::pair<std::string_view, std::optional<DType>>, 14> kTypes = {{
    {"torch.FloatStorage", DType::f32},
    {"torch.DoubleStorage", DType::f64},
    {"torch.HalfStorage", DType::f16},
    {"torch.BFloat16Storage", DType::bf16},
    {"torch.LongStorage", DType::i64},
    {"torch.IntStorage", DType::i32},
    {"torch.CharStorage", DType::i8},
    {"torch.ByteStorage", DType::u8},
    {"torch.BoolStorage", DType::boolean},
    {"torch.ShortStorage", std::nullopt},
    {"torch.ComplexFloatStorage", std::nullopt},
    {"torch.ComplexDoubleStorage", std::nullopt},
    {"torch.storage.UntypedStorage", std::nullopt},
    {"torch.storage.TypedStorage", std::nullopt},
}};

DType dtype_of(std::string_view type) {
  const auto* known = std::ranges::find(kTypes, type, [](const auto& item) { return item.first; });
  if (known == kTypes.end() || !known->second) {
    throw failure(
        fmt::format("its storage is a {}, not one of float64, float32, float16, bfloat16, "
                    "int64, int32, int8, uint8 and bool; convert it and save it again",
                    in_quotes(type)));
  }
  return *known->second;
}

/// Throws unless every element lies within `elements`; returns the number of them.
std::int64_t check_view(const TorchView& view, std::int64_t elements) {
  if (view.strides.size() != view.shape.size()) throw failure("its size and stride differ in rank");
  const std::int64_t count = element_count(view.shape);
  std::int64_t last = view.offset;
  bool outside = view.offset < 0 || view.offset > elements;
  for (std::size_t i = 0; i < view.shape.size(); ++i) {
    std::int64_t reach = 0;
    outside = outside || view.strides[i] < 0;
    if (count == 0) continue;
    outside = outside || __builtin_mul_overflow(view.shape[i] - 1, view.strides[i], &reach) ||
              __builtin_add_overflow(last, reach, &last);
  }
  if (outside || (count > 0 && last >= elements)) {
    throw failure(fmt::format(
        "size [{}] with strides [{}] at offset {} is not within its storage of {} "
        "elements",
        fmt::join(view.shape, ", "), fmt::join(view.strides, ", "), view.offset, elements));
  }
  return count;
}

/// Strides of dimensions that have one element do not matter.
bool is_row_major(const TorchView& view) {
  std::int64_t expected = 1;
  for (std::size_t i = view.shape.size(); i-- > 0;) {
    if (view.shape[i] != 1 && view.strides[i] != expected) return false;
    expected *= view.shape[i];
  }
  return true;
}

/// An odometer over the shape; the place in the storage moves with it.
void copy_elements(const TorchView& view, const std::byte* from, HostTensor& to) {
  const auto size = static_cast<std::size_t>(size_of(to.dtype()));
  std::vector<std::int64_t> index(view.shape.size(), 0);
  std::vector<std::int64_t> strides = view.strides;
  for (std::size_t i = 0; i < strides.size(); ++i) {
    if (view.shape[i] == 1) strides[i] = 0;  // such a stride may be any number
  }
  std::int64_t place = view.offset;
  std::byte* target = to.mutable_data();
  for (std::int64_t i = 0; i < to.element_count(); ++i, target += size) {
    std::memcpy(target, from + static_cast<std::size_t>(place) * size, size);
    for (std::size_t axis = view.shape.size(); axis-- > 0;) {
      place += strides[axis];
      if (++index[axis] < view.shape[axis]) break;
      place -= strides[axis] * view.shape[axis];
      index[axis] = 0;
    }
  }
}

void check_booleans(const HostTensor& tensor) {
  if (tensor.dtype() != DType::boolean) return;
  const auto* values = tensor.as<std::uint8_t>();
  if (std::any_of(values, values + tensor.element_count(), [](auto value) { return value > 1; })) {
    throw failure("it has bool values that are not 0 or 1");
  }
}

}  // namespace

HostTensor TorchStorages::tensor(const TorchReference& reference, const TorchView& view) {
  const DType dtype = dtype_of(reference.type);
  const OwnedBytes& storage = bytes(reference.key);
  std::int64_t size = 0;
  if (reference.elements < 0 || __builtin_mul_overflow(reference.elements, size_of(dtype), &size) ||
      static_cast<std::uint64_t>(size) != storage.bytes.size()) {
    throw failure(fmt::format("its storage {} has {} bytes, not {} elements of {}",
                              in_quotes(reference.key), storage.bytes.size(), reference.elements,
                              to_string(dtype)));
  }
  const std::int64_t count = check_view(view, reference.elements);
  if (count == 0) return {dtype, view.shape};
  const std::byte* first = storage.bytes.data() + view.offset * size_of(dtype);
  const bool aligned =
      reinterpret_cast<std::uintptr_t>(first) % static_cast<std::uintptr_t>(size_of(dtype)) == 0;
  HostTensor result;
  if (aligned && is_row_major(view)) {
    result = HostTensor(dtype, view.shape, first, storage.owner);
  } else {
    std::int64_t copied = 0;
    if (__builtin_mul_overflow(count, size_of(dtype), &copied)) throw failure("its size overflows");
    budget_.take(static_cast<std::uint64_t>(copied), "its copy in row-major order");
    result = HostTensor(dtype, view.shape);
    copy_elements(view, storage.bytes.data(), result);
  }
  check_booleans(result);
  return result;
}

const OwnedBytes& TorchStorages::bytes(std::string_view key) {
  const auto known = known_.find(key);
  if (known != known_.end()) return known->second;
  const ZipEntry* entry = archive_.find(fmt::format("{}data/{}", folder_, key));
  if (entry == nullptr) {
    throw failure(fmt::format("its storage {} is missing; the file is damaged", in_quotes(key)));
  }
  return known_.emplace(std::string(key), archive_.read(*entry, budget_)).first->second;
}

std::vector<std::string_view> torch_storage_types() {
  std::vector<std::string_view> names;
  for (const auto& item : kTypes) names.push_back(item.first);
  return names;
}

}  // namespace facet
