#pragma once

#include <string>

#include "ir/graph.h"

namespace facet {

struct SvgOptions {
  /// Draw parameters, constants and what is computed from them alone as boxes too. Otherwise they
  /// are a line in the boxes of their readers.
  bool parameters = false;
  /// Written at the top, e.g. "after fuse-epilogue".
  std::string subtitle;
  /// A line in the boxes of fused nodes that names what they stand for, "fused: bn1, relu".
  bool origins = false;
  /// Types as people say them, with the layout by its usual name and the size of static values:
  /// "f32 [1, 48, 31, 31] NHWC, 185 KB".
  bool bytes = false;
  /// Not empty: an element for an HTML page instead of a document of its own. All ids in it start
  /// with this, which no other drawing of the page may have.
  std::string id = {};
};

/// The graph as an SVG picture, a well-formed XML document in ASCII: a box per node, coloured by the
/// kind of op, with its scope; lines with types; flow from top to bottom, the longest path straight
/// down and branches in columns beside it. Bands in the background are the outermost scopes. Boxes
/// and lines carry their full text as tooltips. Each result of a node with several is a line of its
/// own. Time grows with the square of the node count at
/// worst; 3000 nodes take well below a second.
std::string to_svg(const Graph& graph, const SvgOptions& options = {});

}  // namespace facet
