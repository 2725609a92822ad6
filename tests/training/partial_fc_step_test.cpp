#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "runtime/compile.h"
#include "tests/ir/error_of.h"
#include "tests/support/op_samples.h"
#include "tests/training/loss_case.h"
#include "training/center_sampler.h"
#include "training/missed_steps.h"
#include "training/random.h"
#include "training/step.h"

// Steps with sampled centres against a plain dense implementation: loops over a table in float64.

namespace facet::testing {
namespace {

using Kind = LossOptions::Kind;

constexpr std::int64_t kBatch = 6, kWidth = 4, kClasses = 40, kSample = 15;
constexpr double kScale = 8, kMargin = 0.3, kDecay = 0.02;
constexpr const char* kTable = "head.weight";
constexpr const char* kVelocity = "optimizer.head.weight.velocity";

/// The embeddings are given; the head is all that is trained.
Graph head_only() {
  Network network("head");
  network.output("embedding", network.input("x", {"N", kWidth}) * 1.0);
  return network.finish();
}

StepOptions options_of(std::int64_t sampled, bool dense, double threshold = 0) {
  StepOptions options;
  options.loss.kind = Kind::margin;
  options.loss.margin.scale = kScale;
  options.loss.margin.margin = kMargin;
  options.loss.margin.filter_threshold = threshold;
  options.loss.classes = kClasses;
  options.loss.sampled = sampled;
  options.dense_centers = dense;
  options.optimizer.weight_decay = kDecay;
  options.batch = kBatch;
  return options;
}

double rate_at(int t) { return static_cast<float>(0.2 / (1 + 0.1 * t)); }

HostTensor embeddings_at(int t) {
  return uniform("x" + std::to_string(t), {kBatch, kWidth}, -1, 1);
}

HostTensor labels_at(int t) {
  Random random(3, static_cast<std::uint64_t>(t));
  std::vector<std::int64_t> labels;
  for (std::int64_t n = 0; n < kBatch; ++n) labels.push_back(random.integer(kClasses));
  return labels_tensor(labels);
}

/// ArcFace with the straight-through gradient over chosen rows, and SGD with momentum 0.9.
struct PlainHead {
  std::vector<double> w, v;
  double loss = 0;

  /// d loss / d w, zero for rows that are not chosen.
  std::vector<double> gradient(const HostTensor& x, const HostTensor& labels,
                               const std::vector<std::int64_t>& rows, double threshold) {
    std::vector<double> result(w.size(), 0);
    loss = 0;
    for (std::int64_t n = 0; n < kBatch; ++n) {
      double length = 0;
      for (std::int64_t i = 0; i < kWidth; ++i)
        length += x.at(n * kWidth + i) * x.at(n * kWidth + i);
      length = std::sqrt(length);
      const std::int64_t target = labels.as<std::int64_t>()[n];
      std::vector<double> cosine, logit, norm;
      for (const std::int64_t row : rows) {
        double product = 0, square = 0;
        for (std::int64_t i = 0; i < kWidth; ++i) {
          product += x.at(n * kWidth + i) / length * at(row, i);
          square += at(row, i) * at(row, i);
        }
        norm.push_back(std::sqrt(square));
        cosine.push_back(product / norm.back());
        const double c = cosine.back();
        const bool filtered = threshold > 0 && row != target && c > threshold;
        logit.push_back(kScale * (row == target ? std::cos(std::acos(c) + kMargin)
                                  : filtered    ? 0
                                                : c));
      }
      double sum = 0;
      for (const double z : logit) sum += std::exp(z);
      for (std::size_t k = 0; k < rows.size(); ++k) {
        const double p = std::exp(logit[k]) / sum;
        if (rows[k] == target) loss -= std::log(p) / kBatch;
        if (threshold > 0 && rows[k] != target && cosine[k] > threshold) continue;
        const double dc = kScale * (p - (rows[k] == target ? 1 : 0)) / kBatch;
        for (std::int64_t i = 0; i < kWidth; ++i) {
          result[static_cast<std::size_t>(rows[k] * kWidth + i)] +=
              dc * (x.at(n * kWidth + i) / length - cosine[k] * at(rows[k], i) / norm[k]) / norm[k];
        }
      }
    }
    return result;
  }

  void step(const std::vector<double>& gradient, double rate, const std::set<std::int64_t>& moved) {
    for (const std::int64_t row : moved) {
      for (std::int64_t i = row * kWidth; i < (row + 1) * kWidth; ++i) {
        const auto e = static_cast<std::size_t>(i);
        v[e] = 0.9 * v[e] + gradient[e] + kDecay * w[e];
        w[e] -= rate * v[e];
      }
    }
  }

 private:
  double at(std::int64_t row, std::int64_t i) const {
    return w[static_cast<std::size_t>(row * kWidth + i)];
  }
};

HostTensor first_table() { return uniform("centres", {kClasses, kWidth}, -1, 1); }

HostTensor all_rows() {
  std::vector<std::int64_t> list;
  for (std::int64_t i = 0; i < kClasses; ++i) list.push_back(i);
  return labels_tensor(list);
}

/// The largest difference of losses, centres and velocities over 25 steps; `compiled`: f32 on the
/// CPU.
double difference(bool dense, bool compiled, double threshold = 0) {
  const Graph graph = make_training_step(head_only(), options_of(kSample, dense, threshold));
  const DType dtype = compiled ? DType::f32 : DType::f64;
  const HostTensor table = first_table();
  TensorMap state = {{kTable, table.cast(dtype).clone()},
                     {kVelocity, HostTensor(dtype, {kClasses, kWidth})}};
  std::unique_ptr<Context> context;
  if (compiled) {
    context = compile(graph, {{kTable, state.at(kTable)}, {kVelocity, state.at(kVelocity)}})
                  ->make_context();
  }
  PlainHead plain{table.to_doubles(), std::vector<double>(kClasses * kWidth, 0)};
  const CenterSampler sampler(kClasses, kSample, 9);
  MissedSteps missed(kClasses, {0.9, kDecay, false});
  std::set<std::int64_t> all;
  for (std::int64_t row = 0; row < kClasses; ++row) all.insert(row);
  double worst = 0;
  for (int t = 0; t < 25; ++t) {
    const HostTensor x = embeddings_at(t), labels = labels_at(t);
    const HostTensor rows = sampler.draw(t, {labels});
    TensorMap inputs = {{"x", x},
                        {"labels", places_of(labels, rows)},
                        {"sampled", rows},
                        {"lr", HostTensor::from_doubles({1}, {rate_at(t)}).cast(dtype)}};
    if (dense) inputs["owed"] = missed.owed(rows, dtype);
    const std::vector<std::int64_t> chosen(rows.as<std::int64_t>(),
                                           rows.as<std::int64_t>() + kSample);
    const std::vector<double> gradient = plain.gradient(x, labels, chosen, threshold);
    plain.step(gradient, rate_at(t), dense ? all : std::set(chosen.begin(), chosen.end()));
    double loss = 0;
    if (compiled) {
      loss = context->run(inputs).at("loss").at(0);
    } else {
      const auto result = evaluate_step(graph, inputs, state);
      for (const auto& [key, tensor] : result.updates) state[key] = tensor;
      loss = result.outputs.at("loss").at(0);
    }
    worst = std::max(worst, std::fabs(loss - plain.loss));
    missed.stepped(rows, rate_at(t));
  }
  if (compiled) state = context->state().snapshot();
  const std::vector<double> owed = missed.owed(all_rows(), DType::f64).to_doubles();
  for (std::int64_t i = 0; i < kClasses * kWidth; ++i) {
    const double* o = owed.data() + i / kWidth * 4;
    double w = state.at(kTable).at(i), v = state.at(kVelocity).at(i);
    if (dense) {
      const double old = w;
      w = o[0] * old + o[1] * v;
      v = o[2] * old + o[3] * v;
    }
    const auto e = static_cast<std::size_t>(i);
    worst = std::max({worst, std::fabs(w - plain.w[e]), std::fabs(v - plain.v[e])});
  }
  return worst;
}

TEST(PartialFcStep, MatchesADenseImplementation) {
  for (const bool dense : {false, true}) {
    EXPECT_LT(difference(dense, false), 1e-12) << "float64, v" << (dense ? 2 : 1);
    EXPECT_LT(difference(dense, true), 1e-5) << "f32, v" << (dense ? 2 : 1);
  }
}

TEST(PartialFcStep, FiltersOtherClassesAmongTheSampled) {
  EXPECT_LT(difference(true, false, 0.4), 1e-12);
  EXPECT_LT(difference(true, true, 0.4), 1e-5);
}

/// All centres sampled: the ordinary head, to the bit.
TEST(PartialFcStep, AllCentresAreTheOrdinaryHead) {
  const auto run = [](const StepOptions& options) {
    const Graph graph = make_training_step(head_only(), options);
    const auto context = compile(graph, {{kTable, first_table()},
                                         {kVelocity, HostTensor(DType::f32, {kClasses, kWidth})}})
                             ->make_context();
    std::vector<double> losses;
    MissedSteps missed(kClasses, {0.9, kDecay, false});
    for (int t = 0; t < 4; ++t) {
      TensorMap inputs = {{"x", embeddings_at(t)},
                          {"labels", labels_at(t)},
                          {"lr", HostTensor::from_doubles({1}, {rate_at(t)}).cast(DType::f32)}};
      if (options.loss.sampled > 0) inputs["sampled"] = all_rows();
      if (options.dense_centers) inputs["owed"] = missed.owed(all_rows());
      losses.push_back(context->run(inputs).at("loss").at(0));
      missed.stepped(all_rows(), rate_at(t));
    }
    std::vector<double> all = context->state().tensors().at(kTable).to_doubles();
    all.insert(all.end(), losses.begin(), losses.end());
    return all;
  };
  const std::vector<double> ordinary = run(options_of(0, false));
  EXPECT_EQ(run(options_of(kClasses, false)), ordinary);
  EXPECT_EQ(run(options_of(kClasses, true)), ordinary);
}

TEST(PartialFcStep, OtherOptimizersStepTheSampledRowsAlone) {
  for (const auto kind : {OptimizerOptions::Kind::adam, OptimizerOptions::Kind::adamw,
                          OptimizerOptions::Kind::lars}) {
    StepOptions options = options_of(kSample, false);
    options.optimizer.kind = kind;
    const Graph graph = make_training_step(head_only(), options);
    // The same rows as a head of their own.
    StepOptions small = options;
    small.loss.sampled = 0;
    small.loss.classes = kSample;
    const Graph rows_only = make_training_step(head_only(), small);
    const HostTensor labels = labels_at(0);
    const HostTensor rows = CenterSampler(kClasses, kSample, 1).draw(0, {labels});
    TensorMap inputs = {{"x", embeddings_at(0)},
                        {"labels", places_of(labels, rows)},
                        {"lr", HostTensor::from_doubles({1}, {0.1})}};
    TensorMap state = fill_parameters(graph), own;
    for (auto& [key, tensor] : state) {
      if (!key.starts_with("optimizer.")) continue;
      tensor = key == "optimizer.step" ? HostTensor(DType::f32, {1})
                                       : uniform(key, tensor.shape(), 0.1, 1);
    }
    for (const auto& [key, tensor] : state) {
      own[key] = tensor;
      if (tensor.rank() != 2) continue;
      own[key] = HostTensor(DType::f32, {kSample, kWidth});
      for (std::int64_t i = 0; i < kSample * kWidth; ++i) {
        const std::int64_t row = rows.as<std::int64_t>()[i / kWidth];
        own[key].as_mutable<float>()[i] = tensor.as<float>()[row * kWidth + i % kWidth];
      }
    }
    const auto wanted = evaluate_step(rows_only, inputs, own);
    inputs["sampled"] = rows;
    const auto found = evaluate_step(graph, inputs, state);
    ASSERT_EQ(found.updates.size(), wanted.updates.size());
    for (const auto& [key, tensor] : wanted.updates) {
      if (tensor.rank() != 2) continue;
      TensorMap expected = {{key, state.at(key).cast(DType::f64).clone()}};
      for (std::int64_t i = 0; i < kSample * kWidth; ++i) {
        const std::int64_t row = rows.as<std::int64_t>()[i / kWidth];
        expected.at(key).as_mutable<double>()[row * kWidth + i % kWidth] = tensor.at(i);
      }
      EXPECT_LT(max_difference(found.updates.at(key), expected.at(key)), 1e-15) << key;
    }
  }
}

TEST(PartialFcStep, MemoryGrowsWithTheSampleNotTheClasses) {
  const auto arena = [](std::int64_t classes, std::int64_t sample) {
    StepOptions options = options_of(sample, true);
    options.loss.classes = classes;
    const Graph graph = make_training_step(head_only(), options);
    const HostTensor table(DType::f32, {classes, kWidth});
    return compile(graph, {{kTable, table}, {kVelocity, HostTensor(DType::f32, {classes, kWidth})}})
        ->program(1)
        .arena_bytes;
  };
  EXPECT_EQ(arena(10'000, 500), arena(1'000'000, 500));
  EXPECT_GT(arena(10'000, 2000), 3 * arena(10'000, 500));
}

TEST(PartialFcStep, HeadStaysF32InBf16Training) {
  StepOptions options = options_of(kSample, true);
  const Graph graph = make_training_step(head_only(), options);
  CompileOptions bf16;
  bf16.precision = Precision::bf16;
  const auto executable = compile(
      graph, {{kTable, first_table()}, {kVelocity, HostTensor(DType::f32, {kClasses, kWidth})}},
      bf16);
  int products = 0;
  for (const StepInfo& step : executable->program(1).steps) {
    EXPECT_NE(step.implementation, "oracle") << step.kind;
    if (step.kind != "matmul") continue;
    ++products;
    EXPECT_TRUE(step.result_type.starts_with("f32")) << step.result_type;
  }
  EXPECT_GE(products, 1);
}

TEST(PartialFcStep, MistakesAreNamed) {
  EXPECT_EQ(
      test::error_of([] { make_training_step(head_only(), options_of(kClasses + 1, false)); }),
      "41 of 40 centres cannot be sampled; a margin loss takes from 1 to all of them, or 0 for the "
      "ordinary head");
  StepOptions adam = options_of(kSample, true);
  adam.optimizer.kind = OptimizerOptions::Kind::adam;
  EXPECT_EQ(test::error_of([&] { make_training_step(head_only(), adam); }),
            "only SGD can make up for the steps that rows of 'head.weight' missed: with another "
            "optimizer rows that are not sampled stay as they are");
  StepOptions averaged = options_of(kSample, false);
  averaged.optimizer.ema_decay = 0.9;
  EXPECT_EQ(
      test::error_of([&] { make_training_step(head_only(), averaged); }),
      "there is no average of 'head.weight', whose rows are sampled: a step would have to read all "
      "of it; set ema_decay to 0");
}

}  // namespace
}  // namespace facet::testing
