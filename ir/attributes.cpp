#include "ir/attributes.h"

#include <fmt/format.h>

#include <cstring>

#include "ir/error.h"
#include "ir/hash.h"
#include "ir/index_table.h"

namespace facet {
namespace {

std::string number_text(double value) {
  std::string text = fmt::format("{}", value);  // the shortest text that reads back equal
  if (text.find_first_of(".einf") == std::string::npos) text += ".0";
  return text;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c == '\n' ? "\\n" : std::string(1, c);  // a node is one line of the text form
  }
  return result + "\"";
}

template <class T, class F>
std::string list(const std::vector<T>& items, F&& print) {
  std::string text = "[";
  for (std::size_t i = 0; i < items.size(); ++i) text += (i != 0 ? ", " : "") + print(items[i]);
  return text + "]";
}

std::string tensor_text(const HostTensor& tensor) {
  std::string text = "tensor<";
  text += to_string(tensor.dtype());
  text += list(tensor.shape(), [](std::int64_t d) { return std::to_string(d); });
  if (tensor.element_count() > 64) {
    const std::optional<IndexTable> table = as_index_table(tensor);
    if (!table) return text + fmt::format("; hash {:016x}>", hash(tensor));
    const auto whole = [](std::int64_t v) { return std::to_string(v); };
    return text + fmt::format("; table {} {} {}>", table->start, list(table->counts, whole),
                              list(table->steps, whole));
  }
  text += "; ";
  text += list(tensor.to_doubles(), [](double v) { return number_text(v); });
  return text + ">";
}

struct Printer {
  std::string operator()(bool v) const { return v ? "true" : "false"; }
  std::string operator()(std::int64_t v) const { return std::to_string(v); }
  std::string operator()(double v) const { return number_text(v); }
  std::string operator()(const std::string& v) const { return quoted(v); }
  std::string operator()(const Ints& v) const {
    return list(v, [](std::int64_t i) { return std::to_string(i); });
  }
  std::string operator()(const Doubles& v) const { return list(v, number_text); }
  std::string operator()(const Strings& v) const { return list(v, quoted); }
  std::string operator()(const HostTensor& v) const { return tensor_text(v); }
};

}  // namespace

std::string to_string(const Attribute& attribute) { return std::visit(Printer{}, attribute); }

std::uint64_t hash(const HostTensor& tensor) {
  Hasher hasher;
  hasher.text(to_string(tensor.dtype()));
  hasher.number(tensor.shape().size());
  for (const std::int64_t extent : tensor.shape()) hasher.number(static_cast<std::uint64_t>(extent));
  hasher.bytes(tensor.data(), static_cast<std::size_t>(tensor.byte_count()));
  return hasher.value();
}

bool equal(const Attribute& a, const Attribute& b) {
  if (a.index() != b.index()) return false;
  if (const auto* x = std::get_if<HostTensor>(&a)) {
    const auto& y = std::get<HostTensor>(b);
    if (x->dtype() != y.dtype() || x->shape() != y.shape() || x->empty() != y.empty()) return false;
    return x->data() == y.data() ||
           std::memcmp(x->data(), y.data(), static_cast<std::size_t>(x->byte_count())) == 0;
  }
  return std::visit(
      [&]<class T>(const T& x) {
        if constexpr (std::is_same_v<T, HostTensor>) {
          return false;
        } else {
          return x == std::get<T>(b);
        }
      },
      a);
}

void Attributes::erase(std::string_view name) {
  const auto it = items_.find(name);
  if (it != items_.end()) items_.erase(it);
}

template <class T>
const T& Attributes::get(std::string_view name) const {
  const auto it = items_.find(name);
  if (it == items_.end()) throw usage_error(fmt::format("attribute '{}' is missing", name));
  const T* value = std::get_if<T>(&it->second);
  if (value == nullptr) {
    throw usage_error(fmt::format("attribute '{}' has the wrong kind: {}", name,
                                  to_string(it->second)));
  }
  return *value;
}

template const bool& Attributes::get(std::string_view) const;
template const std::int64_t& Attributes::get(std::string_view) const;
template const double& Attributes::get(std::string_view) const;
template const std::string& Attributes::get(std::string_view) const;
template const Ints& Attributes::get(std::string_view) const;
template const Doubles& Attributes::get(std::string_view) const;
template const Strings& Attributes::get(std::string_view) const;
template const HostTensor& Attributes::get(std::string_view) const;

bool operator==(const Attributes& a, const Attributes& b) {
  if (a.items_.size() != b.items_.size()) return false;
  auto y = b.items_.begin();
  for (const auto& [name, value] : a.items_) {
    if (name != y->first || !equal(value, y->second)) return false;
    ++y;
  }
  return true;
}

}  // namespace facet
