#include "backends/cpu/kernels/gather.h"

#include "ir/ops/families.h"
#include "ir/ops/indexing.h"
#include "tests/cpu_kernels/harness.h"

namespace facet::testing {
namespace {

using ops::f32;
using ops::i64;

Attributes along(std::int64_t axis) { return {{"axis", axis}}; }

/// Copies are exact, sums of f32 nearly so.
void expect_everywhere(std::string_view name, const std::vector<Sample>& more, DType dtype,
                       double slack) {
  const OpDef& op = find_op(name);
  std::vector<Sample> samples = op.samples.make();
  samples.insert(samples.end(), more.begin(), more.end());
  for (const Sample& sample : samples) {
    const Problem problem(op, sample, dtype, dtype);
    for (Arrangement how : arrangements(dtype)) {
      for (const char* layout : {"", "dbca"}) {
        how.result_layout = layout;
        how.threads = how.gaps == Gaps::none ? 2 : 1;
        expect_like_oracle(problem, how, slack);
      }
    }
  }
}

TEST(Gather, AlongEveryAxis) {
  const std::vector<Sample> more{{{f32({40, 70}), i64({33})}, along(0), -40, 45},
                                 {{f32({3, 9, 20, 17}), i64({30})}, along(1), -9, 9},
                                 {{f32({3, 9, 20, 17}), i64({2, 5})}, along(-1), -20, 17},
                                 {{f32({50, 3}), i64({2, 3, 100})}, along(0), -60, 60},
                                 {{f32({9000}), i64({2})}, along(0), 0, 9000},
                                 {{f32({2, 9000}), i64({3})}, along(0), -2, 3}};
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    expect_everywhere("gather", more, dtype, 0);
  }
}

TEST(Gather, ScatterAddAlongEveryAxis) {
  const auto into = [](std::int64_t axis, std::int64_t extent) {
    return Attributes{{"axis", axis}, {"extent", extent}};
  };
  expect_everywhere("scatter_add",
                    {{{f32({33, 70}), i64({33})}, into(0, 9), -9, 12},
                     {{f32({3, 30, 20, 17}), i64({30})}, into(1, 4), -4, 4},
                     {{f32({3, 2, 2, 5}), i64({2, 5})}, into(2, 6), -8, 8},
                     {{f32({40, 300}), i64({40})}, into(0, 100), 0, 100}},
                    DType::f32, 2e-5);
}

/// Integers and truth values move as they are, by narrow indices too.
TEST(Gather, AnyDtype) {
  for (const DType dtype : {DType::i64, DType::i32, DType::u8, DType::boolean}) {
    const Sample sample{{Type{dtype, {7, 5}, {}}, Type{DType::i32, {4}, {}}}, along(0), -9, 9};
    const Problem problem(find_op("gather"), sample, DType::f32, DType::f32);
    expect_like_oracle(problem, {}, 0);
  }
}

TEST(Gather, SumsOfOtherDtypesAreLeftToTheDecomposition) {
  Graph graph;
  const auto input = [&](const char* name, const char* type) {
    return graph.create("input", {}, {{"name", std::string(name)}, {"type", std::string(type)}})
        ->result();
  };
  const Value at = input("at", "i64[3]");
  const Attributes attributes{{"extent", std::int64_t{5}}};
  EXPECT_TRUE(
      cpu::takes_gather(*graph.create("scatter_add", {input("x", "f32[3]"), at}, attributes)));
  EXPECT_FALSE(
      cpu::takes_gather(*graph.create("scatter_add", {input("y", "i64[3]"), at}, attributes)));
  EXPECT_TRUE(cpu::takes_gather(*graph.create("gather", {input("z", "i8[3]"), at})));
}

}  // namespace
}  // namespace facet::testing
