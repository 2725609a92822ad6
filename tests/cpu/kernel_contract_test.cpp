#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/peaks.h"
#include "backends/reference/reference.h"
#include "ir/error.h"
#include "tests/cpu/run_node.h"
#include "tests/support/fill.h"

namespace facet::testing {
namespace {

Value add_input(Graph& graph, const std::string& name, const Type& type) {
  return graph.create("input", {}, {{"name", name}, {"type", to_string(type)}})->result();
}

struct Conv {
  Graph graph;
  Node* node = nullptr;
  std::vector<View> views;
  View result;
  std::unique_ptr<Kernel> kernel;

  explicit Conv(const Backend& backend) {
    const Value x = add_input(graph, "x", {DType::f32, {2, 32, 14, 14}, {}});
    const Value w = add_input(graph, "w", {DType::f32, {64, 32, 3, 3}, {}});
    const Value b = add_input(graph, "b", {DType::f32, {64}, {}});
    node = graph.create("conv", {x, w, b},
                        {{"pads", Ints{1, 1, 1, 1}}, {"epilogue", Strings{"bias", "relu"}}});
    graph.outputs() = {{"y", node->result()}};
    const LayoutChoice choice = backend.choose_layouts(*node);
    for (std::size_t i = 0; i < 3; ++i) {
      views.push_back(dense_view(with_layout(node->operands()[i].type(), choice.operands[i])));
    }
    result = dense_view(with_layout(node->result_types()[0], choice.results[0]));
    kernel = backend.lower(*node, views, std::span(&result, 1));
  }
};

TEST(CpuKernel, TwoThreadsRunOneKernelAtOnce) {
  const auto backend = make_cpu_backend();
  const Conv conv(*backend);
  constexpr int kThreads = 2;
  constexpr int kRuns = 40;
  std::vector<double> worst(kThreads, 1);
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      // Each thread has its own input, so a shared buffer would show.
      const std::string name = "x" + std::to_string(t);
      const TensorMap inputs{{"x", uniform(name, {2, 32, 14, 14}, -1, 1)},
                             {"w", uniform("w", {64, 32, 3, 3}, -1, 1)},
                             {"b", uniform("b", {64}, -1, 1)}};
      const HostTensor expected = evaluate(conv.graph, inputs, {}).at("y");
      std::vector<Memory> memories;
      std::vector<std::byte*> operands;
      for (std::size_t i = 0; i < 3; ++i) {
        const char* const names[] = {"x", "w", "b"};
        const Type plain = with_layout(conv.views[i].type, "");
        memories.push_back(reordered(*backend, store(inputs.at(names[i]), dense_view(plain)),
                                     conv.views[i].type.layout));
        operands.push_back(memories.back().data());
      }
      const Memory result = allocate(conv.result);
      const std::vector<std::byte*> results{result.data()};
      Bytes scratch(conv.kernel->scratch_bytes());
      const auto run = conv.kernel->bind(*host_queue(), operands, results, scratch.data());
      double error = 0;
      for (int i = 0; i < kRuns; ++i) {
        std::memset(result.data(), 0, span_bytes(result.view));
        run();
        error = std::max(error, relative_l2(load(result), expected));
      }
      if (!scratch.intact()) error = 1;
      worst[static_cast<std::size_t>(t)] = error;
    });
  }
  threads.clear();
  for (const double error : worst) EXPECT_LE(error, 1e-5);
}

TEST(CpuKernel, OutlivesItsBackend) {
  auto backend = make_cpu_backend();
  const Conv conv(*backend);
  std::vector<Memory> memories;
  std::vector<std::byte*> operands;
  for (const View& view : conv.views) {
    memories.push_back(allocate(view));
    operands.push_back(memories.back().data());
  }
  backend.reset();
  const Memory result = allocate(conv.result);
  std::memset(result.data(), 0x7B, span_bytes(result.view));
  const std::vector<std::byte*> results{result.data()};
  Bytes scratch(conv.kernel->scratch_bytes());
  conv.kernel->bind(*host_queue(), operands, results, scratch.data())();
  for (const double y : load(result).to_doubles()) ASSERT_EQ(y, 0);
}

TEST(CpuKernel, NamesItsImplementation) {
  const auto backend = make_cpu_backend();
  const Conv conv(*backend);
  EXPECT_THAT(conv.kernel->implementation(), ::testing::Not(::testing::HasSubstr("ref")));
  EXPECT_FALSE(conv.kernel->implementation().empty());
}

// By a primitive that is fast on them (AVX2 has one, by matrix products), else in copies.
TEST(CpuKernel, RowMajorImagesAreNotComputedSlowly) {
  const auto backend = make_cpu_backend();
  const Conv conv(*backend);
  std::vector<View> views;
  for (const View& view : conv.views) views.push_back(dense_view(with_layout(view.type, "")));
  const View result = dense_view(with_layout(conv.result.type, ""));
  const auto kernel = backend->lower(*conv.node, views, std::span(&result, 1));
  EXPECT_THAT(kernel->implementation(), ::testing::Not(::testing::HasSubstr("ref")));
  if (kernel->implementation().find("copies") != std::string::npos) {
    // Staged operands live in the scratch.
    EXPECT_GT(kernel->scratch_bytes(), static_cast<std::size_t>(byte_size(result.type)));
  }
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::failure);
    return error.what();
  }
  return {};
}

TEST(CpuKernel, ErrorsNameNodeAndReason) {
  const auto backend = make_cpu_backend();
  Graph graph;
  const Value x = add_input(graph, "x", {DType::f64, {2, 8, 5, 5}, "aBcd8b"});
  const Value w = add_input(graph, "w", {DType::f64, {8, 8, 3, 3}, {}});
  Provenance from;
  from.scope = "layer1.0.conv1";
  from.location = "net.cpp:12";
  const Node* node = graph.create("conv", {x, w}, {}, from);
  EXPECT_FALSE(backend->supports(*node));
  const std::vector<View> views{{x.type(), {}}, dense_view(w.type())};
  const View result = dense_view(node->result_types()[0]);
  const std::string message =
      message_of([&] { backend->lower(*node, views, std::span(&result, 1)); });
  for (const char* part : {"conv", "layer1.0.conv1", "net.cpp:12", "f64"}) {
    EXPECT_THAT(message, ::testing::HasSubstr(part));
  }
  const std::string unknown = message_of([&] {
    Graph other;
    const Value y = add_input(other, "y", {DType::f32, {8}, {}});
    const View view = dense_view(y.type());
    backend->lower(*y.node, {}, std::span(&view, 1));
  });
  EXPECT_THAT(unknown, ::testing::HasSubstr("input"));
}

TEST(CpuKernel, UnknownLayoutsAreErrors) {
  const auto backend = make_cpu_backend();
  Graph graph;
  const Value x = add_input(graph, "x", {DType::f32, {2, 16, 5, 5}, {}});
  Node* node = graph.create("reorder", {x}, {{"layout", std::string("aBcd3b")}});
  const std::vector<View> views{dense_view(x.type())};
  const View result{node->result_types()[0], {}};
  EXPECT_THAT(message_of([&] { backend->lower(*node, views, std::span(&result, 1)); }),
              ::testing::HasSubstr("aBcd3b"));
}

TEST(Ceilings, AreOfThisMachinesOrder) {
  const Ceilings one = measure_ceilings(1);
  // Any x86-64 of the last fifteen years; none has a petaflop in a core.
  EXPECT_GT(one.f32_flops, 1e9);
  EXPECT_LT(one.f32_flops, 1e15);
  EXPECT_GE(one.bf16_flops, one.f32_flops);
  EXPECT_GT(one.bandwidth_bytes, 1e8);
  EXPECT_LT(one.bandwidth_bytes, 1e13);
}

TEST(CpuFeatures, DescriptionNamesLibraryAndThreads) {
  EXPECT_THAT(cpu_description(), ::testing::HasSubstr("oneDNN 3."));
  EXPECT_THAT(cpu_description(), ::testing::HasSubstr("threads"));
  const CpuFeatures features = cpu_features();
  EXPECT_TRUE(!features.avx512_bf16 || features.avx512);
  EXPECT_TRUE(!features.avx512 || features.avx2);
}

}  // namespace
}  // namespace facet::testing
