#include "backends/cuda/matmul.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/cuda/cublaslt.h"
#include "backends/reference/reference.h"
#include "tests/formats/temp_folder.h"
#include "tests/passes/pass_case.h"
#include "tests/support/op_samples.h"

// Products for cuBLASLt: their text, their arithmetic on the host as BLAS defines it beside the
// float64 oracle, and that the library takes them.
namespace facet {
namespace {

using cuda::KernelArgument;
using cuda::Matmul;
using cuda::MatmulPlan;
using cuda::Matrix;
using ::testing::HasSubstr;

TEST(CudaMatmul, BlasComputesTheTranspose) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "bf16[4, 10, 20]"} : bf16[4, 10, 20]
  %1 = input() {name = "w", type = "bf16[12, 20]"} : bf16[12, 20]
  %2 = input() {name = "b", type = "f32[12]"} : f32[12]
  %3 = linear(%0, %1, %2) {epilogue = ["bias", "relu"]} : bf16[4, 10, 12]
  return "y" = %3
)");
  const MatmulPlan plan = cuda::matmul_plan(*graph.node_list().back(), {});
  ASSERT_EQ(plan.products.size(), 1U);
  EXPECT_EQ("\n" + to_text(plan.products[0]), R"(
a = operand1 : bf16[20, 12] leading 20 transposed
b = operand0 : bf16[20, 40] leading 20
d = result0 : bf16[12, 40] leading 12
d = a * b : 12 x 40 x 20 bias scratch0 relu
)");
  ASSERT_EQ(plan.before.size(), 1U);  // the bias, rounded to the result's type
  EXPECT_THAT(plan.before[0].text, HasSubstr("facet::bf16* q"));
  EXPECT_EQ(plan.scratch_bytes, 24);
}

TEST(CudaMatmul, TheGradientOfABiasStandsBehindTheProductOrAlone) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "dy", type = "f16[40, 12]"} : f16[40, 12]
  %1 = input() {name = "x", type = "f16[40, 20]"} : f16[40, 20]
  %2:2 = linear_bwd_weights(%0, %1) {bias = true} : (f32[12, 20], f32[12])
  return "dw" = %2.0, "db" = %2.1
)");
  const Node& node = *graph.node_list().back();
  EXPECT_EQ("\n" + to_text(cuda::matmul_plan(node, {}).products[0]), R"(
a = operand1 : f16[20, 40] leading 20
b = operand0 : f16[12, 40] leading 12 transposed
d = result0 : f32[20, 12] leading 20
d = a * b : 20 x 12 x 40 bias gradient result1
)");
  const MatmulPlan alone = cuda::matmul_plan(node, {.tf32 = false, .separate_bias_gradient = true});
  EXPECT_FALSE(alone.products[0].bias_gradient);
  ASSERT_FALSE(alone.after.empty());
  EXPECT_EQ(alone.after[0].arguments[0], (KernelArgument{KernelArgument::Place::operand, 0}));
}

TEST(CudaMatmul, ABatchMayReadOneFactorAgain) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "q", type = "f32[2, 8, 16, 49]"} : f32[2, 8, 16, 49]
  %1 = input() {name = "t", type = "f32[16, 97]"} : f32[16, 97]
  %2 = matmul(%0, %1) {full_precision = true, transpose_a = true} : f32[2, 8, 49, 97]
  return "y" = %2
)");
  const Node& node = *graph.node_list().back();
  const MatmulPlan plan = cuda::matmul_plan(node, {.tf32 = true, .separate_bias_gradient = false});
  EXPECT_EQ("\n" + to_text(plan.products.at(0)), R"(
a = operand1 : f32[97, 16] leading 97 batch stride 0
b = operand0 : f32[49, 16] leading 49 batch stride 784 transposed
d = result0 : f32[97, 49] leading 97 batch stride 4753
d = a * b : 97 x 49 x 16 batch 16
)");
  EXPECT_EQ(plan.products.size(), 1U);
}

using Memory = std::vector<std::vector<float>>;

/// What BLAS defines, summed in double, with f32 operands and results.
class Blas {
 public:
  Blas(Memory& operands, Memory& results) : operands_(operands), results_(results) {}

  void run(const Matmul& matmul) {
    for (std::int64_t batch = 0; batch < matmul.batch; ++batch) {
      for (std::int64_t j = 0; j < matmul.n(); ++j) {
        for (std::int64_t i = 0; i < matmul.m(); ++i) element(matmul, batch, i, j);
      }
    }
    if (!matmul.bias_gradient) return;
    for (std::int64_t j = 0; j < matmul.n(); ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < matmul.k(); ++k) sum += at(matmul.b, 0, k, j);
      number(*matmul.bias_gradient, j) = static_cast<float>(sum);
    }
  }

 private:
  void element(const Matmul& matmul, std::int64_t batch, std::int64_t i, std::int64_t j) {
    double sum = matmul.bias ? number(*matmul.bias, i) : 0;
    for (std::int64_t k = 0; k < matmul.k(); ++k) {
      sum += double{at(matmul.a, batch, i, k)} * at(matmul.b, batch, k, j);
    }
    if (matmul.relu) sum = std::max(sum, 0.0);
    at(matmul.d, batch, i, j) = static_cast<float>(sum);
  }

  float& number(const KernelArgument& argument, std::int64_t i) {
    Memory& memory = argument.place == KernelArgument::Place::operand ? operands_ : results_;
    return memory.at(static_cast<std::size_t>(argument.index)).at(static_cast<std::size_t>(i));
  }

  float& at(const Matrix& matrix, std::int64_t batch, std::int64_t i, std::int64_t j) {
    if (matrix.transposed) std::swap(i, j);
    EXPECT_LT(i, matrix.rows);
    EXPECT_LT(j, matrix.columns);
    return number(matrix.place,
                  matrix.offset + batch * matrix.batch_stride + j * matrix.leading + i);
  }

  Memory& operands_;
  Memory& results_;
};

/// The node's results by BLAS, row-major one behind another.
Memory computed(const Node& node, const TensorMap& inputs) {
  const MatmulPlan plan = cuda::matmul_plan(node, {});
  Memory operands;
  for (int i = 0; i < node.operand_count(); ++i) {
    const HostTensor x = inputs.at("x" + std::to_string(i)).cast(DType::f32);
    operands.emplace_back(x.as<float>(), x.as<float>() + x.element_count());
  }
  Memory results;
  for (const Type& type : node.result_types()) {
    results.emplace_back(static_cast<std::size_t>(element_count(type.shape).factor));
  }
  Blas blas(operands, results);
  for (const Matmul& product : plan.products) {
    blas.run(product);
    EXPECT_NO_THROW(cuda::check_matmul(product)) << to_text(product);
  }
  return results;
}

TEST(CudaMatmul, ComputesWhatTheOracleComputes) {
  int cases = 0;
  int refused = 0;
  for (const char* name : {"linear", "linear_bwd_data", "linear_bwd_weights", "matmul"}) {
    const OpDef& op = find_op(name);
    for (const Sample& sample : op.samples.make()) {
      const testing::SampleCase c = testing::make_case(op, sample);
      const Node& node = *c.graph.node_list().back();
      Memory found;
      try {
        found = computed(node, c.inputs);
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("has an epilogue that cuBLASLt has not"));
        ++refused;
        continue;
      }
      const TensorMap expected = evaluate(c.graph, c.inputs, {});
      for (std::size_t r = 0; r < found.size(); ++r) {
        const HostTensor& wanted = expected.at("y" + std::to_string(r));
        ASSERT_EQ(static_cast<std::int64_t>(found[r].size()), wanted.element_count());
        for (std::int64_t i = 0; i < wanted.element_count(); ++i) {
          ASSERT_NEAR(found[r][static_cast<std::size_t>(i)], wanted.at(i), 1e-5)
              << testing::describe(op, sample) << " result " << r << " at " << i;
        }
      }
      ++cases;
    }
  }
  EXPECT_EQ(cases, 12);
  EXPECT_EQ(refused, 4);  // prelu twice, add, sigmoid
}

TEST(CudaMatmul, EpiloguesThatCublasltHasAreTaken) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[3, 20]"} : f32[3, 20]
  %1 = input() {name = "w", type = "f32[12, 20]"} : f32[12, 20]
  %2 = linear(%0, %1) : f32[3, 12]
  return "y" = %2
)");
  const Node& linear = *graph.node_list().back();
  const Type channels{DType::f32, {12}, {}};
  const Type same{DType::f32, {3, 12}, {}};
  EXPECT_TRUE(cuda::matmul_takes_entry(linear, "bias", &channels));
  EXPECT_TRUE(cuda::matmul_takes_entry(linear, "relu", nullptr));
  EXPECT_FALSE(cuda::matmul_takes_entry(linear, "sigmoid", nullptr));
  EXPECT_FALSE(cuda::matmul_takes_entry(linear, "add", &same));
  EXPECT_FALSE(cuda::matmul_takes_entry(linear, "bias", &same));
  EXPECT_FALSE(cuda::matmul_takes_entry(linear, "bias", nullptr));
}

TEST(CudaMatmul, WhatIsNoProductIsRefused) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "a", type = "f32[3, 4]"} : f32[3, 4]
  %1 = input() {name = "b", type = "f32[4, 5]"} : f32[4, 5]
  %2 = relu(%1) : f32[4, 5]
  %3 = matmul(%0, %2) : f32[3, 5]
  return "y" = %3
)");
  const Node& product = *graph.node_list().back();
  const std::vector<View> operands{dense_view(product.operand(0).type()),
                                   dense_view(product.operand(1).type())};
  const std::vector<View> results{dense_view(product.result_types()[0])};
  const auto refusal = [&](std::vector<View> from, std::vector<View> to) {
    return test::error_of([&] { cuda::matmul_plan(product, from, to, {}); });
  };
  EXPECT_NO_THROW(cuda::matmul_plan(product, operands, results, {}));
  std::vector<View> mixed = operands;
  mixed[1].type.dtype = DType::bf16;
  EXPECT_THAT(refusal(mixed, results), HasSubstr("multiplies f32 by bf16"));
  std::vector<View> gaps = operands;
  gaps[0].strides = {8, 2};
  EXPECT_THAT(refusal(gaps, results), HasSubstr("not strides of 8 and 2 elements"));
  std::vector<View> by_columns = results;
  by_columns[0].strides = {1, 3};
  EXPECT_THAT(refusal(operands, by_columns), HasSubstr("write rows side by side"));
  EXPECT_THAT(test::error_of([&] { cuda::matmul_plan(*product.operand(1).node, {}); }),
              HasSubstr("'relu' is no product of floats"));
}

TEST(CudaMatmul, WithoutADeviceTheLibraryDoesNotStart) {
  EXPECT_GE(cuda::cublaslt_version(), "13.");
  try {
    cuda::open_cublaslt();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("cuBLASLt does not start on this device: "));
    return;
  }
  GTEST_SKIP() << "there is a device";
}

}  // namespace
}  // namespace facet
