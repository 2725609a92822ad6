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
};

/// The graph as an SVG picture, a well-formed XML document in ASCII: a box per node, coloured by the
/// kind of op, with its scope; lines with types; flow from top to bottom, the longest path straight
/// down and branches in columns beside it. Bands in the background are the outermost scopes. Boxes
/// and lines carry their full text as tooltips. Time grows with the square of the node count at
/// worst; 3000 nodes take well below a second.
std::string to_svg(const Graph& graph, const SvgOptions& options = {});

}  // namespace facet
