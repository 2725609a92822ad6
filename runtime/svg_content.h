#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "runtime/svg_layout.h"

/// What a drawing of a graph says, before it is laid out: its boxes with their texts, its wires.
namespace facet::drawing {

struct Box {
  std::string title;    ///< op and its main attributes, "conv 3x3 /2"
  std::string scope;
  std::string note;     ///< parameters it reads, "weight [64, 3, 3, 3] + 2 more"
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

Content describe(const Graph& graph, bool parameters);

/// `text` in at most `limit` characters, with "..." in its middle where some are left out.
std::string shorten(std::string_view text, std::size_t limit);
/// The same for a path of names: the last names are kept, "...branch1_1x1.conv".
std::string shorten_scope(std::string_view scope, std::size_t limit);
/// For XML text and attribute values. Characters that are not printable ASCII become '?'.
std::string escape(std::string_view text);

}  // namespace facet::drawing
