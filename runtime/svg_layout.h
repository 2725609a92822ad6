#pragma once

#include <vector>

/// Where boxes and wires of a layered drawing go, in rows, columns, tracks and slots; `svg.cpp`
/// makes pixels of them. Boxes are split into chains: the longest path stands straight in column 0,
/// each further chain in a column beside it, so a reader follows the network downwards. Wires that
/// jump over boxes run in tracks between the columns. Nothing ever crosses a box.
namespace facet::drawing {

/// `net` numbers the value that a wire carries: wires of one net share their lines.
struct Wire {
  int from = 0;
  int to = 0;
  int net = 0;
};

/// Boxes are numbered so that every wire leads from a lower to a higher number.
struct Wiring {
  int boxes = 0;
  std::vector<Wire> wires;  ///< at most one per net and target
  /// Per box: true for one without sources that should stand just above its first reader instead of
  /// at the top. Empty: none.
  std::vector<bool> late;
};

/// A box's place. Row 0 is the top, column 0 the longest path.
struct Cell {
  int row = 0;
  int column = 0;
};

/// How a wire gets to its target. Gap r lies above row r; a slot is a horizontal line in a gap, a
/// track a vertical line right of a column.
struct Route {
  enum class Way {
    straight,   ///< down the column both boxes are in
    over,       ///< into the next row: down, along entry_slot, down
    down_over,  ///< down the source's column, along entry_slot, down
    over_down,  ///< down, along exit_slot, down the target's column
    track       ///< down, along exit_slot, down a track, along entry_slot, down
  } way = Way::straight;
  int exit_slot = -1;   ///< in the gap below the source
  int entry_slot = -1;  ///< in the gap above the target
  int track = -1;       ///< counted from the left, right of the source's column
};

struct Layered {
  std::vector<Cell> cells;       ///< per box
  std::vector<Route> routes;     ///< per wire
  std::vector<int> slot_counts;  ///< per gap; one gap per row
  std::vector<int> track_counts;  ///< per column
};

Layered arrange(const Wiring& wiring);

}  // namespace facet::drawing
