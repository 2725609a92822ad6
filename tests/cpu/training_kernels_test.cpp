// The kernels of training beyond the op matrix: larger and odd extents, slices, results in place,
// any number of threads, all results.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <cstring>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference.h"
#include "ir/op.h"
#include "ir/ops/families.h"
#include "tests/cpu/run_node.h"
#include "tests/support/op_samples.h"

namespace facet::testing {
namespace {

using ops::f32;

constexpr double kF32 = 2e-6;
constexpr double kBf16 = 5e-3;

struct Way {
  DType dtype = DType::f32;
  Layout layout;
  std::int64_t gap = 0;  ///< along axis 1 of images and matrices
  bool in_place = false;
};

std::string text_of(const Way& way) {
  return fmt::format("{} '{}' gap {}{}", to_string(way.dtype), way.layout, way.gap,
                     way.in_place ? " in place" : "");
}

/// Every value in memory as the way says; gaps hold NaN.
Memory place(Type type, const Way& way) {
  if (type.rank() == 4) type.layout = way.layout;
  Type wide = type;
  if (type.rank() >= 2 && is_float(type.dtype)) wide.shape[1].factor += way.gap;
  const Memory memory = allocate({type, dense_strides(wide)});
  std::memset(memory.data(), 0xFF, span_bytes(memory.view));
  return memory;
}

void write(const Memory& memory, const HostTensor& values) {
  const Memory filled = store(values, memory.view);
  const auto size = static_cast<std::size_t>(size_of(memory.view.type.dtype));
  for_each_element(memory.view, [&](std::int64_t, std::int64_t offset) {
    const std::size_t at = static_cast<std::size_t>(offset) * size;
    std::memcpy(memory.data() + at, filled.data() + at, size);
  });
}

bool keeps_gaps(const Memory& memory) {
  const auto size = static_cast<std::size_t>(size_of(memory.view.type.dtype));
  std::vector<bool> covered(span_bytes(memory.view));
  for_each_element(memory.view, [&](std::int64_t, std::int64_t offset) {
    std::fill_n(covered.begin() + offset * static_cast<std::int64_t>(size), size, true);
  });
  for (std::size_t i = 0; i < covered.size(); ++i) {
    if (!covered[i] && memory.data()[i] != std::byte{0xFF}) return false;
  }
  return true;
}

std::vector<HostTensor> run(const Node& node, const TensorMap& inputs, const Way& way) {
  const auto backend = make_cpu_backend();
  std::vector<Memory> operands, results;
  for (int i = 0; i < node.operand_count(); ++i) {
    operands.push_back(place(node.operand(i).type(), way));
    write(operands.back(), inputs.at(fmt::format("x{}", i)));
  }
  for (const Type& type : node.result_types()) results.push_back(place(type, way));
  if (way.in_place) results[0] = operands[0];
  run_kernel(*backend, node, operands, results);
  std::vector<HostTensor> values;
  for (const Memory& result : results) {
    values.push_back(load(result));
    EXPECT_TRUE(keeps_gaps(result)) << "wrote beside the view";
  }
  return values;
}

void check(const Node& node, const TensorMap& inputs, const TensorMap& expected, const Way& way) {
  SCOPED_TRACE(text_of(way));
  const int threads = omp_get_max_threads();
  std::vector<HostTensor> first;
  for (const int count : {1, 2, 3}) {
    omp_set_num_threads(count);
    const std::vector<HostTensor> values = run(node, inputs, way);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double tolerance = values[i].dtype() == DType::f32 ? kF32 : kBf16;
      EXPECT_LE(relative_l2(values[i], expected.at(fmt::format("y{}", i))), tolerance) << "y" << i;
      if (count == 1) continue;
      EXPECT_EQ(std::memcmp(values[i].data(), first[i].data(),
                            static_cast<std::size_t>(values[i].byte_count())),
                0)
          << "threads change y" << i;
    }
    if (count == 1) first = values;
  }
  omp_set_num_threads(threads);
}

/// The op's own samples and `more`, in all ways. `in_place`: result 0 may overwrite operand 0.
void check_everywhere(std::string_view name, std::vector<Sample> more, bool in_place) {
  const OpDef& op = find_op(name);
  std::vector<Sample> samples = op.samples.make();
  samples.insert(samples.end(), more.begin(), more.end());
  for (const Sample& original : samples) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      if (dtype == DType::bf16 && op.precision == PrecisionPolicy::f32) continue;
      Sample sample = original;
      for (Type& type : sample.operands) {
        if (type.dtype == DType::f32 && type.rank() >= 2) type.dtype = dtype;
      }
      SCOPED_TRACE(facet::testing::describe(op, sample));
      SampleCase made = make_case(op, sample);
      for (std::size_t i = 0; i < sample.operands.size(); ++i) {
        HostTensor& values = made.inputs.at(fmt::format("x{}", i));
        if (is_float(sample.operands[i].dtype)) {
          values = values.cast(sample.operands[i].dtype).cast(DType::f32);
        }
      }
      const Node& node = *made.graph.outputs()[0].value.node;
      const TensorMap expected = evaluate(made.graph, made.inputs, {});
      const bool follows = op.layout != LayoutRole::plain;
      for (const char* layout : {"", "acdb"}) {
        if (*layout != 0 && !follows) continue;
        for (const std::int64_t gap : {0, 5}) {
          check(node, made.inputs, expected, {dtype, layout, gap, false});
        }
        if (in_place) check(node, made.inputs, expected, {dtype, layout, 0, true});
      }
    }
  }
}

TEST(TrainingKernels, BatchNormTrain) {
  const auto sample = [](Shape shape, double low, double high) {
    const Type c = f32({shape[1]});
    return Sample{{f32(std::move(shape)), c, c, c, c}, {{"momentum", 0.2}}, low, high};
  };
  // Means far from zero: the sums of squares must not cancel.
  check_everywhere("batch_norm_train",
                   {sample({3, 33, 21, 17}, -1, 1), sample({2, 64, 40, 40}, 30, 31),
                    sample({4, 1, 50, 50}, -1, 1), sample({700, 48}, -1, 1),
                    sample({5, 7, 300}, -1, 1), sample({2, 3, 5, 4, 6}, -1, 1)},
                   /*in_place=*/true);
}

TEST(TrainingKernels, BatchNormOfAConstantHasNoVariance) {
  Graph graph;
  const auto input = [&](const char* name, const Type& type) {
    return graph.create("input", {}, {{"name", std::string(name)}, {"type", to_string(type)}})
        ->result();
  };
  const Type c = f32({16});
  Node* node = graph.create("batch_norm_train",
                            {input("x0", f32({2, 16, 9, 9})), input("x1", c), input("x2", c),
                             input("x3", c), input("x4", c)},
                            {{"epsilon", 1e-5}, {"momentum", 1.0}});
  TensorMap inputs;
  const auto filled = [](std::vector<std::int64_t> shape, float value) {
    HostTensor tensor(DType::f32, shape);
    std::fill_n(tensor.as_mutable<float>(), tensor.element_count(), value);
    return tensor;
  };
  inputs["x0"] = filled({2, 16, 9, 9}, 1234.5F);
  for (const char* name : {"x1", "x2", "x3", "x4"}) inputs[name] = filled({16}, 2);
  const std::vector<HostTensor> values = run(*node, inputs, {DType::f32, "acdb"});
  EXPECT_EQ(values[0].at(77), 2.0);
  EXPECT_EQ(values[1].at(3), 1234.5);
  EXPECT_EQ(values[4].at(3), 0.0);
}

TEST(TrainingKernels, BatchNormBwd) {
  const auto sample = [](Shape shape) {
    const Type c = f32({shape[1]});
    const Type x = f32(std::move(shape));
    return Sample{{x, x, c, c, c}, {}};
  };
  check_everywhere(
      "batch_norm_bwd",
      {sample({3, 33, 21, 17}), sample({2, 64, 40, 40}), sample({700, 48}), sample({5, 7, 300})},
      /*in_place=*/true);
}

TEST(TrainingKernels, PreluBwd) {
  const auto sample = [](Shape shape, std::int64_t slopes) {
    const Type x = f32(std::move(shape));
    return Sample{{x, x, f32({slopes})}, {}};
  };
  check_everywhere("prelu_bwd",
                   {sample({3, 33, 21, 17}, 33), sample({2, 64, 40, 40}, 1), sample({700, 48}, 48)},
                   /*in_place=*/true);
}

TEST(TrainingKernels, MaxPoolBwd) {
  const auto sample = [](Shape dy, Shape x, Ints kernel, Ints strides, Ints pads) {
    return Sample{{f32(std::move(dy)), f32(std::move(x))},
                  {{"kernel", std::move(kernel)},
                   {"strides", std::move(strides)},
                   {"pads", std::move(pads)}}};
  };
  check_everywhere("max_pool_bwd",
                   {sample({2, 70, 10, 12}, {2, 70, 19, 23}, {3, 3}, {2, 2}, {1, 1, 1, 1}),
                    sample({1, 20, 64, 64}, {1, 20, 128, 128}, {2, 2}, {2, 2}, {0, 0, 0, 0}),
                    sample({1, 33, 20, 9}, {1, 33, 20, 20}, {3, 4}, {1, 2}, {1, 0, 1, 0})},
                   /*in_place=*/false);
}

TEST(TrainingKernels, AvgPoolBwd) {
  const auto sample = [](Shape dy, std::int64_t height, std::int64_t width, Ints kernel,
                         Ints strides, Ints pads) {
    return Sample{{f32(std::move(dy))},
                  {{"kernel", std::move(kernel)},
                   {"strides", std::move(strides)},
                   {"pads", std::move(pads)},
                   {"height", height},
                   {"width", width}}};
  };
  check_everywhere("avg_pool_bwd",
                   {sample({2, 70, 10, 12}, 19, 23, {3, 3}, {2, 2}, {1, 1, 1, 1}),
                    sample({1, 600, 3, 3}, 10, 10, {2, 2}, {3, 3}, {0, 0, 0, 0})},
                   /*in_place=*/false);
}

TEST(TrainingKernels, ReduceMaxBwd) {
  const auto sample = [](Shape dy, Shape x, Ints axes) {
    return Sample{{f32(std::move(dy)), f32(std::move(x))}, {{"axes", std::move(axes)}}};
  };
  check_everywhere(
      "reduce_max_bwd",
      {sample({2, 70, 1, 1}, {2, 70, 19, 23}, {2, 3}), sample({2, 1, 40, 40}, {2, 70, 40, 40}, {1}),
       sample({1, 7, 1, 30}, {5, 7, 200, 30}, {0, 2})},
      /*in_place=*/false);
}

TEST(TrainingKernels, SoftmaxBwd) {
  const auto sample = [](Shape shape, std::int64_t axis) {
    return Sample{{f32(shape), f32(shape)}, {{"axis", axis}}};
  };
  check_everywhere("softmax_bwd",
                   {sample({3, 4, 49, 49}, -1), sample({3, 70, 12, 9}, 1), sample({2, 9000}, 1),
                    sample({600, 3}, 0)},
                   /*in_place=*/true);
}

TEST(TrainingKernels, Labels) {
  const auto labels = [](std::int64_t n) { return Type{DType::i64, {n}, {}}; };
  const Type rows = f32({33});
  const Type wide = f32({33, 5000});
  check_everywhere("cross_entropy", {{{wide, labels(33)}, {{"label_smoothing", 0.2}}, -3, 5001}},
                   false);
  check_everywhere("cross_entropy_bwd",
                   {{{rows, f32({33, 3000}), labels(33), rows}, {{"label_smoothing", 0.1}}, -1, 1}},
                   false);
  check_everywhere("pick", {{{wide, labels(33)}, {}, -3, 5001}}, false);
  check_everywhere("pick_bwd",
                   {{{f32({33, 1}), labels(33)}, {{"classes", std::int64_t{5000}}}, -3, 5001}},
                   false);
  check_everywhere("place", {{{wide, labels(33), f32({33, 1})}, {}, -3, 5001}}, false);
  check_everywhere("gather_rows", {{{f32({40, 1500}), labels(33)}, {}, -3, 41}}, false);
  check_everywhere("scatter_add_rows",
                   {{{f32({300, 700}), labels(300)}, {{"rows", std::int64_t{40}}}, -3, 41}}, false);
}

TEST(TrainingKernels, DropoutAndExpand) {
  check_everywhere(
      "dropout_train",
      {{{f32({3, 17, 40, 40}), f32({1})}, {{"rate", 0.3}, {"seed", std::int64_t{5}}}, 1, 4},
       {{f32({70, 900}), f32({1})}, {{"rate", 0.9}}, 1, 4}},
      true);
  check_everywhere("expand",
                   {{{f32({3, 70, 1, 1})}, {{"shape", Ints{3, 70, 20, 21}}}},
                    {{f32({3, 1, 20, 21})}, {{"shape", Ints{3, 70, 20, 21}}}}},
                   false);
}

TEST(TrainingKernels, GradientOfRelu) {
  const Type x = f32({3, 33, 21, 17});
  check_everywhere("elementwise",
                   {{{x, x}, {{"program", Strings{"greater 0 #0", "where 2 1 #0"}}}},
                    {{x, x, x}, {{"program", Strings{"greater 0 #0", "add 1 2", "where 3 4 #0"}}}},
                    {{x, x}, {{"program", Strings{"greater 0 #0.25", "where 2 1 #0"}}}},
                    {{x, x}, {{"program", Strings{"greater 0 #0", "where 2 1 #-1", "add 2 3"}}}}},
                   true);
}

/// New state lies in the place of the old one: results are the first operands.
TEST(TrainingKernels, UpdatesWorkInPlaceAndOutOfIt) {
  const Type p = f32({130, 257});
  const Type one = f32({1});
  const std::vector<std::pair<const char*, Sample>> list = {
      {"sgd_update",
       {{p, p, p, one}, {{"momentum", 0.9}, {"weight_decay", 0.01}, {"nesterov", true}}}},
      {"lars_update", {{p, p, p, one}, {{"momentum", 0.9}, {"weight_decay", 0.01}}}},
      {"adam_update",
       {{p, p, p, p, one, one}, {{"weight_decay", 0.1}, {"decoupled", true}}, 0.5, 3}},
      {"ema_update", {{p, p}, {{"decay", 0.99}}}}};
  const auto backend = make_cpu_backend();
  for (const auto& [name, sample] : list) {
    SCOPED_TRACE(name);
    SampleCase made = make_case(find_op(name), sample);
    const Node& node = *made.graph.outputs()[0].value.node;
    const TensorMap expected = evaluate(made.graph, made.inputs, {});
    check(node, made.inputs, expected, {});
    std::vector<Memory> operands;
    for (int i = 0; i < node.operand_count(); ++i) {
      operands.push_back(
          store(made.inputs.at(fmt::format("x{}", i)), dense_view(node.operand(i).type())));
    }
    const auto states = static_cast<std::size_t>(node.result_count());
    run_kernel(*backend, node, operands, std::span(operands).first(states));
    for (std::size_t i = 0; i < states; ++i) {
      EXPECT_LE(relative_l2(load(operands[i]), expected.at(fmt::format("y{}", i))), kF32) << i;
    }
  }
}

}  // namespace
}  // namespace facet::testing
