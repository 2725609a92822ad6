#include "runtime/svg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "ir/dsl.h"
#include "runtime/svg_layout.h"
#include "tests/runtime/xml_check.h"
#include "zoo/zoo.h"

namespace facet {
namespace {

using test::occurrences;
using test::xml_error;
using drawing::Layered;
using drawing::Route;
using drawing::Wire;
using drawing::Wiring;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(XmlCheck, FindsWhatIsWrong) {
  EXPECT_EQ(xml_error("<a b=\"1\"><c/>x &amp; y</a>"), "");
  for (const char* wrong : {"<a><b></a></b>", "<a b=1/>", "<a>&nbsp;</a>", "<a/><b/>", "<a", "<a>",
                            "<a b=\"1\" b=\"2\"/>", "<a b=\"<\"/>"}) {
    EXPECT_NE(xml_error(wrong), "") << wrong;
  }
}

Graph residual_network() {
  Network network("res<&\"id\"ual>\x01\xC3");
  const Tensor x = network.input("image", {"N", 8, 16, 16});
  const Scope block = network.root() / "block";
  const Tensor y = relu(block.conv("first", x, {.out = 8, .kernel = 3, .stride = 2, .padding = 1}));
  const Tensor side = block.conv("side", x, {.out = 8, .stride = 2});
  network.output("sum", block.conv("second", y, {.out = 8, .kernel = 3, .padding = 1}) + side);
  return network.finish();
}

TEST(Svg, SaysWhatTheGraphSays) {
  const std::string svg = to_svg(residual_network(), {.parameters = false, .subtitle = "after <none>"});
  EXPECT_EQ(xml_error(svg), "");
  for (const char* part : {"conv 3x3 /2", "block.first", "weight [8, 8, 3, 3] + 1 more", "f32[N, 8, 8, 8]",
                           ">image<", ">sum<", "after &lt;none&gt;", "res&lt;&amp;&quot;id&quot;ual&gt;??"}) {
    EXPECT_THAT(svg, HasSubstr(part));
  }
  EXPECT_EQ(occurrences(svg, "<g>"), 7U);  // input, three convs, relu, add, output
  EXPECT_EQ(occurrences(svg, "<path class=\"wire"), 7U);
  EXPECT_THAT(svg, Not(HasSubstr(">block.first.weight<")));
}

TEST(Svg, ParametersAreDrawnWhenAsked) {
  const std::string svg = to_svg(residual_network(), {.parameters = true, .subtitle = {}});
  EXPECT_EQ(xml_error(svg), "");
  EXPECT_EQ(occurrences(svg, "<g>"), 13U);
  EXPECT_THAT(svg, HasSubstr(">block.first.weight<"));
}

TEST(Svg, AnEmptyGraphIsADocument) { EXPECT_EQ(xml_error(to_svg(Graph("empty"))), ""); }

TEST(Svg, ZooNetworksAreDrawnWhole) {
  for (const char* name : {"lscnn", "dcr", "mla_iresnet100"}) {
    const Graph graph = zoo::build(name);
    const std::string svg = to_svg(graph);
    EXPECT_EQ(xml_error(svg), "") << name;
    std::size_t drawn = graph.outputs().size();
    for (const auto& node : graph.nodes()) drawn += node->is("parameter") || node->is("constant") ? 0 : 1;
    EXPECT_EQ(occurrences(svg, "<g>"), drawn) << name;
  }
}

/// Checks what makes a drawing readable: no two boxes in one place, no line through a box, no two
/// values on one line.
void expect_sound(const Wiring& wiring, const Layered& layered) {
  std::map<std::pair<int, int>, int> cells;
  for (int box = 0; box < wiring.boxes; ++box) {
    const auto& cell = layered.cells[static_cast<std::size_t>(box)];
    ASSERT_TRUE(cells.emplace(std::pair(cell.column, cell.row), box).second) << "box " << box;
  }
  // Vertical lines in columns and gutters by gap, horizontal ones in gaps by slot.
  std::map<std::tuple<int, int, int>, int> tracks;  // column, track, gap -> net
  std::map<std::pair<int, int>, std::map<int, std::pair<int, int>>> slots;  // gap, slot -> net -> columns
  for (std::size_t w = 0; w < wiring.wires.size(); ++w) {
    const Wire& wire = wiring.wires[w];
    const auto& from = layered.cells[static_cast<std::size_t>(wire.from)];
    const auto& to = layered.cells[static_cast<std::size_t>(wire.to)];
    const Route& route = layered.routes[w];
    ASSERT_LT(from.row, to.row);
    const auto column_is_free = [&](int column) {
      for (int row = from.row + 1; row < to.row; ++row) {
        EXPECT_FALSE(cells.contains({column, row})) << "wire " << w << " runs through a box";
      }
    };
    const auto line = [&](int gap, int slot, int a, int b) {
      ASSERT_GE(slot, 0);
      ASSERT_LT(slot, layered.slot_counts[static_cast<std::size_t>(gap)]);
      auto& span = slots[{gap, slot}].try_emplace(wire.net, std::min(a, b), std::max(a, b)).first->second;
      span = {std::min({span.first, a, b}), std::max({span.second, a, b})};
    };
    switch (route.way) {
      case Route::Way::straight:
        EXPECT_EQ(from.column, to.column);
        column_is_free(from.column);
        break;
      case Route::Way::over:
        EXPECT_EQ(from.row + 1, to.row);
        line(to.row, route.entry_slot, from.column, to.column);
        break;
      case Route::Way::down_over:
        column_is_free(from.column);
        line(to.row, route.entry_slot, from.column, to.column);
        break;
      case Route::Way::over_down:
        column_is_free(to.column);
        line(from.row + 1, route.exit_slot, from.column, to.column);
        break;
      case Route::Way::track:
        ASSERT_LT(route.track, layered.track_counts[static_cast<std::size_t>(from.column)]);
        for (int gap = from.row + 1; gap <= to.row; ++gap) {
          const auto [it, is_new] = tracks.emplace(std::tuple(from.column, route.track, gap), wire.net);
          EXPECT_EQ(it->second, wire.net) << "two values share a track";
        }
        line(from.row + 1, route.exit_slot, from.column, from.column);
        line(to.row, route.entry_slot, from.column, to.column);
        break;
    }
  }
  for (const auto& [place, spans] : slots) {
    int end = -1;
    std::vector<std::pair<int, int>> sorted;
    for (const auto& [net, span] : spans) sorted.push_back(span);
    std::ranges::sort(sorted);
    for (const auto& [first, last] : sorted) {
      EXPECT_GT(first, end - 1) << "two values share a slot in gap " << place.first;
      end = std::max(end, last);
    }
  }
}

TEST(SvgLayout, RandomGraphsAreSound) {
  std::mt19937 random(11);
  for (int trial = 0; trial < 200; ++trial) {
    Wiring wiring;
    wiring.boxes = 2 + static_cast<int>(random() % 60);
    for (int box = 1; box < wiring.boxes; ++box) {
      std::set<int> sources;
      const int count = static_cast<int>(random() % 4);
      for (int i = 0; i < count; ++i) {
        const int reach = random() % 3 == 0 ? box : std::min(box, 4);
        sources.insert(box - 1 - static_cast<int>(random() % static_cast<unsigned>(reach)));
      }
      for (const int source : sources) wiring.wires.push_back({source, box, source});
    }
    if (trial % 2 == 1) {
      wiring.late.assign(static_cast<std::size_t>(wiring.boxes), true);
      for (const Wire& wire : wiring.wires) wiring.late[static_cast<std::size_t>(wire.to)] = false;
    }
    expect_sound(wiring, drawing::arrange(wiring));
  }
}

TEST(SvgLayout, ALongPathIsStraightAndABranchStandsBesideIt) {
  // 0 -> 1 -> 2 -> 3 -> 4 with 1 -> 5 -> 4 and a jump 0 -> 3.
  const Wiring wiring{6,
                      {{0, 1, 0}, {1, 2, 1}, {2, 3, 2}, {0, 3, 0}, {1, 4, 1}, {3, 5, 3}, {4, 5, 4}},
                      {}};
  const Layered layered = drawing::arrange(wiring);
  expect_sound(wiring, layered);
  for (const int box : {0, 1, 2, 3, 5}) EXPECT_EQ(layered.cells[static_cast<std::size_t>(box)].column, 0);
  EXPECT_EQ(layered.cells[4].column, 1);
  EXPECT_EQ(layered.routes[3].way, Route::Way::track);
  EXPECT_EQ(layered.routes[6].way, Route::Way::down_over);
}

}  // namespace
}  // namespace facet
