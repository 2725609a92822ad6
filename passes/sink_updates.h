#pragma once

#include <vector>

#include "ir/graph.h"

namespace facet {

/// Nodes that read `state` or what may lie in its bytes: reshapes, slices and reorders of it, and
/// so on. These nodes must run before an update overwrites the state. In no particular order, each
/// once.
std::vector<Node*> readers_of_bytes(Value state);

}  // namespace facet
