#include <gtest/gtest.h>

#include "backends/reference/reference.h"
#include "tests/support/fill.h"
#include "tests/support/golden.h"
#include "tests/zoo/cases.h"
#include "zoo/zoo.h"

namespace facet::zoo {
namespace {

class GoldenEval : public ::testing::TestWithParam<ZooCase> {};

TEST_P(GoldenEval, Float64AgreesTo1em9) {
  const testing::GoldenCase golden = testing::read_golden(GetParam().file);
  Graph graph = build(GetParam().model, GetParam().settings);
  std::map<std::string, testing::Digest> expected = golden.outputs;
  expected.insert(golden.taps.begin(), golden.taps.end());
  std::vector<std::string> taps;
  for (const auto& [name, digest] : golden.taps) taps.push_back(name);
  graph.promote_taps(taps);

  const TensorMap found =
      evaluate(graph, testing::fill_inputs(graph, golden.inputs.at("input").at(0)),
               testing::fill_parameters(graph));
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, digest] : expected) {
    ASSERT_TRUE(found.contains(name)) << name;
    EXPECT_LE(testing::digest_error(digest, found.at(name)).worst(), 1e-9) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenEval, ::testing::ValuesIn(zoo_cases()),
                         [](const auto& test) { return test.param.file; });

}  // namespace
}  // namespace facet::zoo
