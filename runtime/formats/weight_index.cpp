#include "runtime/formats/weight_index.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "runtime/formats/quoted.h"

namespace facet {
namespace {

void check_shard_name(const std::string& name) {
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (plain) return;
  throw failure(
      fmt::format("it refers to the file {}; shards must lie beside the index, so a name "
                  "without folders is expected",
                  in_quotes(name)));
}

/// Takes the JSON event by event, so that what is passed over takes no memory.
class IndexReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return scalar("null"); }
  bool boolean(bool) override { return scalar("a boolean"); }
  bool number_integer(number_integer_t) override { return scalar("a number"); }
  bool number_unsigned(number_unsigned_t) override { return scalar("a number"); }
  bool number_float(number_float_t, const string_t&) override { return scalar("a number"); }
  bool binary(binary_t&) override { return scalar("binary data"); }

  bool string(string_t& text) override {
    if (!in_map_) return scalar("a text");
    check_shard_name(text);
    if (!map.emplace(key_, std::move(text)).second) {
      throw failure(fmt::format("it has {} twice", in_quotes(key_)));
    }
    return true;
  }

  bool key(string_t& text) override {
    key_ = std::move(text);
    return true;
  }

  bool start_object(std::size_t) override {
    if (in_map_) return scalar("an object");
    if (depth_++ == 1 && key_ == "weight_map") {
      if (found) throw failure("it has \"weight_map\" twice");
      found = in_map_ = true;
    }
    return true;
  }
  bool end_object() override {
    --depth_;
    in_map_ = false;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ == 0 || in_map_) return scalar("a list");
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    throw failure(fmt::format("it is not valid JSON at its byte {}", position));
  }

  WeightMap map;
  bool found = false;

 private:
  bool scalar(std::string_view what) const {
    if (in_map_) throw failure(fmt::format("its weight_map has {} for {}", what, in_quotes(key_)));
    if (depth_ == 0) throw failure(fmt::format("it is {}, not an object", what));
    return true;
  }

  std::string key_;
  std::size_t depth_ = 0;
  bool in_map_ = false;
};

}  // namespace

WeightMap parse_weight_index(std::string_view json) {
  if (json.size() > kLargestWeightIndex) {
    throw failure(
        fmt::format("it has {} bytes, more than the {} allowed", json.size(), kLargestWeightIndex));
  }
  IndexReader reader;
  nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  if (!reader.found || reader.map.empty()) throw failure("it has no \"weight_map\" with tensors");
  return std::move(reader.map);
}

}  // namespace facet
