#include "tests/cuda/sample_kernels.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "backends/cuda/nvrtc.h"
#include "backends/reference/reference.h"
#include "tests/passes/pass_case.h"
#include "tests/support/paths.h"

namespace facet::test {
namespace {

View laid_out(Type type, const Layout& layout) {
  type.layout = layout;
  return dense_view(type);
}

struct Views {
  std::vector<View> operands, results;
};

Views views_of(const KernelFamily& family, const Node& node, const Layout& images) {
  LayoutChoice choice;
  for (const Value& value : node.operands()) choice.operands.push_back(value.type().layout);
  for (const Type& type : node.result_types()) choice.results.push_back(type.layout);
  if (family.layouts) choice = family.layouts(node);
  const auto view = [&](const Type& type, const Layout& wanted) {
    return laid_out(type, !images.empty() && type.rank() == 4 ? images : wanted);
  };
  Views views;
  for (std::size_t i = 0; i < choice.operands.size(); ++i) {
    views.operands.push_back(view(node.operand(static_cast<int>(i)).type(), choice.operands[i]));
  }
  for (std::size_t i = 0; i < choice.results.size(); ++i) {
    views.results.push_back(view(node.result_types()[i], choice.results[i]));
  }
  return views;
}

/// As many bytes as `lay_out` of a tensor of this view takes, all of them set.
std::vector<std::byte> unwritten(const View& view) {
  std::vector<std::byte> bytes =
      lay_out(HostTensor(view.type.dtype, static_extents(view.type.shape)), view);
  std::fill(bytes.begin(), bytes.end(), std::byte{0xFF});
  return bytes;
}

}  // namespace

cuda::KernelSequence kernels_of(const KernelFamily& family, const Node& node) {
  const Views views = views_of(family, node, {});
  return family.make(node, views.operands, views.results);
}

void SampleKernels::add(const OpDef& op, Sample sample, DType dtype, const Layout& layout) {
  testing::SampleCase reference = testing::make_case(op, sample);
  const Node& plain = *reference.graph.node_list().back();
  for (std::size_t i = 0; i < sample.operands.size(); ++i) {
    Type& type = sample.operands[i];
    if (!is_float(type.dtype)) continue;
    type.dtype = family_.stays_f32(plain, static_cast<int>(i)) ? DType::f32 : dtype;
    HostTensor& values = reference.inputs.at(fmt::format("x{}", i));
    values = values.cast(type.dtype).cast(DType::f64);
  }
  const testing::SampleCase typed = testing::make_case(op, sample);
  const Node& node = *typed.graph.node_list().back();
  const Views views = views_of(family_, node, layout);
  Case c;
  c.what = testing::describe(op, sample) + " " + layout;
  c.dtype = dtype;
  c.sequence = family_.make(node, views.operands, views.results);
  for (std::size_t i = 0; i < views.operands.size(); ++i) {
    c.operands.push_back(lay_out(reference.inputs.at(fmt::format("x{}", i)), views.operands[i]));
  }
  c.results = views.results;
  c.is_in_place = op.aliasing == Aliasing::update;
  for (const cuda::KernelSource& kernel : c.sequence.kernels) {
    c.numbers.push_back(kernels_.add(kernel));
  }
  const TensorMap expected = evaluate(reference.graph, reference.inputs, {});
  for (int i = 0; i < node.result_count(); ++i) {
    c.expected.push_back(expected.at(fmt::format("y{}", i)));
  }
  cases_.push_back(std::move(c));
}

std::vector<HostTensor> SampleKernels::run(Case& c) const {
  std::vector<std::vector<std::byte>> results;
  for (std::size_t i = 0; i < c.results.size(); ++i) {
    results.push_back(c.is_in_place ? c.operands.at(i) : unwritten(c.results[i]));
  }
  std::vector<std::byte> temporary(static_cast<std::size_t>(c.sequence.scratch_bytes) + 16,
                                   std::byte{0xFF});
  for (std::size_t k = 0; k < c.numbers.size(); ++k) {
    std::vector<void*> parameters;
    for (const cuda::KernelArgument& argument : c.sequence.kernels[k].arguments) {
      using enum cuda::KernelArgument::Place;
      const auto index = static_cast<std::size_t>(argument.index);
      parameters.push_back(argument.place == operand  ? c.operands.at(index).data()
                           : argument.place == result ? results.at(index).data()
                                                      : temporary.data());
    }
    kernels_.run(c.numbers[k], parameters);
  }
  std::vector<HostTensor> found;
  for (std::size_t i = 0; i < results.size(); ++i) {
    found.push_back(take_out(results[i], c.results[i]));
  }
  return found;
}

void SampleKernels::check(const std::function<double(DType)>& slack, Slack of) {
  std::printf("%zu cases\n", cases_.size());
  kernels_.compile();
  std::map<DType, double> worst;  // in units of what was allowed
  for (Case& c : cases_) {
    const std::vector<HostTensor> found = run(c);
    for (std::size_t r = 0; r < found.size(); ++r) {
      ASSERT_EQ(found[r].shape(), c.expected[r].shape()) << c.what;
      const DType dtype = c.results[r].type.dtype;
      for (std::int64_t i = 0; i < found[r].element_count(); ++i) {
        const double expected = c.expected[r].at(i);
        const double bound =
            tolerance(expected, dtype) +
            slack(of == Slack::by_result ? dtype : c.dtype) * (1 + std::fabs(expected));
        ASSERT_NEAR(found[r].at(i), expected, bound) << c.what << " result " << r << " at " << i;
        double& share = worst[dtype];
        share = std::max(share, std::fabs(found[r].at(i) - expected) / bound);
      }
    }
  }
  for (const auto& [dtype, share] : worst) {
    std::printf("%s: off by %.2f of what is allowed at most\n",
                std::string(to_string(dtype)).c_str(), share);
  }
}

void expect_golden_texts(const KernelFamily& family, std::span<const GoldenKernel> list,
                         const std::string& file, const std::string& headline) {
  std::string found = "// " + headline + " as they are generated, without the prelude.\n";
  for (const GoldenKernel& golden : list) {
    const Graph graph = testing::parse_body(golden.body);
    const cuda::KernelSequence sequence = kernels_of(family, *graph.node_list().back());
    found += fmt::format("\n// {}; {} bytes of scratch\n", golden.title, sequence.scratch_bytes);
    for (const cuda::KernelSource& kernel : sequence.kernels) {
      found += fmt::format("// {} blocks\n{}", kernel.blocks, kernel.text);
    }
  }
  const auto path = testing::test_data() / "golden" / file;
  if (std::getenv("FACET_UPDATE_GOLDEN") != nullptr) {
    write_bytes(path, found);
    GTEST_SKIP() << "wrote " << path;
  }
  EXPECT_TRUE(found == read_bytes(path)) << "the kernels differ from " << path << ":\n" << found;
}

void expect_no_spills(const KernelFamily& family, std::span<const GoldenKernel> list,
                      int registers) {
  for (const int architecture : {80, 90, 100}) {
    for (const GoldenKernel& golden : list) {
      const Graph graph = testing::parse_body(golden.body);
      for (const cuda::KernelSource& kernel :
           kernels_of(family, *graph.node_list().back()).kernels) {
        const cuda::KernelResources used = cuda::compile_kernel(kernel, architecture).resources;
        EXPECT_EQ(used.stack_bytes, 0)
            << golden.title << " " << kernel.name << " sm_" << architecture;
        EXPECT_EQ(used.spill_bytes, 0) << golden.title << " " << kernel.name;
        EXPECT_LE(used.registers, registers) << golden.title << " " << kernel.name;
        if (architecture != 90) continue;
        std::printf("sm_90, %d registers, %d bytes shared: %s, %s\n", used.registers,
                    used.shared_bytes, golden.title, kernel.name.c_str());
      }
    }
  }
}

}  // namespace facet::test
