#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ir/host_tensor.h"

namespace facet {

using Ints = std::vector<std::int64_t>;
using Doubles = std::vector<double>;
using Strings = std::vector<std::string>;

/// The value of one attribute. A tensor attribute (the data of `constant`) is shared, never copied.
using Attribute =
    std::variant<bool, std::int64_t, double, std::string, Ints, Doubles, Strings, HostTensor>;

/// "true", "3", "0.001" (shortest text that reads back equal; always with a point or exponent),
/// "\"text\"", "[1, 1]", "[\"relu\"]"; a tensor prints as its values up to 64 elements, else
/// as its index table ("table 195 [196, 196] [1, -1]": start, counts, steps) or its hash.
std::string to_string(const Attribute& attribute);
bool equal(const Attribute& a, const Attribute& b);
/// 64-bit content hash (FNV-1a over type, shape and bytes).
std::uint64_t hash(const HostTensor& tensor);

/// Attributes of a node by name, sorted. The accessors throw Error(usage) that names the attribute
/// when it is absent or of another kind; op definitions declare both, so that is a defect of the
/// caller, not of input.
class Attributes {
 public:
  Attributes() = default;
  Attributes(std::initializer_list<std::pair<const std::string, Attribute>> items)
      : items_(items) {}

  bool has(std::string_view name) const { return items_.find(name) != items_.end(); }
  void set(std::string name, Attribute value) { items_[std::move(name)] = std::move(value); }
  void erase(std::string_view name);

  bool boolean(std::string_view name) const { return get<bool>(name); }
  std::int64_t integer(std::string_view name) const { return get<std::int64_t>(name); }
  double number(std::string_view name) const { return get<double>(name); }
  const std::string& text(std::string_view name) const { return get<std::string>(name); }
  const Ints& ints(std::string_view name) const { return get<Ints>(name); }
  const Doubles& doubles(std::string_view name) const { return get<Doubles>(name); }
  const Strings& strings(std::string_view name) const { return get<Strings>(name); }
  const HostTensor& tensor(std::string_view name) const { return get<HostTensor>(name); }

  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }
  bool empty() const { return items_.empty(); }
  friend bool operator==(const Attributes& a, const Attributes& b);

 private:
  template <class T>
  const T& get(std::string_view name) const;

  std::map<std::string, Attribute, std::less<>> items_;
};

}  // namespace facet
