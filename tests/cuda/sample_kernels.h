#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "backends/cuda/kernels/kernel_source.h"
#include "ir/op.h"
#include "tests/cuda/host_kernels.h"
#include "tests/cuda/kernel_case.h"
#include "tests/support/op_samples.h"

namespace facet::test {

/// How a family makes the kernels of a node.
struct KernelFamily {
  std::function<cuda::KernelSequence(const Node&, std::span<const View> operands,
                                     std::span<const View> results)>
      make;
  /// The layouts it wants; empty: those that values have.
  std::function<LayoutChoice(const Node&)> layouts = {};
  /// Operands that are f32 whatever the sample's type is: scales, shifts.
  std::function<bool(const Node&, int operand)> stays_f32 = [](const Node&, int) { return false; };
};

/// The family's kernels for a node of static shapes, whose values lie as the family wants them.
cuda::KernelSequence kernels_of(const KernelFamily& family, const Node& node);

/// Samples of ops, run on the host by a family's kernels and in float64 by the oracle. Scratch
/// memory and results hold NaNs at first.
class SampleKernels {
 public:
  explicit SampleKernels(KernelFamily family) : family_(std::move(family)) {}

  /// Its float operands are `dtype`. `layout` is that of values of rank 4; empty: as the family
  /// wants them.
  void add(const OpDef& op, Sample sample, DType dtype, const Layout& layout = {});
  std::size_t size() const { return cases_.size(); }

  /// Compiles all and compares them. A result may be off by `tolerance` of kernel_case.h, and by
  /// `slack(dtype)` times 1 + its size: the type of the result or, where results of f32 come from
  /// rounded products, that of the operands.
  enum class Slack { by_result, by_operands };
  void check(const std::function<double(DType)>& slack, Slack of = Slack::by_result);

 private:
  struct Case {
    std::string what;
    DType dtype = DType::f32;  ///< of the operands
    cuda::KernelSequence sequence;
    std::vector<std::size_t> numbers;  ///< of its kernels
    std::vector<std::vector<std::byte>> operands;
    std::vector<View> results;
    bool is_in_place = false;  ///< results begin as the first operands
    std::vector<HostTensor> expected;
  };
  std::vector<HostTensor> run(Case& c) const;

  KernelFamily family_;
  HostKernels kernels_;
  std::vector<Case> cases_;
};

/// A graph whose last node is the one of interest, and what it is an example of.
struct GoldenKernel {
  const char* title;
  const char* body;
};
/// The texts of the family's kernels are those of tests/golden/<file>; FACET_UPDATE_GOLDEN=1 writes
/// it anew and skips the test.
void expect_golden_texts(const KernelFamily& family, std::span<const GoldenKernel> list,
                         const std::string& file, const std::string& headline);
/// They compile for sm_80, sm_90 and sm_100, without spills or local memory, with so many registers
/// a thread at most; prints those of sm_90.
void expect_no_spills(const KernelFamily& family, std::span<const GoldenKernel> list,
                      int registers);

}  // namespace facet::test
