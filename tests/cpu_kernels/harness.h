#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/kernels/gather.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/vector.h"
#include "backends/reference/reference.h"
#include "ir/elementwise_program.h"
#include "tests/support/op_samples.h"

/// Runs one node through its CPU kernel on views of every kind and compares with the float64
/// oracle.
namespace facet::testing {

/// How a value lies in its buffer: alone, as a slice along axis 1 (axis 0 of a vector) of a wider
/// value, or with gaps along every axis.
enum class Gaps { none, one_axis, all_axes };

struct Arrangement {
  DType dtype = DType::f32;         ///< of operands of rank 2 and more
  DType vector_dtype = DType::f32;  ///< of operands of rank 0 and 1 (slopes, statistics)
  Layout operand_layout;            ///< of operands of rank 4
  Layout result_layout;             ///< of results of rank 4
  Gaps gaps = Gaps::none;
  bool in_place = false;  ///< the result overwrites the first operand of its view
  int threads = 1;
};

inline std::string describe(const Arrangement& a) {
  return fmt::format("{} (vectors {}), layouts '{}' -> '{}', gaps {}, {}{} threads",
                     to_string(a.dtype), to_string(a.vector_dtype), a.operand_layout,
                     a.result_layout, static_cast<int>(a.gaps), a.in_place ? "in place, " : "",
                     a.threads);
}

/// A view with its buffer; bytes outside the view's elements keep a pattern.
class Placed {
 public:
  Placed(Type type, Gaps gaps) : view_{std::move(type), {}} {
    Type wide = view_.type;
    for (std::size_t axis = 0; axis < wide.shape.size(); ++axis) {
      const bool widens = gaps == Gaps::all_axes ||
                          (gaps == Gaps::one_axis && axis == (wide.shape.size() > 1 ? 1 : 0));
      if (widens) wide.shape[axis] = wide.shape[axis].factor + 3;
    }
    view_.strides = dense_strides(wide);
    if (view_.type.shape != wide.shape) {
      for (std::size_t axis = 0; axis < wide.shape.size(); ++axis) {
        if (wide.shape[axis] != view_.type.shape[axis]) first_ += 2 * view_.strides[axis];
      }
    }
    bytes_ = HostTensor(DType::u8, {byte_size(wide)});
    std::memset(bytes_.mutable_data(), kPattern, static_cast<std::size_t>(bytes_.byte_count()));
    const std::vector<std::int64_t> extents = static_extents(view_.type.shape);
    offsets_.resize(static_cast<std::size_t>(facet::element_count(extents)));
    for (std::size_t i = 0; i < offsets_.size(); ++i) {
      auto rest = static_cast<std::int64_t>(i);
      for (std::size_t axis = extents.size(); axis-- > 0;) {
        offsets_[i] += rest % extents[axis] * view_.strides[axis] * size();
        rest /= extents[axis];
      }
    }
  }

  const View& view() const { return view_; }
  std::byte* data() { return bytes_.mutable_data() + first_ * size(); }

  void write(const HostTensor& values) {
    const HostTensor stored = values.cast(view_.type.dtype);
    const std::byte* from = stored.data();
    for (const std::int64_t offset : offsets_) {
      std::memcpy(data() + offset, from, static_cast<std::size_t>(size()));
      from += size();
    }
  }
  HostTensor read() {
    HostTensor values(view_.type.dtype, static_extents(view_.type.shape));
    std::byte* to = values.mutable_data();
    for (const std::int64_t offset : offsets_) {
      std::memcpy(to, data() + offset, static_cast<std::size_t>(size()));
      to += size();
    }
    return values;
  }
  /// Whether every byte outside the view's elements still has its pattern.
  bool keeps_gaps() {
    HostTensor copy = bytes_.clone();
    std::byte* const base = copy.mutable_data() + first_ * size();
    for (const std::int64_t offset : offsets_) {
      std::memset(base + offset, kPattern, static_cast<std::size_t>(size()));
    }
    const auto* const bytes = copy.as<std::uint8_t>();
    return std::all_of(bytes, bytes + copy.byte_count(), [](auto b) { return b == kPattern; });
  }

 private:
  static constexpr std::uint8_t kPattern = 0xA5;

  std::int64_t size() const { return size_of(view_.type.dtype); }

  View view_;
  std::int64_t first_ = 0;             ///< elements before the view
  std::vector<std::int64_t> offsets_;  ///< bytes to each element, in row-major order
  HostTensor bytes_;
};

inline std::unique_ptr<Kernel> lower(const Node& node, std::span<const View> operands,
                                     std::span<const View> results) {
  const std::string_view kind = node.kind();
  if (kind.starts_with("reduce_")) return cpu::lower_reduce(node, operands, results);
  if (kind.ends_with("_pool")) return cpu::lower_pooling(node, operands, results);
  if (kind.starts_with("resize")) return cpu::lower_resize(node, operands[0], results[0]);
  if (kind == "layer_norm") return cpu::lower_layer_norm(node, operands, results[0]);
  if (kind == "gate") return cpu::lower_gate(node, operands, results);
  if (cpu::takes_gather(node)) return cpu::lower_gather(node, operands, results);
  if (kind == "softmax") return cpu::lower_softmax(node, operands, results);
  if (kind == "elementwise" || kind == "batch_norm" || elementwise_arity(kind) > 0) {
    return cpu::lower_elementwise(node, operands, results);
  }
  return cpu::lower_copy(node, operands, results);
}

struct Outcome {
  HostTensor actual;    ///< in the result's dtype
  HostTensor expected;  ///< f64
  bool gaps_kept = true;
};

/// A sample with its operands' dtypes decided, and what the oracle says. It sees the operands
/// rounded to those dtypes.
class Problem {
 public:
  Problem(const OpDef& op, Sample sample, DType dtype, DType vector_dtype)
      : text_(describe(op, sample)), case_([&] {
          for (Type& type : sample.operands) {
            if (is_float(type.dtype)) type.dtype = type.rank() >= 2 ? dtype : vector_dtype;
          }
          return make_case(op, sample);
        }()) {
    for (int i = 0; i < node().operand_count(); ++i) {
      HostTensor& input = case_.inputs.at(fmt::format("x{}", i));
      input = input.cast(node().operand(i).dtype());
      largest_ = std::max(largest_, input.element_count());
    }
    expected_ = evaluate(case_.graph, case_.inputs, {}).at("y0");
  }

  const std::string& text() const { return text_; }
  /// Elements of the largest operand.
  std::int64_t elements() const { return largest_; }

  Outcome run(const Arrangement& how) const {
    std::vector<Placed> operands;
    std::vector<View> operand_views;
    for (int i = 0; i < node().operand_count(); ++i) {
      Type type = node().operand(i).type();
      if (type.rank() == 4) type.layout = how.operand_layout;
      operands.emplace_back(type, how.gaps);
      operand_views.push_back(operands.back().view());
      operands.back().write(case_.inputs.at(fmt::format("x{}", i)));
    }
    Type type = node().result_types()[0];
    if (type.rank() == 4 && type.layout.empty()) type.layout = how.result_layout;
    Placed fresh(type, how.gaps);
    Placed* result = &fresh;
    for (Placed& operand : operands) {
      const bool same =
          operand.view().type == type && operand.view().strides == fresh.view().strides;
      if (how.in_place && same && result == &fresh) result = &operand;
    }
    execute(operands, operand_views, *result, how.threads);
    Outcome outcome{result->read(), expected_, result->keeps_gaps()};
    for (Placed& operand : operands) outcome.gaps_kept = outcome.gaps_kept && operand.keeps_gaps();
    return outcome;
  }

 private:
  const Node& node() const { return *case_.graph.outputs()[0].value.node; }

  void execute(std::vector<Placed>& operands, const std::vector<View>& operand_views,
               Placed& result, int threads) const {
    const std::unique_ptr<Kernel> kernel = lower(node(), operand_views, {&result.view(), 1});
    HostTensor scratch(DType::u8, {static_cast<std::int64_t>(kernel->scratch_bytes())});
    std::vector<std::byte*> addresses;
    for (Placed& operand : operands) addresses.push_back(operand.data());
    std::byte* const target = result.data();
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    kernel->bind(*host_queue(), addresses, {&target, 1}, scratch.mutable_data())();
    omp_set_num_threads(before);
  }

  std::string text_;
  SampleCase case_;
  std::int64_t largest_ = 0;
  HostTensor expected_;
};

/// Largest error of `actual` in units of what its dtype resolves: 1 is a last place at most.
inline double worst_error(const Outcome& outcome, double f32_slack) {
  const DType dtype = outcome.actual.dtype();
  const double step = dtype == DType::bf16 ? 0x1p-8 : dtype == DType::f16 ? 0x1p-11 : 0x1p-24;
  if (outcome.actual.shape() != outcome.expected.shape()) return HUGE_VAL;
  double worst = 0;
  for (std::int64_t i = 0; i < outcome.actual.element_count(); ++i) {
    const double a = outcome.actual.at(i);
    const double e = outcome.expected.at(i);
    if (a == e || (std::isnan(a) && std::isnan(e))) continue;
    const double allowed = std::fabs(e) * step + f32_slack;
    const double error = std::fabs(a - e) / allowed;
    worst = std::isfinite(error) ? std::max(worst, error) : HUGE_VAL;
  }
  return worst;
}

/// Expects the result within one rounding of its dtype plus `f32_slack` (absolute) for the f32
/// arithmetic inside.
inline void expect_like_oracle(const Problem& problem, const Arrangement& how,
                               double f32_slack = 2e-6) {
  const Outcome outcome = problem.run(how);
  EXPECT_LE(worst_error(outcome, f32_slack), 1.0) << problem.text() << "\n" << describe(how);
  EXPECT_TRUE(outcome.gaps_kept) << "wrote outside of the view: " << problem.text() << "\n"
                                 << describe(how);
}

/// All layouts and gaps of one dtype, one thread, not in place.
inline std::vector<Arrangement> arrangements(DType dtype) {
  std::vector<Arrangement> all;
  for (const char* layout : {"", "acdb"}) {
    for (const Gaps gaps : {Gaps::none, Gaps::one_axis, Gaps::all_axes}) {
      all.push_back({dtype, DType::f32, layout, layout, gaps, false, 1});
    }
  }
  return all;
}

inline constexpr DType kDtypes[] = {DType::f32, DType::bf16, DType::f16};

/// The op's own samples and `more` in all dtypes and arrangements; the larger ones on two threads
/// as well, and then with equal bits.
inline void check_everywhere(std::string_view name, const std::vector<Sample>& more = {},
                             double f32_slack = 2e-6) {
  const OpDef& op = find_op(name);
  std::vector<Sample> samples = op.samples.make();
  samples.insert(samples.end(), more.begin(), more.end());
  std::erase_if(samples, [](const Sample& sample) {  // whole numbers run by the oracle itself
    return !std::all_of(sample.operands.begin(), sample.operands.end(),
                        [](const Type& type) { return is_float(type.dtype); });
  });
  for (const Sample& sample : samples) {
    for (const DType dtype : kDtypes) {
      const Problem problem(op, sample, dtype, DType::f32);
      for (Arrangement how : arrangements(dtype)) {
        expect_like_oracle(problem, how, f32_slack);
        if (problem.elements() < 16 * 1024 || how.gaps == Gaps::all_axes) continue;
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

/// Tests with a parameter for each instruction set's loops, those that this machine runs.
class OnLoops : public ::testing::TestWithParam<const cpu::VectorLoops*> {
 protected:
  void SetUp() override {
    if (GetParam() == nullptr) GTEST_SKIP() << "not compiled in";
    if (!cpu::runs_here(*GetParam())) GTEST_SKIP() << "this machine cannot run it";
  }
};
inline auto every_loops() {
  return ::testing::Values(cpu::baseline_loops(), cpu::avx2_loops(), cpu::avx512_loops(),
                           cpu::avx512_bf16_loops());
}
inline std::string name_of_loops(const ::testing::TestParamInfo<const cpu::VectorLoops*>& suite) {
  return suite.param != nullptr ? suite.param->name : fmt::format("absent{}", suite.index);
}

}  // namespace facet::testing
