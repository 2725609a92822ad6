#include "runtime/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "runtime/svg_content.h"
#include "runtime/svg_layout.h"
#include "runtime/svg_ports.h"

namespace facet {
namespace {

using drawing::Box;
using drawing::Content;
using drawing::Layered;
using drawing::Route;
using drawing::Wire;

// All lengths are pixels.
constexpr int kBoxWidth = 236;
constexpr int kLineHeight = 13;
constexpr int kBoxPadding = 7;
constexpr int kGutter = 28;       // between columns, without tracks
constexpr int kTrackDistance = 9;
constexpr int kSlotDistance = 8;
constexpr int kFirstSlot = 19;    // below the boxes of the row above: room for the type
constexpr int kArrow = 13;        // room above a box
constexpr int kLeftMargin = 110;  // room for the names of the bands
constexpr int kMargin = 24;
constexpr int kCorner = 4;
constexpr int kPageDistance = 40;
constexpr int kTail = 24;         // of a line that goes on on the next page
constexpr int kLongPage = 2600;   // a drawing higher than this is cut into pages
constexpr double kAspect = 1.6;   // of width to height, for a drawing with pages
constexpr int kTypeHeight = 11;    // of a line below a box with several results

struct Point {
  double x = 0;
  double y = 0;
};

class Drawing {
 public:
  Drawing(const Graph& graph, const SvgOptions& options)
      : graph_(graph),
        options_(options),
        content_(drawing::describe(graph, options)),
        layered_(drawing::arrange(content_.wiring)) {
    place_columns();
    place_legend();
    place_ports();
    place_rows();
    place_pages();
  }

  std::string svg() {
    const auto pages = static_cast<double>(page_row_.size());
    const double width = pages * (page_width_ + kPageDistance) - kPageDistance;
    const double height = page_bottom_ + kTail + kMargin;
    if (options_.id.empty()) out_ = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    out_ += fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
        "viewBox=\"0 0 {0} {1}\" font-family=\"Helvetica, Arial, sans-serif\">\n{2}",
        width, height, kStyle);
    out_ += fmt::format(
        "<defs><marker id=\"{}arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"6\" "
        "markerHeight=\"6\" orient=\"auto\"><path d=\"M0,0 L8,4 L0,8 z\" fill=\"#5a6b7b\"/>"
        "</marker></defs>\n", drawing::escape(options_.id));
    out_ += fmt::format("<rect width=\"{}\" height=\"{}\" fill=\"#ffffff\"/>\n", width, height);
    draw_head();
    draw_bands();
    for (std::size_t w = 0; w < content_.wiring.wires.size(); ++w) draw_wire(w);
    for (std::size_t b = 0; b < content_.boxes.size(); ++b) draw_types(b);
    for (std::size_t b = 0; b < content_.boxes.size(); ++b) draw_box(b);
    return out_ + "</svg>\n";
  }

 private:
  static constexpr const char* kStyle =
      "<style>\n"
      "  .wire { fill: none; stroke: #5a6b7b; stroke-width: 1.3; }\n"
      "  .jump { stroke: #4a7fb5; }\n"
      "  .wire:hover { stroke: #d62728; stroke-width: 3; }\n"
      "  .title { font-size: 11.5px; font-weight: bold; fill: #1a1a1a; }\n"
      "  .text { font-size: 10px; fill: #333333; }\n"
      "  .type { font-size: 9.5px; fill: #555555; stroke: #ffffff; stroke-width: 4px; "
      "stroke-linejoin: round; paint-order: stroke; }\n"
      "  .band { font-size: 13px; font-weight: bold; fill: #8a8a8a; }\n"
      "</style>\n";

  const drawing::Cell& cell(int box) const { return layered_.cells[static_cast<std::size_t>(box)]; }
  const Box& box(int number) const { return content_.boxes[static_cast<std::size_t>(number)]; }

  static int box_height(const Box& box) {
    const int lines = 1 + (box.scope.empty() ? 0 : 1) + (box.note.empty() ? 0 : 1) +
                      static_cast<int>(box.fused.size());
    return lines * kLineHeight + 2 * kBoxPadding;
  }

  void place_columns() {
    double x = kLeftMargin;
    for (const int tracks : layered_.track_counts) {
      column_left_.push_back(x);
      x += kBoxWidth + kGutter + tracks * kTrackDistance;
      column_right_.push_back(x);
    }
    if (column_right_.empty()) column_right_.push_back(x + kBoxWidth);
  }

  void place_legend() {
    std::set<std::string_view> seen;
    for (const Box& box : content_.boxes) {
      if (seen.insert(box.family).second) legend_.emplace_back(box.family, box.colour);
    }
    head_height_ = 58 + static_cast<int>(legend_.size()) * 15;
  }

  void place_rows() {
    std::vector<int> heights(layered_.slot_counts.size(), 0);
    for (std::size_t b = 0; b < content_.boxes.size(); ++b) {
      int& height = heights[static_cast<std::size_t>(layered_.cells[b].row)];
      height = std::max(height, box_height(content_.boxes[b]));
    }
    first_slot_.assign(heights.size() + 1, kFirstSlot);
    for (std::size_t b = 0; b < content_.boxes.size(); ++b) {
      const int more = std::max(0, static_cast<int>(nets_of_boxes_[b].size()) - 1) * kTypeHeight;
      int& first = first_slot_[static_cast<std::size_t>(layered_.cells[b].row) + 1];
      first = std::max(first, kFirstSlot + more);
    }
    double y = head_height_;
    for (std::size_t r = 0; r < heights.size(); ++r) {
      gap_top_.push_back(y);
      y += first_slot_[r] + layered_.slot_counts[r] * kSlotDistance + kArrow;
      row_top_.push_back(y);
      y += heights[r];
    }
    row_top_.push_back(y);  // the end of the drawing
  }

  /// A long drawing is cut into pages side by side, each where few values cross the cut.
  void place_pages() {
    page_width_ = column_right_.back() + kMargin;
    const double height = row_top_.back() - head_height_;
    page_row_ = {0};
    if (height > kLongPage) {
      const double pages = std::round(std::sqrt(kAspect * height / page_width_));
      const std::vector<int> crossing = crossing_counts();
      for (int page = 1; page < static_cast<int>(pages); ++page) {
        const std::size_t row = best_cut(head_height_ + height * page / pages, height / pages / 4, crossing);
        if (row > page_row_.back()) page_row_.push_back(row);
      }
    }
    for (std::size_t page = 0; page < page_row_.size(); ++page) {
      const double bottom = page + 1 < page_row_.size() ? gap_top_[page_row_[page + 1]] : row_top_.back();
      page_bottom_ = std::max(page_bottom_, bottom - page_shift(page));
    }
  }

  /// Per gap: how many values are on their way through it.
  std::vector<int> crossing_counts() const {
    std::vector<int> last(content_.nets.size(), 0);
    for (const Wire& wire : content_.wiring.wires) {
      int& row = last[static_cast<std::size_t>(wire.net)];
      row = std::max(row, cell(wire.to).row);
    }
    std::vector<int> counts(gap_top_.size(), 0);
    for (std::size_t n = 0; n < last.size(); ++n) {
      for (int gap = cell(content_.nets[n].from).row + 1; gap <= last[n]; ++gap) {
        ++counts[static_cast<std::size_t>(gap)];
      }
    }
    return counts;
  }

  /// The row before which to cut: near `y`, with the fewest values across, the nearest of those.
  std::size_t best_cut(double y, double reach, const std::vector<int>& crossing) const {
    std::size_t best = 0;
    for (std::size_t row = 1; row < gap_top_.size(); ++row) {
      const double distance = std::abs(gap_top_[row] - y);
      if (distance > reach) continue;
      if (best == 0 || crossing[row] < crossing[best] ||
          (crossing[row] == crossing[best] && distance < std::abs(gap_top_[best] - y))) {
        best = row;
      }
    }
    return best;
  }

  // Up to here y counts down one endless page; these map to the page a row is on.
  std::size_t page_of(std::size_t row) const {
    return static_cast<std::size_t>(std::ranges::upper_bound(page_row_, row) - page_row_.begin()) - 1;
  }
  double page_left(std::size_t page) const {
    return static_cast<double>(page) * (page_width_ + kPageDistance);
  }
  double page_shift(std::size_t page) const {
    return page == 0 ? 0 : gap_top_[page_row_[page]] - head_height_;
  }
  Point on_page(int box, double x, double y) const {
    const std::size_t page = page_of(static_cast<std::size_t>(cell(box).row));
    return {x + page_left(page), y - page_shift(page)};
  }

  /// A wire's pieces, one for each page it touches. Its vertical lines are cut; they end below the
  /// page and start above the next at the same place.
  std::vector<std::vector<Point>> pieces_of(std::size_t w) const {
    const std::vector<Point> path = path_of(w);
    std::size_t page = page_of(static_cast<std::size_t>(cell(content_.wiring.wires[w].from).row));
    std::vector<std::vector<Point>> pieces(1);
    const auto put = [&](double x, double y) {
      pieces.back().push_back({x + page_left(page), y - page_shift(page)});
    };
    put(path[0].x, path[0].y);
    for (std::size_t i = 1; i < path.size(); ++i) {
      while (page + 1 < page_row_.size() && path[i].y > gap_top_[page_row_[page + 1]]) {
        const double cut = gap_top_[page_row_[page + 1]];
        put(path[i].x, cut + kTail);
        ++page;
        pieces.emplace_back();
        put(path[i].x, cut - kArrow);
      }
      put(path[i].x, path[i].y);
    }
    return pieces;
  }

  void place_ports() {
    entry_ = drawing::entries(content_, layered_, kBoxWidth);
    exit_ = drawing::exits(content_, layered_, kBoxWidth);
    nets_of_boxes_ = drawing::nets_of_boxes(content_, exit_);
  }

  double center(int box) const {
    return column_left_[static_cast<std::size_t>(cell(box).column)] + kBoxWidth / 2.0;
  }
  double leaving_x(int net) const {
    const auto n = static_cast<std::size_t>(net);
    return center(content_.nets[n].from) + exit_[n];
  }
  double top(int box) const { return row_top_[static_cast<std::size_t>(cell(box).row)]; }
  double slot_y(int row, int slot) const {
    const auto r = static_cast<std::size_t>(row);
    return gap_top_[r] + first_slot_[r] + slot * kSlotDistance;
  }

  std::vector<Point> path_of(std::size_t w) const {
    const Wire& wire = content_.wiring.wires[w];
    const Route& route = layered_.routes[w];
    const Point start{leaving_x(wire.net), top(wire.from) + box_height(box(wire.from))};
    const Point end{center(wire.to) + entry_[w], top(wire.to)};
    const double below = slot_y(cell(wire.from).row + 1, route.exit_slot);
    const double above = slot_y(cell(wire.to).row, route.entry_slot);
    switch (route.way) {
      case Route::Way::straight:
        return {start, end};
      case Route::Way::over:
      case Route::Way::down_over:
        return {start, {start.x, above}, {end.x, above}, end};
      case Route::Way::over_down:
        return {start, {start.x, below}, {end.x, below}, end};
      case Route::Way::track: {
        const std::size_t column = static_cast<std::size_t>(cell(wire.from).column);
        const double x = column_left_[column] + kBoxWidth + kGutter / 2.0 + route.track * kTrackDistance;
        return {start, {start.x, below}, {x, below}, {x, above}, {end.x, above}, end};
      }
    }
    return {};
  }

  /// A polyline of axis-parallel pieces with rounded corners.
  static std::string rounded(const std::vector<Point>& points) {
    std::string path = fmt::format("M{:g},{:g}", points[0].x, points[0].y);
    for (std::size_t i = 1; i + 1 < points.size(); ++i) {
      const Point& corner = points[i];
      const auto towards = [&](const Point& other) {
        const double dx = other.x - corner.x;
        const double dy = other.y - corner.y;
        const double length = std::max(std::abs(dx), std::abs(dy));
        const double scale = length > 0 ? std::min<double>(kCorner, length / 2) / length : 0;
        return Point{corner.x + dx * scale, corner.y + dy * scale};
      };
      const Point in = towards(points[i - 1]);
      const Point out = towards(points[i + 1]);
      path += fmt::format(" L{:g},{:g} Q{:g},{:g} {:g},{:g}", in.x, in.y, corner.x, corner.y, out.x,
                          out.y);
    }
    return path + fmt::format(" L{:g},{:g}", points.back().x, points.back().y);
  }

  void draw_wire(std::size_t w) {
    const Wire& wire = content_.wiring.wires[w];
    const bool jump = layered_.routes[w].way == Route::Way::track;
    const auto named = [&](int number) {
      return box(number).scope.empty() ? box(number).title : box(number).scope;
    };
    const std::string tooltip =
        drawing::escape(fmt::format("{} -> {}\n{}", named(wire.from), named(wire.to),
                                    content_.nets[static_cast<std::size_t>(wire.net)].type));
    for (const std::vector<Point>& piece : pieces_of(w)) {
      out_ += fmt::format(
          "<path class=\"wire{}\" d=\"{}\" marker-end=\"url(#{}arrow)\"><title>{}</title></path>\n",
          jump ? " jump" : "", rounded(piece), drawing::escape(options_.id), tooltip);
    }
  }

  /// The types below a box, each at its line; of several, each a step lower than the one before.
  void draw_types(std::size_t number) {
    const auto id = static_cast<int>(number);
    double y = top(id) + box_height(box(id)) + 12;
    for (const std::size_t n : nets_of_boxes_[number]) {
      const drawing::Net& net = content_.nets[n];
      const Point at = on_page(id, leaving_x(static_cast<int>(n)), y);
      out_ += text("type", at.x, at.y, drawing::shorten(net.type, drawing::kLineCharacters));
      y += kTypeHeight;
    }
  }

  static std::string text(std::string_view style, double x, double y, std::string_view words) {
    return fmt::format("<text class=\"{}\" x=\"{:g}\" y=\"{:g}\" text-anchor=\"middle\">{}</text>\n",
                       style, x, y, drawing::escape(words));
  }

  void draw_box(std::size_t number) {
    const Box& box = content_.boxes[number];
    const auto id = static_cast<int>(number);
    const auto [x, box_top] = on_page(id, center(id), top(id));
    out_ += fmt::format(
        "<g><title>{}</title><rect x=\"{:g}\" y=\"{:g}\" width=\"{}\" height=\"{}\" rx=\"{}\" "
        "fill=\"{}\" stroke=\"#666666\"/>\n",
        drawing::escape(box.tooltip), x - kBoxWidth / 2.0, box_top, kBoxWidth, box_height(box),
        box.is_port ? box_height(box) / 2 : 4, box.colour);
    double y = box_top + kBoxPadding + 10;
    out_ += text("title", x, y, drawing::shorten(box.title, drawing::kLineCharacters - 3));
    if (!box.scope.empty()) {
      out_ += text("text", x, y += kLineHeight, drawing::shorten_scope(box.scope, drawing::kLineCharacters));
    }
    if (!box.note.empty()) {
      out_ += text("text", x, y += kLineHeight, drawing::shorten(box.note, drawing::kLineCharacters));
    }
    for (const std::string& line : box.fused) {
      out_ += text("text", x, y += kLineHeight, drawing::shorten(line, drawing::kLineCharacters));
    }
    out_ += "</g>\n";
  }

  void draw_head() {
    const auto line = [&](int x, int y, int size, std::string_view words) {
      out_ += fmt::format("<text x=\"{}\" y=\"{}\" font-size=\"{}\" fill=\"#1a1a1a\">{}</text>\n", x, y,
                          size, drawing::escape(words));
    };
    line(kMargin, 26, 17, graph_.name());
    std::string about = fmt::format("{} nodes", graph_.size());
    if (content_.hidden > 0) {
      about += fmt::format(", {} of them parameters and what comes of them alone (not drawn)",
                           content_.hidden);
    }
    if (!options_.subtitle.empty()) about += "; " + options_.subtitle;
    line(kMargin, 43, 11, about);
    int y = 51;
    for (const auto& [family, colour] : legend_) {
      out_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"18\" height=\"11\" rx=\"2\" fill=\"{}\" "
                          "stroke=\"#666666\"/>\n", kMargin, y, colour);
      line(kMargin + 25, y + 9, 10, family);
      y += 15;
    }
  }

  /// The outermost scope of each row, where the main path has one.
  std::vector<std::string> row_scopes() const {
    std::vector<std::string> scopes(gap_top_.size());
    for (std::size_t b = 0; b < content_.boxes.size(); ++b) {
      const drawing::Cell& place = layered_.cells[b];
      const std::string& scope = content_.boxes[b].scope;
      if (place.column != 0 || scope.empty()) continue;
      scopes[static_cast<std::size_t>(place.row)] = scope.substr(0, scope.find('.'));
    }
    // A sum between two modules belongs to the first.
    for (std::size_t row = 1; row + 1 < scopes.size(); ++row) {
      if (scopes[row].empty()) scopes[row] = scopes[row - 1];
    }
    return scopes;
  }

  void draw_bands() {
    const std::vector<std::string> scopes = row_scopes();
    bool dark = false;
    for (std::size_t first = 0; first < scopes.size();) {
      const std::size_t page = page_of(first);
      std::size_t last = first + 1;
      while (last < scopes.size() && scopes[last] == scopes[first] && page_of(last) == page) ++last;
      if (!scopes[first].empty()) {
        const bool ends_page = last == scopes.size() || page_of(last) != page;
        const double top = row_top_[first] - kArrow / 2.0 - page_shift(page);
        const double bottom = (ends_page && last < scopes.size() ? gap_top_[last] + kTail
                               : ends_page                       ? row_top_[last] + kTail
                                                                 : row_top_[last] - kArrow / 2.0) -
                              page_shift(page);
        out_ += fmt::format(
            "<rect x=\"{:g}\" y=\"{:g}\" width=\"{:g}\" height=\"{:g}\" fill=\"{}\"/>\n"
            "<text class=\"band\" x=\"{:g}\" y=\"{:g}\">{}</text>\n",
            page_left(page), top, page_width_, bottom - top, dark ? "#eef2f7" : "#f8fafc",
            page_left(page) + 10, top + 18, drawing::escape(drawing::shorten(scopes[first], 13)));
        dark = !dark;
      }
      first = last;
    }
  }

  const Graph& graph_;
  const SvgOptions& options_;
  Content content_;
  Layered layered_;
  int head_height_ = 0;
  std::vector<std::pair<std::string_view, std::string_view>> legend_;  // family, colour
  std::vector<double> column_left_;   // of the boxes
  std::vector<double> column_right_;  // of the gutter
  std::vector<double> gap_top_;       // per row: of the gap above it
  std::vector<double> row_top_;       // per row, and the end
  std::vector<std::size_t> page_row_;  // per page: its first row
  double page_width_ = 0;
  double page_bottom_ = 0;
  std::vector<int> first_slot_;       // per row: below the top of the gap above it
  std::vector<double> entry_;         // per wire: x from the middle of its target
  std::vector<double> exit_;          // per net: x from the middle of its box
  std::vector<std::vector<std::size_t>> nets_of_boxes_;  // from left to right
  std::string out_;
};

}  // namespace

std::string to_svg(const Graph& graph, const SvgOptions& options) {
  return Drawing(graph, options).svg();
}

}  // namespace facet
