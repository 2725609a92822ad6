#include "runtime/formats/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "ir/error.h"
#include "ir/host_tensor.h"
#include "runtime/formats/quoted.h"

namespace facet {
namespace {

constexpr std::size_t kLargestRank = 64;

constexpr std::array<std::pair<std::string_view, DType>, 9> kDTypes = {{{"F64", DType::f64},
                                                                        {"F32", DType::f32},
                                                                        {"F16", DType::f16},
                                                                        {"BF16", DType::bf16},
                                                                        {"I64", DType::i64},
                                                                        {"I32", DType::i32},
                                                                        {"I8", DType::i8},
                                                                        {"U8", DType::u8},
                                                                        {"BOOL", DType::boolean}}};

/// Takes the JSON event by event; every event that the format does not have is an error at once.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(SafetensorsHeader& header) : header_(header) {}

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_float(number_float_t, const string_t& text) override {
    unexpected(fmt::format("the number {}", in_quotes(text)));
  }
  bool binary(binary_t&) override { unexpected("binary data"); }

  bool number_integer(number_integer_t value) override {
    if (value < 0) unexpected(fmt::format("the negative number {}", value));
    return number_unsigned(static_cast<number_unsigned_t>(value));
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::shape) {
      auto& shape = header_.entries.back().shape;
      if (shape.size() == kLargestRank) {
        unexpected(fmt::format("a shape of more than {} dimensions", kLargestRank));
      }
      if (value > static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max())) {
        unexpected(fmt::format("the number {}", value));
      }
      shape.push_back(static_cast<std::int64_t>(value));
    } else if (place_ == Place::offsets && offsets_ < 2) {
      auto& entry = header_.entries.back();
      (offsets_++ == 0 ? entry.begin : entry.end) = value;
    } else {
      unexpected(fmt::format("the number {}", value));
    }
    return true;
  }

  bool string(string_t& text) override {
    if (place_ == Place::metadata) {
      header_.metadata[key_] = std::move(text);
    } else if (place_ == Place::tensor && key_ == "dtype") {
      const auto* known = std::find_if(kDTypes.begin(), kDTypes.end(),
                                       [&](const auto& item) { return item.first == text; });
      if (known == kDTypes.end()) {
        unexpected(
            fmt::format("the dtype {}, which is not one of F64, F32, F16, BF16, I64, I32, "
                        "I8, U8, BOOL",
                        in_quotes(text)));
      }
      header_.entries.back().dtype = known->second;
    } else {
      unexpected(fmt::format("the text {}", in_quotes(text)));
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::start) {
      place_ = Place::top;
    } else if (place_ == Place::top && key_ == "__metadata__") {
      place_ = Place::metadata;
    } else if (place_ == Place::top) {
      place_ = Place::tensor;
      header_.entries.push_back({.name = key_, .shape = {}});
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool key(string_t& text) override {
    const bool is_tensor_field = text == "dtype" || text == "shape" || text == "data_offsets";
    if (place_ == Place::tensor && !is_tensor_field) {
      unexpected(fmt::format("the field {}", in_quotes(text)));
    }
    const bool is_new = place_ == Place::top        ? names_.insert(text).second
                        : place_ == Place::metadata ? header_.metadata.emplace(text, "").second
                                                    : fields_.insert(text).second;
    if (!is_new) unexpected(fmt::format("{} twice", in_quotes(text)));
    key_ = std::move(text);
    return true;
  }

  bool end_object() override {
    if (place_ == Place::tensor && fields_.size() != 3) {
      unexpected("a tensor without dtype, shape or data_offsets");
    }
    fields_.clear();
    place_ = place_ == Place::top ? Place::start : Place::top;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::tensor && key_ == "shape") {
      place_ = Place::shape;
    } else if (place_ == Place::tensor && key_ == "data_offsets") {
      place_ = Place::offsets;
      offsets_ = 0;
    } else {
      unexpected("a list");
    }
    return true;
  }

  bool end_array() override {
    if (place_ == Place::offsets && offsets_ != 2) unexpected("data_offsets that are not a pair");
    place_ = Place::tensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    throw failure(fmt::format("the header is not valid JSON at its byte {}", position));
  }

 private:
  enum class Place { start, top, metadata, tensor, shape, offsets };

  [[noreturn]] void unexpected(std::string_view what) const {
    const bool in_tensor =
        place_ == Place::tensor || place_ == Place::shape || place_ == Place::offsets;
    throw failure(fmt::format("the header has {}{}", what,
                              in_tensor ? " in tensor " + in_quotes(header_.entries.back().name)
                              : place_ == Place::metadata ? " in __metadata__"
                                                          : ""));
  }

  SafetensorsHeader& header_;
  Place place_ = Place::start;
  std::string key_;
  std::set<std::string> names_;   // of the whole header
  std::set<std::string> fields_;  // of the tensor being read
  int offsets_ = 0;
};

void check_extent(const SafetensorsEntry& entry, std::uint64_t data_size) {
  if (entry.begin > entry.end || entry.end > data_size) {
    throw failure(
        fmt::format("tensor {} has data offsets {} to {} of {} bytes of data; the "
                    "file may be cut short",
                    in_quotes(entry.name), entry.begin, entry.end, data_size));
  }
  std::int64_t count = 1;
  std::int64_t size = 0;
  bool overflow = false;
  for (const std::int64_t extent : entry.shape) {
    overflow = overflow || __builtin_mul_overflow(count, extent, &count);
  }
  overflow = overflow || __builtin_mul_overflow(count, size_of(entry.dtype), &size);
  if (overflow)
    throw failure(fmt::format("the shape of tensor {} overflows", in_quotes(entry.name)));
  if (static_cast<std::uint64_t>(size) != entry.end - entry.begin) {
    throw failure(fmt::format("tensor {} needs {} bytes but has {}", in_quotes(entry.name), size,
                              entry.end - entry.begin));
  }
}

/// Sorted by offset, each tensor must begin where the one before it ends.
void check_layout(const std::vector<SafetensorsEntry>& entries, std::uint64_t data_size) {
  std::vector<const SafetensorsEntry*> sorted;
  sorted.reserve(entries.size());
  for (const auto& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  std::uint64_t end = 0;
  for (const auto* entry : sorted) {
    if (entry->begin != end) {
      throw failure(fmt::format(
          "tensor {} begins at data byte {}, {} the data before it ends "
          "({})",
          in_quotes(entry->name), entry->begin, entry->begin < end ? "before" : "after", end));
    }
    end = entry->end;
  }
  if (end != data_size) {
    throw failure(
        fmt::format("the tensors fill {} bytes but {} bytes of data are there", end, data_size));
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_size) {
  // The parser would skip a byte order mark or blanks; the format has neither.
  if (!json.starts_with('{')) throw failure("the header does not begin with '{'");
  SafetensorsHeader header;
  HeaderReader reader(header);
  nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  for (const auto& entry : header.entries) check_extent(entry, data_size);
  check_layout(header.entries, data_size);
  return header;
}

std::string_view safetensors_dtype(DType dtype) {
  return std::find_if(kDTypes.begin(), kDTypes.end(),
                      [&](const auto& item) { return item.second == dtype; })
      ->first;
}

}  // namespace facet
