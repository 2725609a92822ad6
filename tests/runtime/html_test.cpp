#include "runtime/html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "ir/text.h"
#include "runtime/svg.h"
#include "runtime/svg_content.h"
#include "tests/runtime/xml_check.h"

namespace facet {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using test::occurrences;
using test::xml_error;

constexpr const char* kBefore = R"(graph "two" {
  param "w" : f32[6, 4, 1, 1] weight constant(0.0, 0.0)
  %0 = input() {name = "x", type = "f32[2, 4, 8, 8]"} : f32[2, 4, 8, 8] @ "x"
  %1 = parameter() {key = "w", type = "f32[6, 4, 1, 1]"} : f32[6, 4, 1, 1] @ "stem.conv"
  %2 = conv(%0, %1) : f32[2, 6, 8, 8] @ "stem.conv"
  %3 = relu(%2) : f32[2, 6, 8, 8] @ "stem.act"
  return "y" = %3
}
)";

/// Three results, each with a reader: one straight below, two elsewhere.
constexpr const char* kAfter = R"(graph "two" {
  param "w" : f32[12, 4, 1, 1] weight constant(0.0, 0.0)
  %0 = input() {name = "x", type = "f32[2, 4, 8, 8]"} : f32[2, 4, 8, 8]@acdb @ "x"
  %1 = parameter() {key = "w", type = "f32[12, 4, 1, 1]"} : f32[12, 4, 1, 1] @ "stem.b1.conv"
  %2:3 = conv_branches(%0, %1) {channels = [6, 2, 4]} : (f32[2, 6, 8, 8]@acdb, f32[2, 2, 8, 8]@acdb, f32[2, 4, 8, 8]@acdb) @ "stem.b1.conv"
  %3 = relu(%2.0) : f32[2, 6, 8, 8]@acdb @ "stem.act"
  %4 = tanh(%2.1) : f32[2, 2, 8, 8]@acdb @ "a<b>&\"c\""
  %5 = concat(%3, %4, %2.2) {axis = 1} : f32[2, 12, 8, 8]@acdb @ "join"
  return "y" = %5
}
)";

Graph after_graph() {
  Graph graph = parse_graph(kAfter);
  for (Node* node : graph.node_list()) {
    if (node->is("conv_branches")) {
      node->provenance().origins = {"stem.b1.conv", "stem.b2.conv", "stem.b3.conv", "stem.b1.bn"};
    }
    if (node->is("tanh")) node->provenance().origins = {"evil.<script>alert(1)</script>"};
  }
  return graph;
}

ProgramInfo program(std::int64_t arena_bytes) {
  ProgramInfo info;
  info.batch = 2;
  info.arena_bytes = arena_bytes;
  info.concat_slices = 31;
  info.reorders = 17;
  info.remarks = {{Remark::Kind::applied, "fuse", "stem.b1.conv", "3 convs", "",
                   {"stem.b1.conv", "stem.b2.conv", "stem.b3.conv"}},
                  {Remark::Kind::missed, "fuse", "a<b>&\"c\"", "tanh+<i>", "it is <odd> & \"new\""}};
  return info;
}

std::string page() {
  return to_html(parse_graph(kBefore), after_graph(), program(6'291'456), program(2'500),
                 {.model = "two<&>", .precision = Precision::bf16, .stage = "after <all>"});
}

TEST(Html, IsAWellFormedPageOfItsOwn) {
  const std::string text = page();
  EXPECT_EQ(xml_error(text), "");
  EXPECT_TRUE(text.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
  EXPECT_EQ(occurrences(text, "<svg "), 2U);
  EXPECT_THAT(text, Not(HasSubstr("<?xml")));
  EXPECT_THAT(text, Not(HasSubstr("<script")));
  for (const char* link : {"href=", "src=", "@import"}) EXPECT_THAT(text, Not(HasSubstr(link)));
  // The name of SVG is the only address: nothing is fetched.
  EXPECT_EQ(occurrences(text, "://"), occurrences(text, "xmlns=\"http://www.w3.org/2000/svg\""));
}

TEST(Html, EveryIdIsUsedOnce) {
  const std::string text = page();
  std::set<std::string> ids;
  for (std::size_t at = text.find(" id=\""); at != std::string::npos; at = text.find(" id=\"", at + 1)) {
    const std::size_t first = at + 5;
    EXPECT_TRUE(ids.insert(text.substr(first, text.find('"', first) - first)).second);
  }
  EXPECT_TRUE(ids.contains("before-arrow"));
  EXPECT_TRUE(ids.contains("after-arrow"));
  for (std::size_t at = text.find("for=\""); at != std::string::npos; at = text.find("for=\"", at + 1)) {
    EXPECT_TRUE(ids.contains(text.substr(at + 5, text.find('"', at + 5) - at - 5)));
  }
}

TEST(Html, SaysWhatWasMadeAndWhy) {
  const std::string text = page();
  for (const char* part :
       {"<h1>two&lt;&amp;&gt;</h1>", "bf16, batch 2", "6.3 MB", "2.5 KB", "<td>31</td>", "<td>17</td>",
        "<td>nodes that run</td><td>2</td><td>4</td>", "3 convs", "after &lt;all&gt;",
        "<td>stem.b1.conv</td><td>stem.b[1-3].conv (3)</td>", "a&lt;b&gt;&amp;&quot;c&quot;",
        "tanh+&lt;i&gt;", "it is &lt;odd&gt; &amp; &quot;new&quot;"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST(Html, DrawingsShowOriginsLayoutsAndBytes) {
  const std::string text = page();
  for (const char* part : {">f32 [2, 6, 8, 8], 3.1 KB<", ">f32 [2, 6, 8, 8] NHWC, 3.1 KB<",
                           ">f32 [2, 2, 8, 8] NHWC, 1.0 KB<", ">fused: b[1-3].conv (3), b1.bn<",
                           "stands for: stem.b2.conv", "stands for: evil.&lt;script&gt;"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST(Svg, ResultsOfOneNodeAreLinesOfTheirOwn) {
  const std::string svg = to_svg(after_graph());
  EXPECT_EQ(xml_error(svg), "");
  EXPECT_THAT(svg, HasSubstr("3 x conv 1x1"));
  std::set<std::string> starts;
  const std::string from_branches = "<title>stem.b1.conv -&gt; ";
  for (std::size_t at = svg.find("d=\"M"); at != std::string::npos; at = svg.find("d=\"M", at + 1)) {
    const std::size_t title = svg.find("<title>", at);
    if (svg.compare(title, from_branches.size(), from_branches) != 0) continue;
    starts.insert(svg.substr(at + 4, svg.find(' ', at) - at - 4));
  }
  EXPECT_EQ(starts.size(), 3U) << svg;
  std::set<std::string> heights;  // of the three types' lines
  for (const char* type : {">f32[2, 6, 8, 8]@acdb<", ">f32[2, 2, 8, 8]@acdb<", ">f32[2, 4, 8, 8]@acdb<"}) {
    for (std::size_t at = svg.find(type); at != std::string::npos; at = svg.find(type, at + 1)) {
      const std::size_t y = svg.rfind(" y=\"", at);
      heights.insert(svg.substr(y, svg.find('"', y + 4) - y));
    }
  }
  // Three lines here, one of x, and one of relu and tanh, which stand side by side.
  EXPECT_EQ(heights.size(), 5U);
}

TEST(Svg, OnlyAPageHasBytesAndOrigins) {
  const std::string svg = to_svg(after_graph());
  EXPECT_THAT(svg, Not(HasSubstr("fused: ")));
  EXPECT_THAT(svg, Not(HasSubstr("NHWC")));
  EXPECT_TRUE(svg.starts_with("<?xml"));
}

TEST(TypeWords, NameLayoutAndSize) {
  EXPECT_EQ(drawing::type_in_words(parse_type("f32[1, 48, 31, 31]@acdb")),
            "f32 [1, 48, 31, 31] NHWC, 185 KB");
  EXPECT_EQ(drawing::type_in_words(parse_type("bf16[N, 48]")), "bf16 [N, 48]");
  EXPECT_EQ(drawing::size_in_words(999), "999 bytes");
  EXPECT_EQ(drawing::size_in_words(1'000), "1.0 KB");
  EXPECT_EQ(drawing::size_in_words(999'600), "1.0 MB");
  EXPECT_EQ(drawing::size_in_words(95'143'000), "95 MB");
}

}  // namespace
}  // namespace facet
