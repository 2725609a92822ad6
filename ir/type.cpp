#include "ir/type.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "ir/error.h"

namespace facet {

std::string to_string(const Dim& dim) {
  if (dim.is_static()) return std::to_string(dim.factor);
  return dim.factor == 1 ? dim.symbol : fmt::format("{}*{}", dim.factor, dim.symbol);
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i != 0 ? ", " : "") + to_string(shape[i]);
  return text + "]";
}

bool is_static(const Shape& shape) {
  return std::all_of(shape.begin(), shape.end(), [](const Dim& d) { return d.is_static(); });
}

std::vector<std::int64_t> static_extents(const Shape& shape) {
  std::vector<std::int64_t> extents;
  for (const Dim& dim : shape) {
    if (!dim.is_static()) {
      throw usage_error(fmt::format("shape {} still has the symbol {}; give it an extent first",
                                    to_string(shape), dim.symbol));
    }
    extents.push_back(dim.factor);
  }
  return extents;
}

Dim element_count(const Shape& shape) {
  Dim count = 1;
  for (const Dim& dim : shape) {
    if (!dim.is_static() && !count.is_static()) {
      throw usage_error(fmt::format("the element count of {} would multiply two symbols",
                                    to_string(shape)));
    }
    if (__builtin_mul_overflow(count.factor, dim.factor, &count.factor)) {
      throw usage_error(fmt::format("the element count of {} overflows", to_string(shape)));
    }
    if (!dim.is_static()) count.symbol = dim.symbol;
  }
  return count;
}

Shape broadcast(const Shape& a, const Shape& b) {
  const std::size_t rank = std::max(a.size(), b.size());
  Shape result(rank, Dim(1));
  for (std::size_t i = 0; i < rank; ++i) {
    const Dim one(1);
    const Dim& x = i + a.size() < rank ? one : a[i + a.size() - rank];
    const Dim& y = i + b.size() < rank ? one : b[i + b.size() - rank];
    if (x == y || y == one) {
      result[i] = x;
    } else if (x == one) {
      result[i] = y;
    } else {
      throw usage_error(fmt::format("shapes {} and {} do not broadcast: axis {} is {} and {}",
                                    to_string(a), to_string(b), i, to_string(x), to_string(y)));
    }
  }
  return result;
}

std::string to_string(const Type& type) {
  std::string text = fmt::format("{}{}", to_string(type.dtype), to_string(type.shape));
  if (!type.layout.empty()) text += "@" + type.layout;
  return text;
}

namespace {

bool is_word(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

/// Reads "64", "N" or "49*N". Returns why it cannot, or null.
const char* read_dim(std::string_view item, Dim& dim) {
  if (item.empty()) return "an extent is empty";
  const char* const item_end = item.data() + item.size();
  const auto [end, error] = std::from_chars(item.data(), item_end, dim.factor);
  if (error == std::errc::result_out_of_range) return "an extent is out of range";
  std::string_view symbol = item;
  if (error == std::errc()) {
    if (dim.factor < 0) return "an extent is negative";
    if (end == item_end) return nullptr;
    if (*end != '*') return "an extent is malformed";
    symbol = std::string_view(end + 1, static_cast<std::size_t>(item_end - end - 1));
  }
  if (!is_word(symbol) || (symbol[0] >= '0' && symbol[0] <= '9')) {
    return "an extent is a number, a symbol such as N, or a multiple such as 49*N";
  }
  dim.symbol = symbol;
  return nullptr;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

Type parse_type(std::string_view text) {
  const auto fail = [&](const char* why) {
    return usage_error(fmt::format("'{}' is not a type: {}; write for example f32[N, 3, 112, 112]",
                                   text, why));
  };
  const std::size_t open = text.find('[');
  const std::size_t close = text.find(']');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
    throw fail("no [shape]");
  }
  Type type;
  type.dtype = parse_dtype(text.substr(0, open));
  std::string_view body = trimmed(text.substr(open + 1, close - open - 1));
  bool more = !body.empty();
  while (more) {
    const std::size_t comma = body.find(',');
    Dim dim = 1;
    const char* const why = read_dim(trimmed(body.substr(0, comma)), dim);
    if (why != nullptr) throw fail(why);
    type.shape.push_back(std::move(dim));
    more = comma != std::string_view::npos;
    if (more) body.remove_prefix(comma + 1);
  }
  const std::string_view rest = text.substr(close + 1);
  if (!rest.empty()) {
    if (rest.front() != '@' || !is_word(rest.substr(1))) {
      throw fail("what follows the shape is no @layout");
    }
    type.layout = Layout(rest.substr(1));
  }
  return type;
}

}  // namespace facet
