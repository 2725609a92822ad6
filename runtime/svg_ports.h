#pragma once

#include <vector>

#include "runtime/svg_content.h"
#include "runtime/svg_layout.h"

/// Where lines leave and enter boxes.
namespace facet::drawing {

/// Per wire: where it enters its target, pixels from the middle. Those from straight above enter in
/// the middle, the others beside it, ordered so that wires from one side do not cross.
std::vector<double> entries(const Content& content, const Layered& layered, double box_width);

/// Per net: where it leaves its box, pixels from the middle. The only net of a box leaves in the
/// middle, of several the one that goes straight down; the others leave on the side they go to.
std::vector<double> exits(const Content& content, const Layered& layered, double box_width);

/// Per box: the nets that leave it, from left to right. `places` are what `exits` gave.
std::vector<std::vector<std::size_t>> nets_of_boxes(const Content& content,
                                                    const std::vector<double>& places);

}  // namespace facet::drawing
