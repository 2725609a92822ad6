#include "runtime/svg_layout.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <numeric>
#include <utility>

namespace facet::drawing {
namespace {

/// Rows or columns, both ends included.
struct Interval {
  int first = 0;
  int last = 0;
};

bool overlaps(const Interval& a, const Interval& b) {
  return a.first <= b.last && b.first <= a.last;
}

/// Lines that intervals are put on without overlap.
class Lines {
 public:
  bool is_free(int line, const Interval& interval) const {
    const auto at = static_cast<std::size_t>(line);
    return at >= taken_.size() ||
           std::ranges::none_of(taken_[at], [&](const Interval& t) { return overlaps(t, interval); });
  }
  void take(int line, const Interval& interval) {
    const auto at = static_cast<std::size_t>(line);
    if (at >= taken_.size()) taken_.resize(at + 1);
    taken_[at].push_back(interval);
  }
  int take_first_free(const Interval& interval) {
    int line = 0;
    while (!is_free(line, interval)) ++line;
    take(line, interval);
    return line;
  }
  int count() const { return static_cast<int>(taken_.size()); }

 private:
  std::vector<std::vector<Interval>> taken_;
};

class Arrangement {
 public:
  explicit Arrangement(const Wiring& wiring)
      : wiring_(wiring),
        boxes_(static_cast<std::size_t>(wiring.boxes)),
        entering_(boxes_),
        leaving_(boxes_),
        straight_(wiring.wires.size(), false) {
    result_.cells.resize(boxes_);
    result_.routes.resize(wiring.wires.size());
    for (std::size_t w = 0; w < wiring.wires.size(); ++w) {
      entering_[at(wiring.wires[w].to)].push_back(w);
      leaving_[at(wiring.wires[w].from)].push_back(w);
    }
  }

  Layered run() {
    assign_rows();
    assign_columns();
    choose_ways();
    assign_tracks();
    assign_slots();
    return std::move(result_);
  }

 private:
  static std::size_t at(int box) { return static_cast<std::size_t>(box); }
  const Wire& wire(std::size_t w) const { return wiring_.wires[w]; }
  int& row(int box) { return result_.cells[at(box)].row; }
  int& column(int box) { return result_.cells[at(box)].column; }

  void assign_rows() {
    for (int box = 0; box < wiring_.boxes; ++box) {
      for (const std::size_t w : entering_[at(box)]) {
        row(box) = std::max(row(box), row(wire(w).from) + 1);
      }
    }
    for (int box = 0; box < wiring_.boxes; ++box) {
      if (wiring_.late.empty() || !wiring_.late[at(box)] || leaving_[at(box)].empty()) continue;
      int first_reader = row(wire(leaving_[at(box)].front()).to);
      for (const std::size_t w : leaving_[at(box)]) {
        first_reader = std::min(first_reader, row(wire(w).to));
      }
      row(box) = first_reader - 1;
    }
    int rows = 0;
    for (const Cell& cell : result_.cells) rows = std::max(rows, cell.row + 1);
    result_.slot_counts.assign(at(rows), 0);
  }

  /// The longest path through boxes that are in no chain yet.
  std::vector<int> longest_chain(const std::vector<bool>& placed) {
    std::vector<int> length(boxes_, 0);
    std::vector<int> before(boxes_, -1);
    int end = -1;
    for (int box = 0; box < wiring_.boxes; ++box) {
      if (placed[at(box)]) continue;
      length[at(box)] = 1;
      for (const std::size_t w : entering_[at(box)]) {
        const int from = wire(w).from;
        if (placed[at(from)] || length[at(from)] + 1 <= length[at(box)]) continue;
        length[at(box)] = length[at(from)] + 1;
        before[at(box)] = from;
      }
      if (end < 0 || length[at(box)] > length[at(end)]) end = box;
    }
    std::vector<int> chain;
    for (int box = end; box >= 0; box = before[at(box)]) chain.push_back(box);
    std::ranges::reverse(chain);
    return chain;
  }

  /// The rows a chain keeps free: its boxes, the line down to the first of them, and the line from
  /// its last box down to the nearest reader. Marks those two wires. A far one goes by a track: it
  /// would keep a whole column empty.
  Interval reserve(const std::vector<int>& chain) {
    const int first = chain.front();
    const int last = chain.back();
    Interval rows{row(first), row(last)};
    const auto nearest = [&](const std::vector<std::size_t>& wires, auto&& distance) {
      std::size_t best = wires.size();
      for (std::size_t i = 0; i < wires.size(); ++i) {
        if (best == wires.size() || distance(wires[i]) < distance(wires[best])) best = i;
      }
      return best == wires.size() ? -1 : static_cast<int>(wires[best]);
    };
    const int entry = nearest(entering_[at(first)],
                              [&](std::size_t w) { return row(first) - row(wire(w).from); });
    if (entry >= 0 && row(first) - row(wire(at(entry)).from) <= kNearRows) {
      rows.first = row(wire(at(entry)).from) + 1;
      result_.routes[at(entry)].way = Route::Way::over_down;
      straight_[at(entry)] = true;
    }
    const int exit = nearest(leaving_[at(last)],
                             [&](std::size_t w) { return row(wire(w).to) - row(last); });
    if (exit >= 0 && row(wire(at(exit)).to) - row(last) <= kNearRows) {
      rows.last = row(wire(at(exit)).to) - 1;
      result_.routes[at(exit)].way = Route::Way::down_over;
      straight_[at(exit)] = true;
    }
    ++rows.last;  // two chains of a column never meet in one gap
    return rows;
  }

  int attach_column(const std::vector<int>& chain) {
    const auto& entering = entering_[at(chain.front())];
    const auto& leaving = leaving_[at(chain.back())];
    if (!entering.empty()) return column(wire(entering.front()).from);
    return leaving.empty() ? 0 : column(wire(leaving.front()).to);
  }

  void assign_columns() {
    std::vector<bool> placed(boxes_, false);
    Lines columns;
    std::size_t remaining = boxes_;
    while (remaining > 0) {
      const std::vector<int> chain = longest_chain(placed);
      int where = 0;
      if (remaining == boxes_) {
        columns.take(0, {0, row(chain.back())});
      } else {
        const Interval rows = reserve(chain);
        where = free_column(columns, attach_column(chain), rows);
        columns.take(where, rows);
      }
      for (const int box : chain) {
        column(box) = where;
        placed[at(box)] = true;
      }
      remaining -= chain.size();
      mark_chain_wires(chain);
    }
    result_.track_counts.assign(static_cast<std::size_t>(columns.count()), 0);
  }

  /// The nearest free column, right of `near` before left of it, never the main one.
  static int free_column(const Lines& columns, int near, const Interval& rows) {
    for (int distance = 1;; ++distance) {
      if (columns.is_free(near + distance, rows)) return near + distance;
      if (near - distance >= 1 && columns.is_free(near - distance, rows)) return near - distance;
    }
  }

  void mark_chain_wires(const std::vector<int>& chain) {
    for (std::size_t i = 1; i < chain.size(); ++i) {
      for (const std::size_t w : entering_[at(chain[i])]) {
        if (wire(w).from != chain[i - 1] || straight_[w]) continue;
        result_.routes[w].way = Route::Way::straight;
        straight_[w] = true;
        break;  // a second net between the same boxes takes a line of its own
      }
    }
  }

  void choose_ways() {
    for (std::size_t w = 0; w < wiring_.wires.size(); ++w) {
      Route& route = result_.routes[w];
      const bool next_row = row(wire(w).to) == row(wire(w).from) + 1;
      if (route.way == Route::Way::straight && straight_[w]) continue;
      if (next_row) {
        route.way = Route::Way::over;
      } else if (!straight_[w]) {
        route.way = Route::Way::track;
      }
    }
  }

  void assign_tracks() {
    std::map<int, std::vector<std::size_t>> nets;  // wires on tracks by net
    for (std::size_t w = 0; w < wiring_.wires.size(); ++w) {
      if (result_.routes[w].way == Route::Way::track) nets[wire(w).net].push_back(w);
    }
    struct Request {
      Interval gaps;
      const std::vector<std::size_t>* wires;
    };
    std::vector<Request> requests;
    for (const auto& [net, wires] : nets) {
      Interval gaps{row(wire(wires.front()).from) + 1, 0};
      for (const std::size_t w : wires) gaps.last = std::max(gaps.last, row(wire(w).to));
      requests.push_back({gaps, &wires});
    }
    // Short ones first: they get the inner tracks, and long ones go around them.
    std::ranges::stable_sort(requests, {}, [](const Request& request) {
      return request.gaps.last - request.gaps.first;
    });
    std::vector<Lines> gutters(result_.track_counts.size());
    for (const Request& request : requests) {
      Lines& gutter = gutters[at(column(wire(request.wires->front()).from))];
      const int track = gutter.take_first_free(request.gaps);
      for (const std::size_t w : *request.wires) result_.routes[w].track = track;
    }
    for (std::size_t c = 0; c < gutters.size(); ++c) result_.track_counts[c] = gutters[c].count();
  }

  /// Places along a row, in order from left to right: columns, and the tracks right of each.
  int position(int box) { return column(box) * kPositions; }
  int track_position(std::size_t w) {
    return column(wire(w).from) * kPositions + 1 + result_.routes[w].track;
  }

  struct Span {
    Interval columns;
    bool from_above = false;  // the source stands in the row above
    std::vector<int*> slots;  // who wants to know the slot
  };
  using Gap = std::map<int, Span>;  // by net

  static void widen(Gap& gap, int net, int from, int to, bool from_above, int& slot) {
    const auto [it, is_new] = gap.try_emplace(net);
    Span& span = it->second;
    if (is_new) span.columns = {from, from};
    span.columns.first = std::min({span.columns.first, from, to});
    span.columns.last = std::max({span.columns.last, from, to});
    span.from_above |= from_above;
    span.slots.push_back(&slot);
  }

  void assign_slots() {
    std::vector<Gap> gaps(result_.slot_counts.size());
    for (std::size_t w = 0; w < wiring_.wires.size(); ++w) {
      Route& route = result_.routes[w];
      const Wire& line = wire(w);
      const int from = position(line.from);
      const int to = position(line.to);
      Gap& below = gaps[at(row(line.from) + 1)];
      Gap& above = gaps[at(row(line.to))];
      switch (route.way) {
        case Route::Way::straight:
          break;
        case Route::Way::over:
        case Route::Way::down_over:
          widen(above, line.net, from, to, route.way == Route::Way::over, route.entry_slot);
          break;
        case Route::Way::over_down:
          widen(below, line.net, from, to, true, route.exit_slot);
          break;
        case Route::Way::track:
          widen(below, line.net, from, track_position(w), true, route.exit_slot);
          widen(above, line.net, track_position(w), to, false, route.entry_slot);
          break;
      }
    }
    for (std::size_t g = 0; g < gaps.size(); ++g) {
      std::vector<Span*> spans;
      for (auto& [net, span] : gaps[g]) spans.push_back(&span);
      // What comes from the row above turns first, so lines to the row below do not run into it.
      std::ranges::stable_sort(spans, {}, [](const Span* span) { return !span->from_above; });
      Lines slots;
      for (const Span* span : spans) {
        const int slot = slots.take_first_free(span->columns);
        for (int* wanted : span->slots) *wanted = slot;
      }
      result_.slot_counts[g] = slots.count();
    }
  }

  static constexpr int kNearRows = 12;
  static constexpr int kPositions = 1 << 16;  // more than tracks in any gutter

  const Wiring& wiring_;
  std::size_t boxes_;
  std::vector<std::vector<std::size_t>> entering_;
  std::vector<std::vector<std::size_t>> leaving_;
  std::vector<bool> straight_;  // wires whose way follows from their chain
  Layered result_;
};

}  // namespace

Layered arrange(const Wiring& wiring) { return Arrangement(wiring).run(); }

}  // namespace facet::drawing
