#include "backends/cpu/kernels/gate.h"

#include "ir/ops/families.h"
#include "tests/cpu_kernels/harness.h"

namespace facet::testing {
namespace {

using ops::f32;

/// A gate on x with `hidden` channels in its stages and a window of `kernel`.
Sample gate(const Shape& x, std::int64_t hidden, std::int64_t kernel, Strings stages,
            Strings extras, bool relu = false, std::string pooling = "mean") {
  const std::int64_t c = x[1].factor;
  Sample sample{{f32(x)},
                {{"stages", std::move(stages)},
                 {"extras", extras},
                 {"relu", relu},
                 {"pooling", std::move(pooling)}}};
  for (const std::string& name : extras) {
    Shape shape{1};
    if (name == "pixel_w1") shape = {c, hidden};
    if (name == "pixel_b1" || name == "pixel_w2" || name == "channel_b1") shape = {hidden};
    if (name == "channel_w1" || name == "channel_w2") shape = {hidden, c};
    if (name == "channel_b2") shape = {c};
    if (name == "window_w") shape = {2, kernel, kernel};
    if (name == "residual") shape = x;
    sample.operands.push_back(f32(shape));
  }
  return sample;
}

const Strings kDual{"pixel_w1", "pixel_b1", "pixel_w2", "pixel_b2", "channel_w1", "channel_w2"};
const Strings kMla{"channel_w1", "channel_w2", "gamma", "window_w", "residual"};

Sample dual(const Shape& x, std::int64_t hidden) {
  return gate(x, hidden, 0, {"pixels", "channels"}, kDual);
}
Sample mla(const Shape& x, std::int64_t hidden, std::int64_t kernel = 7) {
  return gate(x, hidden, kernel, {"channels", "window"}, kMla, true, "mean_max");
}

/// Maps wide, odd, tiny and large enough for two threads.
std::vector<Sample> networks() {
  return {dual({2, 48, 31, 31}, 3),
          dual({2, 192, 15, 15}, 12),
          dual({1, 370, 7, 7}, 23),
          dual({1, 41, 21, 20}, 1),
          dual({3, 1, 1, 1}, 1),
          dual({1, 640, 6, 5}, 40),
          mla({2, 64, 20, 17}, 4),
          mla({1, 64, 40, 57}, 4),
          mla({1, 33, 28, 28}, 2, 5),
          mla({2, 512, 7, 7}, 32),
          mla({3, 16, 1, 1}, 1, 3),
          gate({1, 80, 19, 18}, 5, 0, {"channels"}, {"channel_w1", "channel_w2"}),
          gate({2, 36, 23, 30}, 2, 7, {"window"}, {"window_w", "window_b"}),
          gate({2, 36, 23, 30}, 9, 0, {"pixels"}, {"pixel_w1", "pixel_w2", "residual"}, true)};
}

// The weights of the stage pixels are rounded to bf16 where x is: 2^-9 of a logit of a few units.
constexpr double kSlack = 4e-3;

TEST(Gate, OwnSamplesFollowTheOracle) { check_everywhere("gate", {}, kSlack); }

TEST(Gate, NetworksFollowTheOracleOnOneThreadAndTwo) {
  const OpDef& op = find_op("gate");
  for (const Sample& sample : networks()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Problem problem(op, sample, dtype, DType::f32);
      const double slack = dtype == DType::f32 ? 1e-5 : kSlack;
      for (const Gaps gaps : {Gaps::none, Gaps::one_axis}) {
        for (const char* layout : {"acdb", ""}) {
          Arrangement how{dtype, DType::f32, layout, layout, gaps, false, 1};
          expect_like_oracle(problem, how, slack);
          const Outcome one = problem.run(how);
          how.threads = 2;
          const Outcome two = problem.run(how);
          EXPECT_EQ(0, std::memcmp(one.actual.data(), two.actual.data(),
                                   static_cast<std::size_t>(one.actual.byte_count())))
              << "threads change the result: " << problem.text() << "\n"
              << describe(how);
        }
      }
    }
  }
}

TEST(Gate, OverItsOwnOperands) {
  const OpDef& op = find_op("gate");
  for (const DType dtype : kDtypes) {
    for (const Sample& sample : {dual({2, 48, 31, 31}, 3), mla({1, 64, 40, 57}, 4),
                                 gate({2, 36, 23, 30}, 9, 0, {"channels", "pixels"}, kDual)}) {
      const Problem problem(op, sample, dtype, DType::f32);
      for (Arrangement how : arrangements(dtype)) {
        how.in_place = true;
        how.threads = 2;
        expect_like_oracle(problem, how, dtype == DType::f32 ? 1e-5 : kSlack);
      }
    }
  }
}

TEST(Gate, ResidualsOfAnotherTypeAndLayout) {
  const OpDef& op = find_op("gate");
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Problem problem(op, mla({2, 300, 5, 6}, 4), dtype, DType::bf16);
    expect_like_oracle(problem, {dtype, DType::bf16, "", "acdb", Gaps::none, false, 1}, kSlack);
    expect_like_oracle(problem, {dtype, DType::bf16, "acdb", "", Gaps::one_axis, false, 2}, kSlack);
  }
}

/// Runs the node with the loops of one instruction set on dense NHWC operands.
HostTensor run_with(const cpu::GateLoops& loops, const Node& node, const TensorMap& inputs) {
  std::vector<Placed> operands;
  std::vector<View> views;
  for (int i = 0; i < node.operand_count(); ++i) {
    Type type = node.operand(i).type();
    if (type.rank() == 4) type.layout = "acdb";
    operands.emplace_back(type, Gaps::none);
    operands.back().write(inputs.at(fmt::format("x{}", i)));
    views.push_back(operands.back().view());
  }
  Type type = node.result_types()[0];
  type.layout = "acdb";
  Placed result(type, Gaps::none);
  const auto kernel = cpu::lower_gate(node, views, {&result.view(), 1}, loops);
  HostTensor scratch(DType::u8, {static_cast<std::int64_t>(kernel->scratch_bytes())});
  std::vector<std::byte*> addresses;
  for (Placed& operand : operands) addresses.push_back(operand.data());
  std::byte* const target = result.data();
  kernel->bind(*host_queue(), addresses, {&target, 1}, scratch.mutable_data())();
  return result.read();
}

TEST(Gate, EveryInstructionSet) {
  const std::pair<const cpu::VectorLoops*, const cpu::GateLoops*> sets[] = {
      {cpu::baseline_loops(), cpu::baseline_gate_loops()},
      {cpu::avx2_loops(), cpu::avx2_gate_loops()},
      {cpu::avx512_loops(), cpu::avx512_gate_loops()},
      {cpu::avx512_bf16_loops(), cpu::avx512_bf16_gate_loops()}};
  const OpDef& op = find_op("gate");
  int tried = 0;
  for (const auto& [vectors, loops] : sets) {
    if (vectors == nullptr || loops == nullptr || !cpu::runs_here(*vectors)) continue;
    ++tried;
    for (Sample sample : networks()) {
      for (const DType dtype : kDtypes) {
        for (Type& type : sample.operands) type.dtype = type.rank() == 4 ? dtype : DType::f32;
        SampleCase test = make_case(op, sample);
        const Node& node = *test.graph.outputs()[0].value.node;
        for (int i = 0; i < node.operand_count(); ++i) {
          HostTensor& input = test.inputs.at(fmt::format("x{}", i));
          input = input.cast(node.operand(i).dtype());
        }
        const Outcome outcome{run_with(*loops, node, test.inputs),
                              evaluate(test.graph, test.inputs, {}).at("y0")};
        const bool rounds = dtype == DType::bf16 && loops->bf16_products;
        EXPECT_LE(worst_error(outcome, rounds ? kSlack : 1e-5), 1.0)
            << loops->name << ": " << describe(op, sample);
      }
    }
  }
  EXPECT_GE(tried, 1);
}

}  // namespace
}  // namespace facet::testing
