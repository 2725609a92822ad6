#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ir/dsl.h"
#include "ir/error.h"
#include "passes/append_optimizer.h"
#include "passes/vector_jacobian.h"
#include "runtime/weights.h"
#include "tests/cuda/run/cuda_run.h"
#include "tests/passes/pass_case.h"
#include "tests/support/fill.h"
#include "training/step.h"

// Whole networks through the runtime and the GPU backend, on a driver that computes on the host:
// every address, layout, scratch and order is real, only the kernels are other ones.
namespace facet {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Convolutions with epilogues, norms, a residual, pooling, products, a mean and a softmax.
Graph small_network() {
  Network network("small");
  const Tensor x = network.input("x", {"N", 3, 6, 6});
  const Scope s = network.root();
  Tensor y = relu(s.batch_norm("bn1", s.conv("conv1", x, {.out = 16, .kernel = 3, .padding = 1})));
  Tensor z = s.conv("conv2", y, {.out = 16, .kernel = 3, .padding = 1, .bias = false});
  y = relu(s.batch_norm("bn2", z) + y);
  const Tensor small = max_pool(s.conv("conv3", y, {.out = 8}), {.kernel = 3, .stride = 2});
  const Tensor hidden = relu(s.linear("fc1", flatten(mean(small, {2, 3})), {.out = 16}));
  network.output("logits", s.linear("fc2", hidden, {.out = 5}));
  network.output("shares", softmax(y, 1));
  return network.finish();
}

HostTensor filled(const std::vector<std::int64_t>& shape, int seed) {
  HostTensor tensor(DType::f32, shape);
  auto* values = tensor.as_mutable<float>();
  for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
    values[i] = static_cast<float>(std::sin(0.7 * static_cast<double>(i + seed)));
  }
  return tensor;
}

TensorMap inputs_for(const Graph& graph, std::int64_t batch) {
  TensorMap inputs;
  int seed = 1;
  for (const Node* input : graph.inputs()) {
    std::vector<std::int64_t> shape;
    for (const Dim& dim : input->result_types()[0].shape) {
      shape.push_back(dim.is_static() ? dim.factor : dim.factor * batch);
    }
    inputs.emplace(input->attributes().text("name"), filled(shape, seed++));
  }
  return inputs;
}

/// Within `tolerance` of each tensor's largest value.
void expect_close(const TensorMap& found, const TensorMap& expected, double tolerance) {
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    const HostTensor& other = found.at(name);
    ASSERT_EQ(other.shape(), tensor.shape()) << name;
    double scale = 3e-2;  // what is zero but for rounding has no scale of its own
    for (const double value : tensor.to_doubles()) scale = std::max(scale, std::fabs(value));
    for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
      ASSERT_NEAR(other.at(i), tensor.at(i), tolerance * scale) << name << " at " << i;
    }
  }
}

/// Of all tensors, one behind the other.
double cosine(const TensorMap& a, const TensorMap& b) {
  double product = 0, a_squares = 0, b_squares = 0;
  for (const auto& [name, tensor] : b) {
    for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
      const double x = a.at(name).at(i);
      const double y = tensor.at(i);
      product += x * y;
      a_squares += x * x;
      b_squares += y * y;
    }
  }
  return product / std::sqrt(a_squares * b_squares);
}

TensorMap on_reference(const Graph& graph, const TensorMap& weights, const TensorMap& inputs) {
  CompileOptions options;
  options.device = Device::reference;
  return compile(graph, weights, options)->make_context()->run(inputs);
}

class CudaExecutable : public ::testing::TestWithParam<Precision> {};

TEST_P(CudaExecutable, RunsANetworkOfAnyBatch) {
  const Graph graph = small_network();
  const TensorMap weights = trial_weights(graph, 1);
  CompileOptions options;
  options.precision = GetParam();
  const auto executable = test::compile_on_gpu(graph, weights, options, 2);
  const auto context = executable->make_context();
  const double tolerance = GetParam() == Precision::bf16 ? 2e-2 : 2e-5;
  for (const std::int64_t batch : {2, 3, 2}) {
    const TensorMap inputs = inputs_for(graph, batch);
    expect_close(context->run(inputs), on_reference(graph, weights, inputs), tolerance);
  }
}

TEST_P(CudaExecutable, ComputesGradients) {
  Graph graph = small_network();
  graph = vector_jacobian_product(graph.with_symbol("N", 2), {"logits", "shares"});
  const TensorMap weights = trial_weights(graph, 1);
  CompileOptions options;
  options.precision = GetParam();
  const auto executable = test::compile_on_gpu(graph, weights, options, 1);
  const TensorMap inputs = inputs_for(graph, 1);
  const TensorMap found = executable->make_context()->run(inputs);
  const TensorMap expected = on_reference(graph, weights, inputs);
  if (GetParam() == Precision::f32) return expect_close(found, expected, 1e-4);
  // Rounding moves maxima from one element to another and with them whole gradients: directions
  // count.
  EXPECT_GT(cosine(found, expected), 0.98);
}

/// Attention without tables, whose steps in bf16 are graphs, and in f32 kernels.
TEST_P(CudaExecutable, ComputesAttentionsGradients) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[3, 20, 48]"} : f32[3, 20, 48]
  %1 = sdpa(%0, %0, %0) {channel_axis = -1, heads = 2, key = [16, 8, 8], query = [0, 8, 8], scale = 0.5, value = [32, 8, 8]} : f32[3, 20, 16]
  return "y" = %1
)");
  graph = vector_jacobian_product(graph, {"y"});
  const auto driver = std::make_shared<test::FakeDriver>();
  CompileOptions options;
  options.precision = GetParam();
  const auto executable = test::compile_on(driver, graph, {}, options, 1);
  const TensorMap inputs = inputs_for(graph, 1);
  const TensorMap found = executable->make_context()->run(inputs);
  const bool is_f32 = GetParam() == Precision::f32;
  EXPECT_THAT(driver->log,
              is_f32 ? Contains("launch facet_attention_rows") : Contains("run matmul"));
  expect_close(found, on_reference(graph, {}, inputs), is_f32 ? 2e-5 : 3e-2);
}

/// With tables of distances: kernels that ask for shared memory at launch.
TEST_P(CudaExecutable, ComputesGradientsOfRelativeAttention) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[4, 20, 48]"} : f32[4, 20, 48]
  %1 = input() {name = "t", type = "f32[39, 8]"} : f32[39, 8]
  %2 = sdpa(%0, %0, %0, %1) {channel_axis = -1, extras = ["relative_query"], heads = 2, key = [16, 8, 8], query = [0, 8, 8], scale = 0.5, value = [32, 8, 8]} : f32[4, 20, 16]
  return "y" = %2
)");
  graph = vector_jacobian_product(graph, {"y"});
  const auto driver = std::make_shared<test::FakeDriver>();
  CompileOptions options;
  options.precision = GetParam();
  const auto executable = test::compile_on(driver, graph, {}, options, 1);
  const TensorMap inputs = inputs_for(graph, 1);
  const TensorMap found = executable->make_context()->run(inputs);
  EXPECT_THAT(driver->log, Contains("launch facet_attention_rows"));
  const bool is_f32 = GetParam() == Precision::f32;
  expect_close(found, on_reference(graph, {}, inputs), is_f32 ? 2e-5 : 3e-2);
}

INSTANTIATE_TEST_SUITE_P(Precisions, CudaExecutable,
                         ::testing::Values(Precision::f32, Precision::bf16),
                         [](const auto& each) { return std::string(to_string(each.param)); });

/// A product of two parameters that SGD with momentum moves, with its value as the loss.
Graph step_graph() {
  Graph graph("step");
  for (const char* key : {"a", "b"}) {
    Parameter parameter;
    parameter.key = key;
    parameter.type = Type{DType::f32, {70}, {}};
    graph.parameters().push_back(parameter);
  }
  const Value x =
      graph.create("input", {}, {{"name", std::string("x")}, {"type", std::string("f32[70]")}})
          ->result();
  const Value a = graph.read_parameter("a")->result();
  const Value b = graph.read_parameter("b")->result();
  const Value product = graph.create("mul", {a, b})->result();
  const Value loss = graph
                         .create("reduce_sum", {graph.create("mul", {product, x})->result()},
                                 {{"axes", Ints{0}}, {"keepdims", true}})
                         ->result();
  const std::map<std::string, Value> gradients = {{"a", graph.create("mul", {b, x})->result()},
                                                  {"b", graph.create("mul", {a, x})->result()}};
  graph.outputs() = {{"loss", loss}};
  append_optimizer(graph, gradients, {.guard = loss});
  return graph;
}

TEST(CudaTraining, StepsLikeTheOracleAndReplaysOneGraph) {
  const Graph graph = step_graph();
  TensorMap weights;
  int seed = 5;
  for (const Parameter& parameter : graph.parameters()) {
    const bool moves = parameter.key.size() == 1;
    weights.emplace(parameter.key, moves ? filled({70}, seed++) : HostTensor(DType::f32, {70}));
  }
  const auto driver = std::make_shared<test::FakeDriver>();
  CompileOptions options;
  options.guard = "loss";
  const auto executable = test::compile_on(driver, graph, weights, options, 1);
  const auto context = executable->make_context();
  CompileOptions exact;
  exact.device = Device::reference;
  const auto oracle = compile(graph, weights, exact)->make_context();
  TensorMap inputs = {{"x", filled({70}, 3)}, {"lr", HostTensor::from_floats({1}, {0.1F})}};
  for (int i = 0; i < 4; ++i) {
    driver->log.clear();
    const TensorMap outputs = context->run(inputs);
    expect_close(outputs, oracle->run(inputs), 1e-4);  // a sum whose terms cancel
    expect_close(context->state().tensors(), oracle->state().tensors(), 1e-5);
    if (i < 2) continue;
    // Behind the second run: inputs in, one graph, the loss out; no memory, no other launch.
    EXPECT_THAT(driver->log, Not(Contains(HasSubstr("allocate"))));
    EXPECT_THAT(driver->log, Not(Contains(HasSubstr("launch"))));
    EXPECT_EQ(std::count_if(driver->log.begin(), driver->log.end(),
                            [](const std::string& entry) { return entry.starts_with("graph"); }),
              1);
  }
  // A loss that is not finite changes nothing.
  const TensorMap before = context->state().snapshot();
  inputs["x"].as_mutable<float>()[0] = INFINITY;
  context->run(inputs);
  expect_close(context->state().tensors(), before, 0);
  EXPECT_THAT(context->diagnose(inputs), HasSubstr("are not finite"));
  expect_close(context->state().tensors(), before, 0);
}

// Weights, sums of gradients and moments lie as convolutions read them; callers see rows. What is
// left of reorders: the picture, which comes as planes.
TEST(CudaTraining, ConvolutionsReadWeightsAsTheyLie) {
  Network network("small");
  const Tensor x = network.input("x", {"N", 3, 6, 6});
  const Scope s = network.root();
  const Tensor y =
      relu(s.batch_norm("bn", s.conv("conv1", x, {.out = 16, .kernel = 3, .padding = 1})));
  const Tensor z = relu(s.conv("conv2", y, {.out = 8, .kernel = 3}));
  network.output("logits", s.linear("fc", flatten(mean(z, {2, 3})), {.out = 5}));
  StepOptions step;
  step.batch = 2;
  step.optimizer.clip_norm = 1;
  const Graph graph = make_training_step(network.finish(), step);
  const TensorMap weights = trial_weights(graph, 1);
  const auto driver = std::make_shared<test::FakeDriver>();
  const auto executable = test::compile_on(driver, graph, weights, {}, 1);
  const auto context = executable->make_context();
  EXPECT_EQ(executable->program(1).reorders, 1);

  const HostTensor weight = context->state().tensor("conv2.weight");
  expect_close({{"", weight}}, {{"", weights.at("conv2.weight")}}, 0);
  const auto* lies = reinterpret_cast<const float*>(context->state().bytes("conv2.weight"));
  EXPECT_EQ(lies[0], weight.at(0));
  EXPECT_EQ(lies[1], weight.at(9)) << "input channels are side by side";

  CompileOptions exact;
  exact.device = Device::reference;
  const auto oracle = compile(graph, weights, exact)->make_context();
  TensorMap inputs = {{"x", filled({2, 3, 6, 6}, 3)},
                      {"labels", HostTensor(DType::i64, {2})},
                      {"lr", HostTensor::from_floats({1}, {0.1F})}};
  inputs.at("labels").as_mutable<std::int64_t>()[1] = 3;
  for (int i = 0; i < 2; ++i) {
    expect_close(context->run(inputs), oracle->run(inputs), 1e-4);
    expect_close(context->state().tensors(), oracle->state().tensors(), 1e-4);
  }
  const TensorMap taken = context->state().snapshot();
  expect_close(taken, context->state().tensors(), 0);
  context->state().clear("conv2.weight");
  context->state().assign(taken);
  expect_close(context->state().tensors(), taken, 0);
}

TEST(CudaTraining, StateIsAssignedAndCleared) {
  const Graph graph = step_graph();
  TensorMap weights;
  for (const Parameter& parameter : graph.parameters()) {
    weights.emplace(parameter.key, filled({70}, 1));
  }
  const auto driver = std::make_shared<test::FakeDriver>();
  const auto state = test::compile_on(driver, graph, weights, {}, 1)->take_state();
  EXPECT_THAT(state->keys(), ElementsAre("a", "b", "optimizer.a.velocity", "optimizer.b.velocity"));
  EXPECT_EQ(state->byte_count(), 4 * 280);
  state->assign({{"a", filled({70}, 2)}});
  state->clear("b");
  expect_close({{"a", state->tensor("a")}, {"b", state->tensor("b")}},
               {{"a", filled({70}, 2)}, {"b", HostTensor(DType::f32, {70})}}, 0);
}

TEST(CudaMemory, AnArenaThatDoesNotFitNamesItsPeak) {
  const Graph graph = small_network();
  const TensorMap weights = trial_weights(graph, 1);
  const auto driver = std::make_shared<test::FakeDriver>();
  CompileOptions options;
  options.memory_limit = 100'000;
  const auto executable = test::compile_on(driver, graph, weights, options, 1);
  const auto context = executable->make_context();
  EXPECT_NO_THROW(context->run(inputs_for(graph, 1)));
  try {
    context->run(inputs_for(graph, 64));
    ADD_FAILURE() << "it fits";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("out of memory on fake GPU"), HasSubstr("the limit is 0.1 MB"),
                      HasSubstr("weights 0.0"), HasSubstr("making the arena of batch 64"),
                      HasSubstr("the arena is fullest at step"), HasSubstr("conv")));
  }
  EXPECT_NO_THROW(context->run(inputs_for(graph, 1))) << "it goes on with what fits";
}

TEST(CudaMemory, EverythingIsFreedWithTheContextAndTheExecutable) {
  const Graph graph = small_network();
  const auto driver = std::make_shared<test::FakeDriver>();
  {
    const auto executable = test::compile_on(driver, graph, trial_weights(graph, 1), {}, 1);
    const auto context = executable->make_context();
    context->run(inputs_for(graph, 1));
    EXPECT_GT(driver->live_bytes(), 0);
  }
  EXPECT_EQ(driver->live_blocks(), 0U);
}

TEST(CudaExecutableProfile, TimesEveryStep) {
  const Graph graph = small_network();
  const auto driver = std::make_shared<test::FakeDriver>();
  const auto executable = test::compile_on(driver, graph, trial_weights(graph, 1), {}, 1);
  const auto context = executable->make_context();
  std::vector<ProfileRow> rows;
  context->profile(inputs_for(graph, 1), rows);
  ASSERT_EQ(rows.size(), executable->program(1).steps.size());
  for (const ProfileRow& row : rows) EXPECT_EQ(row.milliseconds, 1.5);
  EXPECT_EQ(context->time(1, 3).size(), 3U);
}

}  // namespace
}  // namespace facet
