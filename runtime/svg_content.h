#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "runtime/svg.h"
#include "runtime/svg_layout.h"

/// What a drawing of a graph says, before it is laid out: its boxes with their texts, its wires.
namespace facet::drawing {

struct Box {
  std::string title;    ///< op and its main attributes, "conv 3x3 /2"
  std::string scope;
  std::string note;     ///< parameters it reads, "weight [64, 3, 3, 3] + 2 more"
  /// Lines with what it stands for beside its scope, "fused: bn1, relu".
  std::vector<std::string> fused;
  std::string tooltip;  ///< everything, in lines
  std::string_view colour;
  std::string_view family;  ///< for the legend
  bool is_port = false;     ///< an input or output of the graph
};

struct Net {
  int from = 0;
  std::string type;
};

struct Content {
  std::vector<Box> boxes;
  std::vector<Net> nets;
  Wiring wiring;
  int hidden = 0;  ///< nodes that are not drawn
};

/// `options` say what to describe; titles, subtitles and ids are the drawing's matter.
Content describe(const Graph& graph, const SvgOptions& options);

/// "f32 [1, 48, 31, 31] NHWC, 185 KB"; without the size where a symbol is left.
std::string type_in_words(const Type& type);
/// Decimal, with three digits: "185 KB", "2.5 MB", "12 bytes".
std::string size_in_words(std::int64_t bytes);

inline constexpr std::size_t kLineCharacters = 37;  ///< that fit into a box

/// `text` in at most `limit` characters, with "..." in its middle where some are left out.
std::string shorten(std::string_view text, std::size_t limit);
/// The same for a path of names: the last names are kept, "...branch1_1x1.conv".
std::string shorten_scope(std::string_view scope, std::size_t limit);
/// For XML text and attribute values. Characters that are not printable ASCII become '?'.
std::string escape(std::string_view text);

}  // namespace facet::drawing
