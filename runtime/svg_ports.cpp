#include "runtime/svg_ports.h"

#include <algorithm>
#include <map>
#include <utility>

namespace facet::drawing {
namespace {

constexpr double kEntryDistance = 20;  // pixels between lines
constexpr double kExitDistance = 36;
constexpr double kRim = 10;  // of a box, without lines

/// Pixels between `count` lines on one side of a box's middle.
double distance_of(double wanted, double box_width, std::size_t count) {
  return std::min(wanted, (box_width / 2 - kRim) / static_cast<double>(count));
}

int column_of(const Layered& layered, int box) {
  return layered.cells[static_cast<std::size_t>(box)].column;
}

bool is_straight(const Route& route) { return route.way == Route::Way::straight; }

/// Tracks lie right of the source's column; a line between boxes of one column bends to the left.
bool goes_right(const Layered& layered, const Wire& wire, const Route& route) {
  return route.way == Route::Way::track ||
         column_of(layered, wire.to) > column_of(layered, wire.from);
}

}  // namespace

std::vector<double> entries(const Content& content, const Layered& layered, double box_width) {
  const auto& wires = content.wiring.wires;
  std::vector<double> places(wires.size(), 0);
  std::map<std::pair<int, bool>, std::vector<std::size_t>> sides;  // {target, from the right}
  for (std::size_t w = 0; w < wires.size(); ++w) {
    const Route& route = layered.routes[w];
    if (is_straight(route) || route.way == Route::Way::over_down) continue;
    const int from = column_of(layered, wires[w].from);
    const int to = column_of(layered, wires[w].to);
    const bool right = route.way == Route::Way::track ? from >= to : from > to;
    sides[{wires[w].to, right}].push_back(w);
  }
  std::vector<int> entering(content.boxes.size(), 0);
  for (const Wire& wire : wires) ++entering[static_cast<std::size_t>(wire.to)];
  for (auto& [side, list] : sides) {
    if (entering[static_cast<std::size_t>(side.first)] == 1) continue;  // the middle is free
    std::ranges::stable_sort(list, {}, [&](std::size_t w) { return layered.routes[w].entry_slot; });
    const double distance = distance_of(kEntryDistance, box_width, list.size());
    for (std::size_t i = 0; i < list.size(); ++i) {
      const double offset = distance * static_cast<double>(i + 1);
      places[list[i]] = side.second ? offset : -offset;
    }
  }
  return places;
}

std::vector<double> exits(const Content& content, const Layered& layered, double box_width) {
  struct Leaving {
    std::vector<std::size_t> nets;
    std::vector<std::size_t> left, right;
  };
  std::vector<Leaving> boxes(content.boxes.size());
  std::vector<int> slots(content.nets.size(), -1);
  std::vector<bool> straight(content.nets.size(), false);
  std::vector<bool> right(content.nets.size(), false);
  std::vector<bool> away(content.nets.size(), false);  // not back into the column of its box
  for (std::size_t n = 0; n < content.nets.size(); ++n) {
    boxes[static_cast<std::size_t>(content.nets[n].from)].nets.push_back(n);
  }
  for (std::size_t w = 0; w < content.wiring.wires.size(); ++w) {
    const Wire& wire = content.wiring.wires[w];
    const Route& route = layered.routes[w];
    const auto n = static_cast<std::size_t>(wire.net);
    if (is_straight(route)) straight[n] = true;
    if (goes_right(layered, wire, route)) right[n] = true;
    if (right[n] || column_of(layered, wire.to) != column_of(layered, wire.from)) away[n] = true;
    // Both kinds of slot may lie below the box; the upper ones are the exits'.
    slots[n] = std::max(slots[n], route.exit_slot >= 0 ? route.exit_slot : route.entry_slot);
  }
  std::vector<double> places(content.nets.size(), 0);
  for (Leaving& box : boxes) {
    if (box.nets.size() < 2) continue;
    for (const std::size_t n : box.nets) {
      if (!straight[n]) (right[n] ? box.right : box.left).push_back(n);
    }
    for (auto* side : {&box.left, &box.right}) {
      // Of those that go away the outermost turns first, of those that come back the innermost: so
      // none runs into another.
      std::ranges::stable_sort(*side, {}, [&](std::size_t n) {
        return std::pair(static_cast<bool>(away[n]), away[n] ? -slots[n] : slots[n]);
      });
      const double distance = distance_of(kExitDistance, box_width, side->size());
      for (std::size_t i = 0; i < side->size(); ++i) {
        const double offset = distance * static_cast<double>(i + 1);
        places[(*side)[i]] = side == &box.right ? offset : -offset;
      }
    }
  }
  return places;
}

std::vector<std::vector<std::size_t>> nets_of_boxes(const Content& content,
                                                    const std::vector<double>& places) {
  std::vector<std::vector<std::size_t>> nets(content.boxes.size());
  for (std::size_t n = 0; n < content.nets.size(); ++n) {
    nets[static_cast<std::size_t>(content.nets[n].from)].push_back(n);
  }
  for (auto& list : nets) {
    std::ranges::stable_sort(list, {}, [&](std::size_t n) { return places[n]; });
  }
  return nets;
}

}  // namespace facet::drawing
