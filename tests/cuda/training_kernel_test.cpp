#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <string_view>

#include "backends/cuda/kernels/batch_norm_apply.h"
#include "backends/cuda/kernels/dropout.h"
#include "backends/cuda/kernels/labels.h"
#include "backends/cuda/kernels/layer_norm.h"
#include "backends/cuda/kernels/prelu.h"
#include "backends/cuda/kernels/reduce_max.h"
#include "backends/cuda/kernels/single_update.h"
#include "backends/cuda/kernels/update.h"
#include "tests/cuda/sample_kernels.h"
#include "tests/passes/pass_case.h"

// Kernels of losses and of what training differentiates by a rule of its own: text
// (tests/golden/cuda_training.txt; FACET_UPDATE_GOLDEN=1 writes it anew), that NVRTC compiles them,
// and that what they compute on the host is what the float64 oracle computes.
namespace facet {
namespace {

using ::testing::HasSubstr;

cuda::KernelSequence kernels_of(const Node& node, std::span<const View> operands,
                                std::span<const View> results) {
  if (cuda::is_labels(node)) return cuda::labels_kernels(node, operands, results);
  if (cuda::is_prelu_bwd(node)) return cuda::prelu_bwd_kernels(node, operands, results);
  if (cuda::is_dropout(node)) return cuda::dropout_kernels(node, operands, results[0]);
  if (cuda::is_layer_norm(node)) return cuda::layer_norm_kernels(node, operands, results[0]);
  if (cuda::is_batch_norm_apply(node)) {
    return cuda::batch_norm_apply_kernels(node, operands, results[0]);
  }
  if (cuda::is_single_update(node)) return cuda::single_update_kernels(node);
  return cuda::reduce_max_bwd_kernels(node, operands, results[0]);
}

const test::KernelFamily& family() {
  static const test::KernelFamily list{kernels_of, {}, [](const Node& node, int operand) {
                                         if (node.is("dropout_train")) return operand == 1;
                                         if (node.is("prelu_bwd")) return operand == 2;
                                         return node.is("batch_norm_apply") &&
                                                node.operand(operand).type().rank() == 1;
                                       }};
  return list;
}

const test::GoldenKernel kGolden[] = {{"cross entropy with smoothing", R"(
  %0 = input() {name = "z", type = "f32[128, 10572]"} : f32[128, 10572]
  %1 = input() {name = "labels", type = "i64[128]"} : i64[128]
  %2:2 = cross_entropy(%0, %1) {label_smoothing = 0.1} : (f32[128], f32[128])
  return "y" = %2.0
)"},
                                      {"its gradient", R"(
  %0 = input() {name = "d", type = "f32[128]"} : f32[128]
  %1 = input() {name = "z", type = "f32[128, 10572]"} : f32[128, 10572]
  %2 = input() {name = "labels", type = "i64[128]"} : i64[128]
  %3 = input() {name = "lse", type = "f32[128]"} : f32[128]
  %4 = cross_entropy_bwd(%0, %1, %2, %3) : f32[128, 10572]
  return "y" = %4
)"},
                                      {"cross entropy of rows that begin anywhere", R"(
  %0 = input() {name = "z", type = "f32[128, 93431]"} : f32[128, 93431]
  %1 = input() {name = "labels", type = "i64[128]"} : i64[128]
  %2:2 = cross_entropy(%0, %1) : (f32[128], f32[128])
  return "y" = %2.0
)"},
                                      {"its gradient", R"(
  %0 = input() {name = "d", type = "f32[128]"} : f32[128]
  %1 = input() {name = "z", type = "f32[128, 93431]"} : f32[128, 93431]
  %2 = input() {name = "labels", type = "i64[128]"} : i64[128]
  %3 = input() {name = "lse", type = "f32[128]"} : f32[128]
  %4 = cross_entropy_bwd(%0, %1, %2, %3) : f32[128, 93431]
  return "y" = %4
)"},
                                      {"the margin's place", R"(
  %0 = input() {name = "cosines", type = "f32[64, 1000]"} : f32[64, 1000]
  %1 = input() {name = "labels", type = "i64[64]"} : i64[64]
  %2 = input() {name = "moved", type = "f32[64, 1]"} : f32[64, 1]
  %3 = place(%0, %1, %2) : f32[64, 1000]
  return "y" = %3
)"},
                                      {"sums of the rows of each class", R"(
  %0 = input() {name = "x", type = "f32[64, 128]"} : f32[64, 128]
  %1 = input() {name = "labels", type = "i64[64]"} : i64[64]
  %2 = scatter_add_rows(%0, %1) {rows = 1000} : f32[1000, 128]
  return "y" = %2
)"},
                                      {"the gradient of a prelu", R"(
  %0 = input() {name = "dy", type = "bf16[32, 64, 14, 14]@acdb"} : bf16[32, 64, 14, 14]@acdb
  %1 = input() {name = "x", type = "bf16[32, 64, 14, 14]@acdb"} : bf16[32, 64, 14, 14]@acdb
  %2 = input() {name = "slope", type = "f32[64]"} : f32[64]
  %3:2 = prelu_bwd(%0, %1, %2) : (bf16[32, 64, 14, 14]@acdb, f32[64])
  return "y" = %3.0
)"},
                                      {"of a slope that all channels share", R"(
  %0 = input() {name = "dy", type = "bf16[32, 512, 7, 7]@acdb"} : bf16[32, 512, 7, 7]@acdb
  %1 = input() {name = "x", type = "bf16[32, 512, 7, 7]@acdb"} : bf16[32, 512, 7, 7]@acdb
  %2 = input() {name = "slope", type = "f32[1]"} : f32[1]
  %3:2 = prelu_bwd(%0, %1, %2) : (bf16[32, 512, 7, 7]@acdb, f32[1])
  return "y" = %3.0
)"},
                                      {"the gradient of an image's maximum", R"(
  %0 = input() {name = "dy", type = "bf16[8, 64, 1, 1]"} : bf16[8, 64, 1, 1]
  %1 = input() {name = "x", type = "bf16[8, 64, 14, 14]"} : bf16[8, 64, 14, 14]
  %2 = reduce_max_bwd(%0, %1) {axes = [2, 3]} : bf16[8, 64, 14, 14]
  return "y" = %2
)"},
                                      {"dropout", R"(
  %0 = input() {name = "x", type = "bf16[64, 512]"} : bf16[64, 512]
  %1 = input() {name = "step", type = "f32[1]"} : f32[1]
  %2 = dropout_train(%0, %1) {rate = 0.4, seed = 3} : bf16[64, 512]
  return "y" = %2
)"},
                                      {"a step of sampled centres, and those they missed", R"(
  %0 = input() {name = "p", type = "f32[1000, 128]"} : f32[1000, 128]
  %1 = input() {name = "v", type = "f32[1000, 128]"} : f32[1000, 128]
  %2 = input() {name = "g", type = "f32[64, 128]"} : f32[64, 128]
  %3 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %4 = input() {name = "rows", type = "i64[64]"} : i64[64]
  %5 = input() {name = "owed", type = "f32[256]"} : f32[256]
  %6:2 = sgd_update(%0, %1, %2, %3, %4, %5) {momentum = 0.9, weight_decay = 0.0005} : (f32[1000, 128], f32[1000, 128])
  return "y" = %6.0
)"},
                                      {"LARS", R"(
  %0 = input() {name = "p", type = "f32[512, 256]"} : f32[512, 256]
  %1 = input() {name = "v", type = "f32[512, 256]"} : f32[512, 256]
  %2 = input() {name = "g", type = "f32[512, 256]"} : f32[512, 256]
  %3 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %4:2 = lars_update(%0, %1, %2, %3) {momentum = 0.9, weight_decay = 0.0005} : (f32[512, 256], f32[512, 256])
  return "y" = %4.0
)"},
                                      {"layer norm", R"(
  %0 = input() {name = "x", type = "bf16[8, 197, 192]"} : bf16[8, 197, 192]
  %1 = input() {name = "s", type = "f32[192]"} : f32[192]
  %2 = input() {name = "b", type = "f32[192]"} : f32[192]
  %3 = layer_norm(%0, %1, %2) : bf16[8, 197, 192]
  return "y" = %3
)"}};

TEST(TrainingKernels, TextsAreTheGoldenOnes) {
  test::expect_golden_texts(family(), kGolden, "cuda_training.txt", "Kernels of training");
}

TEST(TrainingKernels, CompileWithoutSpillsForEveryArchitecture) {
  test::expect_no_spills(family(), kGolden, 64);
}

/// The op's own samples, and larger ones of several parts and vectors.
std::vector<Sample> samples_of(const OpDef& op) {
  std::vector<Sample> samples = op.samples.make();
  const auto f32 = [](Shape shape) { return Type{DType::f32, std::move(shape), {}}; };
  const Type map = f32({3, 24, 11, 9});
  const Type labels{DType::i64, {6}, {}};
  const Attributes smoothed{{"label_smoothing", 0.2}};
  const Type long_rows = f32({6, 8197});  // of which each begins elsewhere in its 16 bytes
  if (op.name == "cross_entropy") {
    samples.push_back({{f32({6, 1200}), labels}, smoothed, -9, 1300});
    samples.push_back({{long_rows, labels}, smoothed, -9, 9000});
    samples.push_back({{f32({6, 3}), labels}, {}, -9, 5});
  }
  if (op.name == "cross_entropy_bwd") {
    samples.push_back({{f32({6}), f32({6, 64}), labels, f32({6})}, smoothed, -1, 4});
    samples.push_back({{f32({6}), long_rows, labels, f32({6})}, smoothed, -1, 4});
  }
  if (op.name == "prelu_bwd") {
    samples.push_back({{map, map, f32({24})}, {}});
    samples.push_back({{map, map, f32({1})}, {}});
  }
  if (op.name == "reduce_max_bwd") {
    samples.push_back({{f32({3, 24, 1, 1}), map}, {{"axes", Ints{2, 3}}}});
    samples.push_back({{f32({3, 11, 9}), map}, {{"axes", Ints{1}}, {"keepdims", false}}});
  }
  if (op.name == "layer_norm") {
    samples.push_back({{f32({9, 5, 520}), f32({520}), f32({520})}, {}, -3, 5});
  }
  return samples;
}

TEST(TrainingKernels, ComputeWhatTheOracleComputes) {
  test::SampleKernels all(family());
  for (const char* name :
       {"cross_entropy", "cross_entropy_bwd", "pick", "pick_bwd", "place", "gather_rows",
        "owed_rows", "scatter_add_rows", "prelu_bwd", "reduce_max_bwd", "dropout_train",
        "layer_norm", "batch_norm_apply", "sgd_update", "adam_update", "lars_update"}) {
    const OpDef& op = find_op(name);
    for (const Sample& sample : samples_of(op)) {
      const testing::SampleCase plain = testing::make_case(op, sample);
      if (cuda::is_update(*plain.graph.node_list().back())) continue;  // update_kernel_test.cpp
      all.add(op, sample, DType::f32);
      if (op.precision == PrecisionPolicy::f32) continue;
      for (const DType dtype : {DType::bf16, DType::f16}) all.add(op, sample, dtype);
      if (op.layout == LayoutRole::follow) all.add(op, sample, DType::bf16, "acdb");
    }
  }
  ASSERT_GT(all.size(), 100U);
  all.check([](DType) { return 4e-6; });
}

TEST(TrainingKernels, OtherNodesAndOrdersAreRefused) {
  const auto* const golden = std::ranges::find(
      kGolden, std::string_view("the gradient of an image's maximum"), &test::GoldenKernel::title);
  ASSERT_NE(golden, std::end(kGolden));
  const Graph graph = testing::parse_body(golden->body);
  const Node& node = *graph.node_list().back();
  Type last = node.operand(1).type();
  last.layout = "acdb";
  const View dy = dense_view(node.operand(0).type());
  const View x = dense_view(last);
  EXPECT_THAT(test::error_of([&] {
                cuda::reduce_max_bwd_kernels(node, std::vector<View>{dy, x}, x);
              }),
              HasSubstr("row-major values, not bf16[8, 64, 14, 14]@acdb"));
  EXPECT_THAT(test::error_of([&] {
                cuda::dropout_kernels(node, std::vector<View>{dy, x}, x);
              }),
              HasSubstr("'reduce_max_bwd' is no dropout"));
}

}  // namespace
}  // namespace facet
