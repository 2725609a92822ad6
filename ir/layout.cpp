#include "ir/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <functional>
#include <limits>
#include <utility>

#include "ir/error.h"

namespace facet {
namespace {

struct ParsedLayout {
  std::vector<std::size_t> order;    ///< axes from outermost to innermost
  std::vector<std::int64_t> blocks;  ///< per axis, the product of its blocks; 1 without
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

Error misfit(const Type& type, std::string_view why) {
  return usage_error(
      fmt::format("layout '{}' does not fit {}: {}", type.layout, to_string(type.shape), why));
}

/// The trailing blocks, from position `at` of the tag: "16b", "8b16a2b".
void parse_blocks(const Type& type, std::size_t at, const std::vector<bool>& split,
                  std::vector<std::int64_t>& blocks) {
  const Layout& tag = type.layout;
  while (at < tag.size()) {
    std::int64_t block = 0;
    for (; at < tag.size() && is_digit(tag[at]); ++at) {
      block = block * 10 + (tag[at] - '0');
      if (block > 4096) throw misfit(type, "a block is at most 4096 wide");
    }
    const auto axis = at < tag.size() ? static_cast<std::size_t>(tag[at] - 'a') : blocks.size();
    if (axis >= blocks.size() || !split[axis] || block < 2) {
      throw misfit(type, "a block is a number above 1 and an axis that is capital before it");
    }
    blocks[axis] *= block;
    if (blocks[axis] > 4096) throw misfit(type, "the blocks of an axis are at most 4096 wide");
    ++at;
  }
}

/// Bytes of an "opaque4096x..." layout, which only the backend that wrote it can read; 0 for others.
std::int64_t opaque_bytes(const Layout& layout) {
  constexpr std::string_view kOpaque = "opaque";
  if (!layout.starts_with(kOpaque)) return 0;
  std::int64_t bytes = 0;
  const char* const end = layout.data() + layout.size();
  const auto [stop, error] = std::from_chars(layout.data() + kOpaque.size(), end, bytes);
  if (error != std::errc() || stop == end || *stop != 'x' || bytes < 1) {
    throw usage_error("layout '" + layout.substr(0, 40) + "' is not opaque<bytes>x<digits>");
  }
  return bytes;
}

/// Conv weights [O, C/g, kh, kw] in a layout "g4Abcde16a" are [4, O/4, C/4, kh, kw] in "Abcde16a".
Type with_group_axis(const Type& type) {
  const Layout& tag = type.layout;
  if (tag.size() < 2 || tag[0] != 'g' || !is_digit(tag[1])) return type;
  std::int64_t groups = 0;
  const char* const end = tag.data() + tag.size();
  const char* const stop = std::from_chars(tag.data() + 1, end, groups).ptr;
  if (type.rank() != 4 || groups < 1 || type.shape[0].factor % groups != 0) {
    throw misfit(type, "groups take weights [O, C, kh, kw] whose O they divide");
  }
  Type grouped{type.dtype, type.shape, std::string(stop, end)};
  grouped.shape[0].factor /= groups;
  grouped.shape.insert(grouped.shape.begin(), Dim(groups));
  return grouped;
}

ParsedLayout parse_layout(const Type& type) {
  const std::size_t rank = type.shape.size();
  ParsedLayout parsed{{}, std::vector<std::int64_t>(rank, 1)};
  if (type.layout.empty()) {
    for (std::size_t axis = 0; axis < rank; ++axis) parsed.order.push_back(axis);
    return parsed;
  }
  std::vector<bool> seen(rank, false);
  std::vector<bool> split(rank, false);
  std::size_t at = 0;
  for (; at < type.layout.size() && !is_digit(type.layout[at]); ++at) {
    const auto letter = static_cast<unsigned char>(type.layout[at]);
    const auto axis = static_cast<std::size_t>(std::tolower(letter) - 'a');
    if (std::isalpha(letter) == 0 || axis >= rank || seen[axis]) {
      throw misfit(type, "its letters are not the axes, each once");
    }
    seen[axis] = true;
    split[axis] = std::isupper(letter) != 0;
    parsed.order.push_back(axis);
  }
  if (parsed.order.size() != rank) throw misfit(type, "its letters are not the axes, each once");
  parse_blocks(type, at, split, parsed.blocks);
  for (std::size_t axis = 0; axis < rank; ++axis) {
    if (split[axis] != (parsed.blocks[axis] > 1)) throw misfit(type, "a capital axis has no block");
  }
  return parsed;
}

/// Neighbouring axes that lie in memory as one: their elements are `count`, `stride` apart.
struct Run {
  Dim count;
  std::int64_t stride;
};

/// The longest runs, outermost first. A symbolic axis is a run of its own.
std::vector<Run> runs_of(const Shape& shape, const std::vector<std::int64_t>& strides) {
  std::vector<Run> runs;
  bool open = false;  // whether the last run may grow
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    const Dim& extent = shape[axis];
    if (extent == Dim(1)) continue;
    if (open && extent.is_static() && runs.back().stride == strides[axis] * extent.factor) {
      runs.back().count.factor *= extent.factor;
      runs.back().stride = strides[axis];
    } else {
      runs.push_back({extent, strides[axis]});
    }
    open = extent.is_static();
  }
  return runs;
}

}  // namespace

bool is_blocked(const Layout& layout) {
  return std::any_of(layout.begin(), layout.end(), is_digit);
}

std::vector<std::int64_t> dense_strides(const Type& type) {
  if (opaque_bytes(type.layout) > 0) return {};
  const std::vector<std::int64_t> extents = static_extents(type.shape);
  const ParsedLayout layout = parse_layout(with_group_axis(type));
  if (is_blocked(type.layout)) return {};
  std::vector<std::int64_t> strides(extents.size(), 1);
  std::int64_t stride = 1;
  for (auto axis = layout.order.rbegin(); axis != layout.order.rend(); ++axis) {
    strides[*axis] = stride;
    stride *= extents[*axis];
  }
  return strides;
}

std::int64_t byte_size(const Type& type) {
  if (const std::int64_t bytes = opaque_bytes(type.layout); bytes > 0) return bytes;
  const Type grouped = with_group_axis(type);
  const std::vector<std::int64_t> extents = static_extents(grouped.shape);
  const ParsedLayout layout = parse_layout(grouped);
  std::int64_t bytes = size_of(type.dtype);
  for (std::size_t axis = 0; axis < extents.size(); ++axis) {
    const std::int64_t block = layout.blocks[axis];
    const std::int64_t padded = (extents[axis] + block - 1) / block * block;
    if (__builtin_mul_overflow(bytes, padded, &bytes)) {
      throw usage_error(fmt::format("{} takes more bytes than 64 bits can count", to_string(type)));
    }
  }
  return bytes;
}

std::optional<std::vector<std::int64_t>> reshaped_strides(const Shape& from,
                                                          const std::vector<std::int64_t>& strides,
                                                          const Shape& to) {
  std::vector<std::int64_t> result(to.size(), 0);
  std::size_t axis = 0;
  for (const Run& run : runs_of(from, strides)) {
    while (axis < to.size() && to[axis] == Dim(1)) ++axis;
    const std::size_t first = axis;
    if (!run.count.is_static()) {
      if (axis == to.size() || !(to[axis] == run.count)) return std::nullopt;
      result[axis++] = run.stride;
      continue;
    }
    std::int64_t covered = 1;
    for (; axis < to.size() && covered < run.count.factor; ++axis) {
      if (!to[axis].is_static()) return std::nullopt;
      covered *= to[axis].factor;
    }
    if (covered != run.count.factor) return std::nullopt;
    std::int64_t stride = run.stride;
    for (std::size_t i = axis; i-- > first;) {
      if (to[i] == Dim(1)) continue;
      result[i] = stride;
      stride *= to[i].factor;
    }
  }
  return result;
}

std::optional<Layout> reshaped_layout(const Type& from, const Shape& to) {
  if (is_blocked(from.layout)) return std::nullopt;
  if (from.layout.empty()) return Layout{};
  const auto strides = reshaped_strides(from.shape, dense_strides(from), to);
  if (!strides) return std::nullopt;
  if (same_strides(static_extents(to), *strides, dense_strides({from.dtype, to, {}}))) {
    return Layout{};
  }
  // By falling strides; axes of extent 1, which lie anywhere, behind the axis ahead of them.
  std::vector<std::pair<std::int64_t, char>> axes;
  for (std::size_t axis = 0; axis < to.size(); ++axis) {
    const bool follows = to[axis] == Dim(1) && axis > 0;
    axes.emplace_back(follows ? axes.back().first : (*strides)[axis],
                      static_cast<char>('a' + static_cast<char>(axis)));
  }
  if (to[0] == Dim(1)) axes[0].first = std::numeric_limits<std::int64_t>::max();
  std::ranges::stable_sort(axes, std::greater<>{}, &std::pair<std::int64_t, char>::first);
  Layout layout;
  for (const auto& [stride, letter] : axes) layout += letter;
  return layout;
}

bool same_strides(const std::vector<std::int64_t>& extents, const std::vector<std::int64_t>& a,
                  const std::vector<std::int64_t>& b) {
  if (a.size() != extents.size() || b.size() != extents.size()) return a == b;
  for (std::size_t axis = 0; axis < extents.size(); ++axis) {
    if (extents[axis] != 1 && a[axis] != b[axis]) return false;
  }
  return true;
}

}  // namespace facet
