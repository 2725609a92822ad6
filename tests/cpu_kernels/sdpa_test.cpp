// The attention kernel on larger shapes than the op's own samples: every instruction set this
// machine runs, views of every kind, one and two threads, against the float64 oracle.

#include <omp.h>

#include "backends/cpu/kernels/sdpa_plan.h"
#include "tests/cpu_kernels/harness.h"
#include "tests/support/fill.h"

namespace facet::testing {
namespace {

struct Placement {
  const cpu::SdpaLoops* loops = nullptr;
  DType dtype = DType::f32;
  DType extras_dtype = DType::f32;
  Layout layout;  ///< of maps
  Gaps gaps = Gaps::none;
  int threads = 1;
};

std::string describe(const Placement& run) {
  return fmt::format("{} {} (extras {}) layout '{}', gaps {}, {} threads", run.loops->name,
                     to_string(run.dtype), to_string(run.extras_dtype), run.layout,
                     static_cast<int>(run.gaps), run.threads);
}

/// An sdpa and its inputs. The operands of `same` are one value.
class Attention {
 public:
  explicit Attention(Sample sample, bool same = false) : sample_(std::move(sample)), same_(same) {}

  /// What the oracle makes of operands rounded to the run's dtypes.
  struct Problem {
    Graph graph;
    TensorMap inputs;
    std::vector<std::string> names;  ///< of the operands' inputs
    HostTensor expected;
    const Node& node() const { return *graph.outputs()[0].value.node; }
  };

  Problem problem(DType dtype, DType extras_dtype) const {
    Problem problem;
    std::vector<Value> operands;
    for (std::size_t i = 0; i < sample_.operands.size(); ++i) {
      problem.names.push_back(fmt::format("x{}", same_ && i < 3 ? 0 : i));
      const std::string& name = problem.names.back();
      if (same_ && i > 0 && i < 3) {
        operands.push_back(operands[0]);
        continue;
      }
      Type type = sample_.operands[i];
      type.dtype = i < 3 ? dtype : extras_dtype;
      operands.push_back(
          problem.graph.create("input", {}, {{"name", name}, {"type", to_string(type)}})->result());
      HostTensor values = uniform(name, static_extents(type.shape), sample_.lo, sample_.hi);
      for (const auto& [operand, place, value] : changes_) {
        if (operand == static_cast<int>(i)) values.as_mutable<float>()[place] = value;
      }
      problem.inputs[name] = values.cast(type.dtype);
    }
    Node* node = problem.graph.create(find_op("sdpa"), operands, sample_.attributes);
    problem.graph.outputs() = {{"y", node->result()}};
    problem.expected = evaluate(problem.graph, problem.inputs, {}).at("y");
    return problem;
  }

  /// Puts `value` into an element of an operand.
  Attention& set(int operand, std::int64_t place, float value) {
    changes_.emplace_back(operand, place, value);
    return *this;
  }

 private:
  Sample sample_;
  bool same_;
  std::vector<std::tuple<int, std::int64_t, float>> changes_;
};

/// Expects that nothing was written outside of the result and the scratch.
HostTensor run_once(const Attention::Problem& problem, const Placement& how) {
  SCOPED_TRACE(describe(how));
  const Node& node = problem.node();
  std::map<std::string, Placed> placed;
  std::vector<View> views;
  std::vector<std::byte*> addresses;
  for (int i = 0; i < node.operand_count(); ++i) {
    Type type = node.operand(i).type();
    if (type.rank() == 4 && i < 3) type.layout = how.layout;
    const std::string& name = problem.names[static_cast<std::size_t>(i)];
    Placed& operand = placed.try_emplace(name, type, how.gaps).first->second;
    operand.write(problem.inputs.at(name));
    views.push_back(operand.view());
    addresses.push_back(operand.data());
  }
  Type type = node.result_types()[0];
  if (type.rank() == 4) type.layout = how.layout;
  Placed result(type, how.gaps);
  std::byte* const to = result.data();
  const std::unique_ptr<Kernel> kernel =
      cpu::lower_sdpa(node, views, {&result.view(), 1}, *how.loops);
  constexpr std::size_t kGuard = 64;
  const std::size_t bytes = kernel->scratch_bytes();
  // What lies in the scratch before a run is not to count, NaN or not.
  std::vector<std::byte> scratch(bytes + 2 * kGuard, std::byte{0xFF});
  const int before = omp_get_max_threads();
  omp_set_num_threads(how.threads);
  kernel->bind(*host_queue(), addresses, {&to, 1}, scratch.data() + kGuard)();
  omp_set_num_threads(before);
  EXPECT_TRUE(result.keeps_gaps());
  for (std::size_t i = 0; i < kGuard; ++i) {
    EXPECT_EQ(scratch[i], std::byte{0xFF});
    EXPECT_EQ(scratch[bytes + kGuard + i], std::byte{0xFF});
  }
  return result.read();
}

/// ||a - b|| / ||b||; infinite if a value is NaN in one only.
double error_of(const HostTensor& a, const HostTensor& b) {
  double difference = 0, norm = 0;
  for (std::int64_t i = 0; i < b.element_count(); ++i) {
    if (std::isnan(a.at(i)) != std::isnan(b.at(i))) return HUGE_VAL;
    if (std::isnan(b.at(i))) continue;
    difference += (a.at(i) - b.at(i)) * (a.at(i) - b.at(i));
    norm += b.at(i) * b.at(i);
  }
  return std::sqrt(difference / norm);
}

class SdpaKernel : public OnLoops {
 protected:
  /// In all dtypes, layouts and gaps; one and two threads give the same bits.
  void check(const Attention& attention, double f32_tolerance = 2e-6,
             double bf16_tolerance = 6e-3) const {
    const cpu::SdpaLoops& loops = cpu::sdpa_loops(*GetParam());
    const std::pair<DType, DType> dtypes[] = {
        {DType::f32, DType::f32}, {DType::bf16, DType::bf16}, {DType::bf16, DType::f32}};
    for (const auto& [dtype, extras_dtype] : dtypes) {
      const Attention::Problem problem = attention.problem(dtype, extras_dtype);
      const bool is_map = problem.node().operand(0).type().rank() == 4;
      for (const char* layout : {"", "acdb"}) {
        if (!is_map && *layout != '\0') continue;
        for (const Gaps gaps : {Gaps::none, Gaps::one_axis, Gaps::all_axes}) {
          Placement how{&loops, dtype, extras_dtype, layout, gaps, 1};
          const HostTensor one = run_once(problem, how);
          EXPECT_LE(error_of(one, problem.expected),
                    dtype == DType::f32 ? f32_tolerance : bf16_tolerance)
              << describe(how);
          if (gaps == Gaps::all_axes) continue;
          how.threads = 2;
          const HostTensor two = run_once(problem, how);
          EXPECT_EQ(0,
                    std::memcmp(one.data(), two.data(), static_cast<std::size_t>(one.byte_count())))
              << "threads change the result: " << describe(how);
        }
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(All, SdpaKernel, every_loops(), name_of_loops);

Type f32(Shape shape) { return {DType::f32, std::move(shape), {}}; }

/// Heads that follow each other head by head: query, key, value.
Attributes packed(std::int64_t heads, std::int64_t d, std::int64_t dv, std::int64_t channel_axis,
                  Strings extras = {}) {
  const std::int64_t step = 2 * d + dv;
  return {{"heads", heads},
          {"query", Ints{0, step, d}},
          {"key", Ints{d, step, d}},
          {"value", Ints{2 * d, step, dv}},
          {"channel_axis", channel_axis},
          {"extras", std::move(extras)}};
}

/// Three terms, their scales, places of the value, scales and shift of the output.
Attention all_terms(std::int64_t images, std::int64_t height, std::int64_t width,
                    std::int64_t heads, std::int64_t d, std::int64_t dv) {
  const Type qkv = f32({images, heads * (2 * d + dv), height, width});
  const std::int64_t distances = 2 * height * width - 1;
  return Attention({{qkv, qkv, qkv, f32({3, heads}), f32({distances, d}), f32({distances, d}),
                     f32({distances, dv}), f32({2, heads * dv}), f32({heads * dv})},
                    packed(heads, d, dv, 1,
                           {"score_scale", "relative_query", "relative_key", "relative_value",
                            "output_scale", "output_shift"})},
                   /*same=*/true);
}

TEST_P(SdpaKernel, AllTermsOnAMapOf14) { check(all_terms(1, 14, 14, 2, 16, 32)); }
TEST_P(SdpaKernel, AllTermsWithKeysThatFillNoPanel) { check(all_terms(2, 5, 7, 3, 5, 17)); }
TEST_P(SdpaKernel, AllTermsWithKeysThatFillPanels) { check(all_terms(2, 4, 8, 2, 70, 65)); }

TEST_P(SdpaKernel, InterleavedResults) {
  for (const std::int64_t axis : {1, -1}) {
    const Type qkv = axis == 1 ? f32({2, 3 * 32, 5, 7}) : f32({2, 35, 3 * 32});
    Attributes attributes = packed(3, 8, 16, axis, {"relative_query", "relative_value"});
    attributes.set("interleaved", true);
    check(Attention({{qkv, qkv, qkv, f32({69, 8}), f32({69, 16})}, attributes}, /*same=*/true));
  }
}

TEST_P(SdpaKernel, OtherNumbersOfQueriesThanOfKeys) {
  for (const std::int64_t queries : {1, 3, 30, 600}) {
    const std::int64_t keys = 75, d = 7, dv = 9;
    for (const std::int64_t axis : {1, -1}) {
      const auto tokens = [axis](std::int64_t count, std::int64_t channels) {
        return axis == 1 ? f32({2, channels, count}) : f32({2, count, channels});
      };
      const std::int64_t distances = queries + keys - 1;
      check(Attention({{tokens(queries, 2 * d), tokens(keys, 2 * d), tokens(keys, 2 * dv),
                        f32({distances, d}), f32({distances, d}), f32({distances, dv})},
                       {{"heads", std::int64_t{2}},
                        {"query", Ints{0, d, d}},
                        {"key", Ints{0, d, d}},
                        {"value", Ints{0, dv, dv}},
                        {"channel_axis", axis},
                        {"scale", 0.5},
                        {"extras", Strings{"relative_query", "relative_key", "relative_value"}}}}));
    }
  }
}

TEST_P(SdpaKernel, OneToken) {
  const Type qkv = f32({3, 1, 12});
  check(Attention({{qkv, qkv, qkv, f32({1, 4}), f32({1, 4}), f32({1, 4})},
                   packed(1, 4, 4, -1, {"relative_query", "relative_key", "relative_value"})}));
}

TEST_P(SdpaKernel, HeadsOf64On197Tokens) {
  const Type qkv = f32({1, 197, 384});
  Attributes attributes = packed(2, 64, 64, -1);
  attributes.set("scale", 0.125);
  check(Attention({{qkv, qkv, qkv}, attributes}, /*same=*/true));
}

TEST_P(SdpaKernel, ClampedHeadOnAMapOf7) {
  Attributes attributes = packed(1, 64, 96, 1);
  attributes.set("query", Ints{0, 64, 64});
  attributes.set("key", Ints{0, 64, 64});
  attributes.set("value", Ints{0, 96, 96});
  attributes.set("clamp", Doubles{-1.0, 0.5});
  const Type q = f32({2, 64, 7, 7});
  check(Attention({{q, q, f32({2, 96, 7, 7})}, attributes}));
}

TEST_P(SdpaKernel, TablesOfRowsAndColumns) {
  for (const auto& [height, width] : {std::pair{14, 14}, {3, 21}, {17, 2}}) {
    const Type qkv = f32({1, 2 * 32, height, width});
    Attributes attributes = packed(
        2, 8, 16, 1,
        {"score_scale", "relative_height", "relative_width", "output_scale", "output_shift"});
    attributes.set("map", Ints{height, width});
    check(Attention({{qkv, qkv, qkv, f32({2, 2}), f32({2 * height - 1, 8}), f32({2 * width - 1, 8}),
                      f32({1, 32}), f32({32})},
                     attributes},
                    /*same=*/true));
  }
}

TEST_P(SdpaKernel, BiasOfEveryBroadcast) {
  const Type qkv = f32({2, 37, 2 * 24});
  for (const Shape& shape : {Shape{2, 2, 37, 37}, Shape{2, 1, 1, 37}, Shape{2, 37, 1}, Shape{37}}) {
    check(Attention({{qkv, qkv, qkv, f32(shape)}, packed(2, 8, 8, -1, {"bias"})}));
  }
}

// Later keys are out of bounds, and one place of the query asks for them all: NaN in the oracle.
TEST_P(SdpaKernel, InfiniteBiasHidesKeys) {
  constexpr float kHidden = -std::numeric_limits<float>::infinity();
  const Type qkv = f32({1, 33, 24});
  Attention attention({{qkv, qkv, qkv, f32({33, 33})}, packed(1, 8, 8, -1, {"bias"})});
  for (int i = 0; i < 33; ++i) {
    for (int j = i == 20 ? 0 : i + 1; j < 33; ++j) attention.set(3, i * 33 + j, kHidden);
  }
  check(attention);
}

TEST_P(SdpaKernel, LargeScoresDoNotOverflow) {
  const Type qkv = f32({1, 40, 24});
  Attributes attributes = packed(1, 8, 8, -1);
  attributes.set("scale", 1000.0);
  check(Attention({{qkv, qkv, qkv}, attributes}), 1e-3, 2e-1);
}

TEST_P(SdpaKernel, ANaNReachesWhoeverReadsIt) {
  const Type qkv = f32({2, 40, 24});
  Attention attention({{qkv, qkv, qkv}, packed(1, 8, 8, -1)});
  attention.set(0, 24 * 3, std::numeric_limits<float>::quiet_NaN());  // query 3 of image 0
  check(attention);
}

TEST(Sdpa, ReadsBf16PairsWhereTheMachineMultipliesThem) {
  if (cpu::avx512_bf16_loops() == nullptr) GTEST_SKIP() << "not compiled in";
  EXPECT_NE(cpu::sdpa_loops(*cpu::avx512_bf16_loops()).pair_product, nullptr);
  EXPECT_EQ(cpu::sdpa_loops(*cpu::avx512_loops()).pair_product, nullptr);
  EXPECT_STREQ(cpu::sdpa_loops(cpu::vector_loops()).name, cpu::vector_loops().name);
}

}  // namespace
}  // namespace facet::testing
