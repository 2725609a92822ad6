// Packing of weights into blocks, by Facet's own kernel: every element where the layout says.

#include <gtest/gtest.h>

#include "backends/cpu/cpu_backend.h"
#include "tests/cpu/run_node.h"
#include "tests/support/fill.h"

namespace facet::testing {
namespace {

struct Case {
  Shape shape;
  Layout layout;
};

class WeightsReorder : public ::testing::TestWithParam<Case> {};

/// Bits of element (o, c, tap) of a layout with blocks of `block` along the major axis, pairs along
/// the other, whose extent is padded to `padding`.
std::int64_t place(const Case& test, std::int64_t o, std::int64_t c, std::int64_t tap) {
  const auto extents = static_extents(test.shape);
  const bool reverse = test.layout[0] == 'B';
  const std::int64_t taps = extents.size() == 4 ? extents[2] * extents[3] : 1;
  const std::int64_t padding = extents.size() == 4 ? 2 : 32;
  const std::int64_t block = std::stoll(test.layout.substr(extents.size() == 4 ? 4 : 5));
  const std::int64_t major = reverse ? c : o;
  const std::int64_t minor = reverse ? o : c;
  const std::int64_t minors = extents[reverse ? 0 : 1];
  const std::int64_t pairs = (minors + padding - 1) / padding * padding / 2;
  return (((major / block * taps + tap) * pairs + minor / 2) * block + major % block) * 2 +
         minor % 2;
}

TEST_P(WeightsReorder, PutsEveryElementInItsPlaceAndZerosBetween) {
  const Case& test = GetParam();
  const auto backend = make_cpu_backend();
  const Type type{DType::bf16, test.shape, {}};
  const auto extents = static_extents(test.shape);
  const Memory from = store(uniform("w", extents, 0.5, 1), dense_view(type));
  Graph graph;
  const Value x =
      graph.create("input", {}, {{"name", std::string("x")}, {"type", to_string(type)}})->result();
  Node* node = graph.create("reorder", {x}, {{"layout", test.layout}});
  const Memory to = allocate(dense_view(with_layout(type, test.layout)));
  std::memset(to.data(), 0xFF, span_bytes(to.view));
  EXPECT_EQ(run_kernel(*backend, *node, std::span(&from, 1), to).rfind("pack_weights:", 0), 0U);
  const std::int64_t taps = extents.size() == 4 ? extents[2] * extents[3] : 1;
  const auto* const source = reinterpret_cast<const std::uint16_t*>(from.data());
  const auto* const packed = reinterpret_cast<const std::uint16_t*>(to.data());
  std::vector<std::uint16_t> expected(span_bytes(to.view) / 2, 0);
  for (std::int64_t i = 0; i < element_count(extents); ++i) {
    const std::int64_t at = place(test, i / taps / extents[1], i / taps % extents[1], i % taps);
    expected.at(static_cast<std::size_t>(at)) = source[i];
  }
  for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(packed[i], expected[i]) << i;
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, WeightsReorder,
    ::testing::Values(Case{{64, 32, 3, 3}, "AcdB64a2b"}, Case{{70, 34, 3, 3}, "AcdB64a2b"},
                      Case{{48, 19, 3, 2}, "AcdB48a2b"}, Case{{100, 6, 1, 1}, "AcdB32a2b"},
                      Case{{64, 64, 3, 3}, "BcdA64b2a"}, Case{{33, 70, 3, 3}, "BcdA32b2a"},
                      Case{{20, 50, 1, 1}, "BcdA48b2a"}, Case{{70, 41}, "AB16b64a2b"},
                      Case{{64, 128}, "AB16b32a2b"}),
    [](const auto& test) { return test.param.layout + "_" + std::to_string(test.index); });

}  // namespace
}  // namespace facet::testing
