#pragma once

#include <dnnl.hpp>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"

/// Between Facet's types and oneDNN's memory descriptors.
namespace facet::cpu {

using Descriptor = dnnl::memory::desc;
using Extents = dnnl::memory::dims;

/// `undef` for a dtype oneDNN does not compute with (i64, and f64 outside of copies).
dnnl::memory::data_type data_type(DType dtype);

/// oneDNN's tags by name. Immutable, so safe from several threads.
class TagTable {
 public:
  TagTable();
  /// `undef` when there is no such tag.
  dnnl::memory::format_tag find(const std::string& name) const;
  /// The tag that makes this descriptor, by trying all of them; empty when none does.
  std::string match(const Descriptor& descriptor) const;

 private:
  std::map<std::string, dnnl::memory::format_tag> tags_;
};

/// The value in memory. A rank-0 value becomes one of rank 1; grouped and opaque weights keep
/// the axes of their layout (see cpu_backend.h). Throws Error(failure) for an unknown layout or
/// dtype.
Descriptor describe(const TagTable& tags, const View& view);

/// A dense row-major (or "acdb") descriptor.
Descriptor plain(const Extents& extents, dnnl::memory::data_type type);
Descriptor channels_last(const Extents& extents, dnnl::memory::data_type type);
/// The format is oneDNN's to choose.
Descriptor any_format(const Extents& extents, dnnl::memory::data_type type);
/// The same format with another element type.
Descriptor with_type(const Descriptor& descriptor, dnnl::memory::data_type type);

/// The layout text of a descriptor. An activation that is NHWC reads "acdb" even where unit extents
/// make it row-major too; everything else that is row-major reads "".
Layout layout_of(const TagTable& tags, const Descriptor& descriptor);
/// The layout text of conv weights, whose descriptor has a fifth axis when there are groups.
Layout weights_layout_of(const TagTable& tags, const Descriptor& descriptor);

/// Text that tells descriptors apart, for cache keys.
std::string fingerprint(const Descriptor& descriptor);

/// Conv weights [O, C/g, kh, kw] as [g, O/g, C/g, kh, kw]; extents of five axes are left alone.
Extents grouped_extents(const Extents& extents, std::int64_t groups);

/// Distance between neighbouring rows when `axes` (outermost first) are one axis of rows, or -1 if
/// their strides do not allow it. 0 when there is a single row.
std::int64_t collapsed_stride(std::span<const std::int64_t> extents,
                              std::span<const std::int64_t> strides, std::span<const int> axes);

}  // namespace facet::cpu
