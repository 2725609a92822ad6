// Reductions, pooling and softmax.

#include "ir/ops/families.h"
#include "tests/cpu_kernels/harness.h"

namespace facet::testing {
namespace {

using ops::f32;

class Reduce : public ::testing::TestWithParam<const char*> {};
TEST_P(Reduce, FollowsTheOracle) {
  const Type wide = f32({1, 70, 17, 15});
  const Type batch = f32({3, 33, 14, 12});
  std::vector<Sample> samples;
  for (const Ints& axes : {Ints{2, 3}, Ints{1}, Ints{0}, Ints{3}, Ints{0, 2, 3}, Ints{1, 3},
                           Ints{0, 1, 2, 3}, Ints{0, 2}}) {
    samples.push_back({{wide}, {{"axes", axes}}});
    samples.push_back({{batch}, {{"axes", axes}, {"keepdims", false}}});
  }
  // A few elements of each result side by side, one of them with tails of vectors.
  samples.push_back({{f32({3, 5, 43, 2})}, {{"axes", Ints{3}}}});
  samples.push_back({{f32({2, 9, 600, 2})}, {{"axes", Ints{0, 3}}}});
  samples.push_back({{f32({3, 37, 8})}, {{"axes", Ints{2}}, {"keepdims", false}}});
  samples.push_back({{f32({1, 7, 5, 1})}, {{"axes", Ints{2, 3}}}});
  samples.push_back({{f32({40000})}, {{"axes", Ints{0}}}});
  samples.push_back({{f32({2, 2, 3, 2, 3, 2})}, {{"axes", Ints{0, 2, 4}}}});
  samples.push_back({{f32({2, 2, 3, 2, 3, 2})}, {{"axes", Ints{1, 3, 5}}}});
  // Sums of up to 40000 values in [-1, 1): their roundings in f32 add up.
  check_everywhere(GetParam(), samples, GetParam() == std::string("reduce_sum") ? 2e-4 : 2e-6);
}
INSTANTIATE_TEST_SUITE_P(Ops, Reduce,
                         ::testing::Values("reduce_mean", "reduce_sum", "reduce_max", "reduce_min"),
                         [](const auto& test) { return std::string(test.param); });

class Pooling : public ::testing::TestWithParam<const char*> {};
TEST_P(Pooling, FollowsTheOracle) {
  const auto sample = [](Shape shape, Ints kernel, Ints strides, Ints pads) {
    return Sample{{f32(std::move(shape))},
                  {{"kernel", std::move(kernel)},
                   {"strides", std::move(strides)},
                   {"pads", std::move(pads)}}};
  };
  check_everywhere(GetParam(), {sample({2, 70, 19, 23}, {3, 3}, {2, 2}, {1, 1, 1, 1}),
                                sample({1, 600, 7, 7}, {3, 2}, {1, 1}, {0, 1, 2, 0}),
                                sample({2, 1, 90, 100}, {2, 2}, {2, 2}, {0, 0, 0, 0}),
                                sample({1, 3000, 6, 7}, {3, 3}, {2, 2}, {1, 1, 1, 1}),
                                sample({1, 48, 9, 67}, {3, 3}, {2, 2}, {0, 0, 0, 0}),
                                sample({1, 17, 1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}),
                                sample({1, 3, 5, 4}, {5, 4}, {3, 3}, {4, 3, 4, 3})});
}
INSTANTIATE_TEST_SUITE_P(Ops, Pooling, ::testing::Values("max_pool", "avg_pool"),
                         [](const auto& test) { return std::string(test.param); });

TEST(Pooling, PaddingNeverWinsAndNanDoes) {
  Graph graph;
  const Value x =
      graph
          .create("input", {},
                  {{"name", std::string("x")}, {"type", std::string("f32[1, 2, 3, 3]")}})
          ->result();
  Node* node =
      graph.create("max_pool", {x},
                   {{"kernel", Ints{3, 3}}, {"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}});
  std::vector<float> values(18, -5.0f);
  values[9] = std::numeric_limits<float>::quiet_NaN();
  for (const char* layout : {"", "acdb"}) {
    Type in = x.type(), out = node->result_types()[0];
    in.layout = out.layout = layout;
    Placed from(in, Gaps::none), to(out, Gaps::none);
    from.write(HostTensor::from_floats({1, 2, 3, 3}, values));
    std::byte* const operand = from.data();
    std::byte* const result = to.data();
    cpu::lower_pooling(*node, {&from.view(), 1}, {&to.view(), 1})
        ->bind(*host_queue(), {&operand, 1}, {&result, 1}, nullptr)();
    const std::vector<double> pooled = to.read().to_doubles();
    for (std::size_t i = 0; i < 8; ++i) {
      if (i == 4) {
        EXPECT_TRUE(std::isnan(pooled[i])) << layout;
      } else {
        EXPECT_EQ(pooled[i], -5.0) << i << layout;
      }
    }
  }
}

TEST(Softmax, FollowsTheOracle) {
  const auto sample = [](Shape shape, std::int64_t axis) {
    return Sample{{f32(std::move(shape))}, {{"axis", axis}}, -6, 6};
  };
  const std::vector<Sample> samples{sample({3, 4, 49, 49}, -1), sample({3, 70, 12, 9}, 1),
                                    sample({2, 5, 9, 300}, 2),  sample({2, 9000}, 1),
                                    sample({6000, 3}, 0),       sample({7, 1}, 1)};
  check_everywhere("softmax", samples);
  for (const Sample& s : samples) {
    for (const DType dtype : kDtypes) {
      const Problem problem(find_op("softmax"), s, dtype, dtype);
      for (Arrangement how : arrangements(dtype)) {
        how.in_place = true;
        expect_like_oracle(problem, how);
      }
    }
  }
}

TEST(Softmax, LargeValuesDoNotOverflow) {
  const Sample sample{{f32({4, 33})}, {}, 500, 2000};
  expect_like_oracle({find_op("softmax"), sample, DType::f32, DType::f32}, {});
}

}  // namespace
}  // namespace facet::testing
