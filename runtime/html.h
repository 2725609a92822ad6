#pragma once

#include <string>

#include "runtime/compile.h"

/// A compilation as one page for a browser.
namespace facet {

struct HtmlPage {
  std::string model;  ///< as the user named it
  Precision precision = Precision::f32;
  std::string stage;        ///< what `after` is, e.g. "after fuse-epilogue"
  bool parameters = false;  ///< draw parameters as boxes, too
};

/// A self-contained HTML document in ASCII, readable as XML too: no script, nothing from a network.
/// It has a table of what `plain` (compiled without optimisation) and `program` cost, what the
/// compiler did and did not do with places, origins and reasons, and drawings of both graphs: boxes
/// name what fused nodes stand for, lines carry dtype, shape, layout and bytes. The graphs are
/// those of `program.batch` and have no symbol left.
std::string to_html(const Graph& before, const Graph& after, const ProgramInfo& plain,
                    const ProgramInfo& program, const HtmlPage& page);

}  // namespace facet
