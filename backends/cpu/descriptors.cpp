#include "backends/cpu/descriptors.h"

#include <dnnl_debug.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <numeric>
#include <string_view>

#include "ir/error.h"

namespace facet::cpu {
namespace {

using dnnl::memory;

constexpr std::string_view kOpaque = "opaque";

Extents extents_of(const Type& type) {
  Extents extents = static_extents(type.shape);
  if (extents.empty()) extents.push_back(1);
  return extents;
}

/// The number behind "g" in front of a layout; 1 without.
std::int64_t layout_groups(const Layout& layout) {
  // An axis letter is never followed by a number at the start of a tag.
  if (layout.size() < 2 || layout[0] != 'g' || layout[1] < '0' || layout[1] > '9') return 1;
  std::int64_t groups = 1;
  std::from_chars(layout.data() + 1, layout.data() + layout.size(), groups);
  return groups;
}

Layout opaque_layout(const Descriptor& descriptor) {
  Layout layout = fmt::format("{}{}x", kOpaque, descriptor.get_size());
  Descriptor copy = descriptor;  // get_blob is not const
  for (const std::uint8_t byte : copy.get_blob()) layout += fmt::format("{:02x}", byte);
  return layout;
}

Descriptor read_opaque(const Layout& layout) {
  const std::size_t start = layout.find('x') + 1;
  std::vector<std::uint8_t> blob;
  for (std::size_t i = start; i + 1 < layout.size(); i += 2) {
    std::uint8_t byte = 0;
    const char* const digits = layout.data() + i;
    if (std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2) break;
    blob.push_back(byte);
  }
  // oneDNN reads as many bytes as its own descriptors have and cannot know how many there are.
  if (start == 0 || blob.size() != Descriptor().get_blob().size() ||
      2 * blob.size() != layout.size() - start) {
    throw failure("the layout '" + layout.substr(0, 40) +
                  "...' was not written by this oneDNN; "
                  "compile the network anew");
  }
  return Descriptor(blob);
}

/// Axes by falling stride, then the blocks: how oneDNN spells the tag of a blocked descriptor.
std::string spelling(const Descriptor& descriptor) {
  const Extents strides = descriptor.get_strides();
  const Extents blocks = descriptor.get_inner_blks();
  const Extents block_axes = descriptor.get_inner_idxs();
  std::vector<std::size_t> order(strides.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return strides[a] > strides[b]; });
  std::string text;
  for (const std::size_t axis : order) {
    const bool split = std::find(block_axes.begin(), block_axes.end(),
                                 static_cast<memory::dim>(axis)) != block_axes.end();
    text += static_cast<char>((split ? 'A' : 'a') + static_cast<int>(axis));
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    text += fmt::format("{}{}", blocks[i], static_cast<char>('a' + block_axes[i]));
  }
  return text;
}

}  // namespace

memory::data_type data_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return memory::data_type::f32;
    case DType::bf16:
      return memory::data_type::bf16;
    case DType::f16:
      return memory::data_type::f16;
    case DType::i32:
      return memory::data_type::s32;
    case DType::i8:
      return memory::data_type::s8;
    case DType::u8:
    case DType::boolean:
      return memory::data_type::u8;
    case DType::f64:
    case DType::i64:
      return memory::data_type::undef;
  }
  return memory::data_type::undef;
}

TagTable::TagTable() {
  for (int i = dnnl_format_tag_any + 1; i < dnnl_format_tag_last; ++i) {
    const auto tag = static_cast<dnnl_format_tag_t>(i);
    tags_.emplace(dnnl_fmt_tag2str(tag), static_cast<memory::format_tag>(tag));
  }
}

memory::format_tag TagTable::find(const std::string& name) const {
  const auto it = tags_.find(name);
  return it == tags_.end() ? memory::format_tag::undef : it->second;
}

std::string TagTable::match(const Descriptor& descriptor) const {
  const Extents extents = descriptor.get_dims();
  const auto last_axis = static_cast<char>('a' + extents.size() - 1);
  for (const auto& [name, tag] : tags_) {
    char last = 'a';
    for (const char c : name) last = std::max(last, c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c);
    if (last != last_axis) continue;
    if (descriptor == Descriptor(extents, descriptor.get_data_type(), tag, /*allow_empty=*/true)) {
      return name;
    }
  }
  return {};
}

Extents grouped_extents(const Extents& extents, std::int64_t groups) {
  if (groups == 1 || extents.size() != 4) return extents;
  return {groups, extents[0] / groups, extents[1], extents[2], extents[3]};
}

Descriptor describe(const TagTable& tags, const View& view) {
  const Type& type = view.type;
  const memory::data_type element = data_type(type.dtype);
  if (element == memory::data_type::undef) {
    throw failure(fmt::format("oneDNN has no {} values", to_string(type.dtype)));
  }
  if (type.layout.starts_with(kOpaque)) return read_opaque(type.layout);
  const Extents extents = extents_of(type);
  const std::int64_t groups = layout_groups(type.layout);
  if (groups == 1 && !view.strides.empty() &&
      !same_strides(extents, view.strides, dense_strides(type))) {
    return Descriptor(extents, element, view.strides);
  }
  if (type.layout.empty()) return plain(extents, element);
  std::string name = type.layout;
  if (groups > 1) name.erase(0, 1 + std::to_string(groups).size());
  const memory::format_tag tag = tags.find(name);
  Descriptor result(grouped_extents(extents, groups), element, tag, /*allow_empty=*/true);
  if (tag == memory::format_tag::undef || !result) {
    throw failure(fmt::format("oneDNN has no layout '{}' for {}", type.layout,
                              to_string(Type{type.dtype, type.shape, {}})));
  }
  return result;
}

Descriptor plain(const Extents& extents, memory::data_type type) {
  Extents strides(extents.size(), 1);
  for (std::size_t i = extents.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * extents[i];
  return Descriptor(extents, type, strides);
}

Descriptor channels_last(const Extents& extents, memory::data_type type) {
  return Descriptor(extents, type, memory::format_tag::acdb);
}

Descriptor any_format(const Extents& extents, memory::data_type type) {
  return Descriptor(extents, type, memory::format_tag::any);
}

Descriptor with_type(const Descriptor& descriptor, memory::data_type type) {
  if (descriptor.get_data_type() == type) return descriptor;
  if (descriptor.get_format_kind() == memory::format_kind::any) {
    return any_format(descriptor.get_dims(), type);
  }
  if (descriptor.get_inner_nblks() == 0) {
    return Descriptor(descriptor.get_dims(), type, descriptor.get_strides());
  }
  throw failure("a blocked value cannot be read with another element type");
}

Layout layout_of(const TagTable& tags, const Descriptor& descriptor) {
  if (descriptor.get_format_kind() != memory::format_kind::blocked)
    return opaque_layout(descriptor);
  const Extents extents = descriptor.get_dims();
  const memory::data_type element = descriptor.get_data_type();
  if (extents.size() == 4 && descriptor == channels_last(extents, element)) return "acdb";
  if (descriptor == plain(extents, element)) return "";
  std::string text = spelling(descriptor);
  const memory::format_tag tag = tags.find(text);
  if (tag != memory::format_tag::undef && descriptor == Descriptor(extents, element, tag, true)) {
    return text;
  }
  // Where unit extents leave the order of axes open, oneDNN may spell it differently.
  text = tags.match(descriptor);
  return text.empty() ? opaque_layout(descriptor) : text;
}

Layout weights_layout_of(const TagTable& tags, const Descriptor& descriptor) {
  if (descriptor.get_format_kind() == memory::format_kind::blocked &&
      descriptor == plain(descriptor.get_dims(), descriptor.get_data_type())) {
    return "";
  }
  Layout layout = layout_of(tags, descriptor);
  if (descriptor.get_ndims() != 5 || layout.empty() || layout.starts_with(kOpaque)) return layout;
  return fmt::format("g{}{}", descriptor.get_dims()[0], layout);
}

std::string fingerprint(const Descriptor& descriptor) {
  const auto type = static_cast<int>(descriptor.get_data_type());
  const Extents extents = descriptor.get_dims();
  if (descriptor.get_format_kind() == memory::format_kind::any) {
    return fmt::format("{}[{}]any", type, fmt::join(extents, ","));
  }
  if (descriptor.get_format_kind() != memory::format_kind::blocked) {
    return opaque_layout(descriptor);
  }
  return fmt::format(
      "{}[{}]/{}/{}:{}", type, fmt::join(extents, ","), fmt::join(descriptor.get_strides(), ","),
      fmt::join(descriptor.get_inner_blks(), ","), fmt::join(descriptor.get_inner_idxs(), ","));
}

std::int64_t collapsed_stride(std::span<const std::int64_t> extents,
                              std::span<const std::int64_t> strides, std::span<const int> axes) {
  std::int64_t stride = 0;
  std::int64_t expected = 0;  // stride the next axis outwards must have
  for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
    const auto i = static_cast<std::size_t>(*axis);
    if (extents[i] == 1) continue;
    if (stride == 0) {
      stride = strides[i];
    } else if (strides[i] != expected) {
      return -1;
    }
    expected = strides[i] * extents[i];
  }
  return stride;
}

}  // namespace facet::cpu
