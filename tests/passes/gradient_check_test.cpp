#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "backends/reference/reference.h"
#include "ir/op.h"
#include "passes/differentiate.h"
#include "tests/support/fill.h"
#include "tests/support/op_samples.h"

// Every gradient rule against central differences of its op, on the op's own samples in float64.
namespace facet {
namespace {

using testing::SampleCase;

/// Steps this small leave a rounding error near 1e-9 of a gradient of size 1, and stay clear of the
/// kinks (below).
constexpr double kStep = 1e-6;
constexpr double kTolerance = 1e-6;
constexpr int kElements =
    10;  ///< differences taken per operand, beside one along a random direction

/// Gradients that are zero by definition: {op, operand}.
bool is_zero_by_definition(std::string_view op, std::size_t operand, const Sample& sample) {
  if (op == "grid_sample" && operand == 1 && sample.attributes.has("mode")) {
    return sample.attributes.text("mode") == "nearest";
  }
  static const std::set<std::pair<std::string_view, std::size_t>> pairs = {
      {"greater", 0},       {"greater", 1},          {"where", 0},
      {"dropout_train", 1}, {"batch_norm_train", 3}, {"batch_norm_train", 4},
      {"equal", 0},         {"equal", 1},            {"greater_equal", 0},
      {"greater_equal", 1}, {"floor", 0},            {"ceil", 0},
      {"round", 0},         {"sign", 0},
  };
  return pairs.contains({op, operand});
}

/// Ops whose gradient is not the derivative of their value: differentiate_test.cpp has them.
bool is_derivative(std::string_view op) {
  return op != "stop_gradient" && op != "straight_through";
}

std::vector<const OpDef*> differentiable_ops() {
  std::vector<const OpDef*> list;
  for (const OpDef* op : all_ops()) {
    if (op->gradient.reason().empty() && is_derivative(op->name)) list.push_back(op);
  }
  return list;
}

/// Values over the sample's range in random order, evenly spaced and no two of them equal, not
/// across the operands either: no maximum has a tie, and 0 and other short fractions, where the ops
/// have kinks, are not among them.
HostTensor lattice(const std::string& name, std::size_t operand,
                   const std::vector<std::int64_t>& shape, const Sample& sample) {
  HostTensor values(DType::f64, shape);
  const HostTensor keys = testing::uniform(name, shape, 0, 1);
  std::vector<std::int64_t> order(static_cast<std::size_t>(values.element_count()));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::int64_t a, std::int64_t b) { return keys.at(a) < keys.at(b); });
  const double step = (sample.hi - sample.lo) / static_cast<double>(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    const double place = static_cast<double>(i) + 0.4142 + 0.1309 * static_cast<double>(operand);
    values.as_mutable<double>()[order[i]] = sample.lo + step * place;
  }
  return values;
}

HostTensor every_other_zero(HostTensor values) {
  for (std::int64_t i = 0; i < values.element_count(); i += 2) values.as_mutable<double>()[i] = 0;
  return values;
}

/// The inputs of the case, in one of several draws; labels stay what the sample says.
TensorMap check_inputs(const SampleCase& c, const OpDef& op, const Sample& sample, int draw) {
  TensorMap inputs = c.inputs;
  for (std::size_t i = 0; i < sample.operands.size(); ++i) {
    if (!is_float(sample.operands[i].dtype)) continue;
    const std::string name = fmt::format("x{}", i);
    const HostTensor values =
        lattice(fmt::format("{}:{}", name, draw), i, inputs.at(name).shape(), sample);
    inputs[name] = op.name == "where" && i == 0 ? every_other_zero(values) : values;
  }
  return inputs;
}

/// Results that have a cotangent: the statistics of a batch norm have none, nor have indices.
int differentiable_results(const OpDef& op, const Node& node) {
  if (op.name == "batch_norm_train") return 1;
  const auto types = node.result_types();
  const auto first = std::find_if(types.begin(), types.end(),
                                  [](const Type& type) { return !is_float(type.dtype); });
  return static_cast<int>(first - types.begin());
}

class Check {
 public:
  Check(const OpDef& op, const Sample& sample, int draw)
      : op_(op), sample_(sample), forward_(testing::make_case(op, sample)) {
    inputs_ = check_inputs(forward_, op, sample, draw);
    const Node& node = *forward_.graph.outputs().at(0).value.node;
    forward_.graph.outputs().resize(static_cast<std::size_t>(differentiable_results(op, node)));
    for (const Output& output : forward_.graph.outputs()) {
      cotangents_[output.name] = testing::uniform("cotangent:" + output.name,
                                                  static_extents(output.value.shape()), 0.5, 1.5);
    }
  }

  /// The operands whose gradient is all zero, here as by differences.
  std::set<std::size_t> run() {
    const std::vector<HostTensor> analytic = gradients();
    for (std::size_t i = 0; i < analytic.size(); ++i) {
      if (is_float(sample_.operands[i].dtype)) compare(i, analytic[i]);
    }
    return zeros_;
  }

 private:
  /// One tensor per operand; zeros where differentiation found no path.
  std::vector<HostTensor> gradients() {
    SampleCase c = testing::make_case(op_, sample_);
    TensorMap inputs = inputs_;
    std::vector<Seed> seeds;
    for (const auto& [name, cotangent] : cotangents_) {
      const auto output = std::find_if(c.graph.outputs().begin(), c.graph.outputs().end(),
                                       [&](const Output& o) { return o.name == name; });
      const Value seed =
          c.graph
              .create("input", {},
                      {{"name", "c" + name}, {"type", to_string(output->value.type())}})
              ->result();
      seeds.push_back({output->value, seed});
      inputs["c" + name] = cotangent;
    }
    std::vector<Value> wrt;
    for (std::size_t i = 0; i < sample_.operands.size(); ++i)
      wrt.push_back(c.graph.inputs()[i]->result());
    const std::vector<Value> found = differentiate(c.graph, seeds, wrt);
    c.graph.outputs().clear();
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (!found[i]) continue;
      EXPECT_EQ(found[i].dtype(), sample_.operands[i].dtype);
      c.graph.outputs().push_back({fmt::format("g{}", i), found[i]});
    }
    verify(c.graph);
    const TensorMap values = evaluate(c.graph, inputs, {});
    std::vector<HostTensor> result;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const auto value = values.find(fmt::format("g{}", i));
      result.push_back(value != values.end()
                           ? value->second
                           : HostTensor(DType::f64, static_extents(sample_.operands[i].shape)));
    }
    return result;
  }

  /// The derivative of sum(cotangent * result) when operand `i` moves along `direction`.
  double difference(std::size_t i, const std::vector<double>& direction) {
    const std::string name = fmt::format("x{}", i);
    const auto at = [&](double step) {
      TensorMap inputs = inputs_;
      HostTensor moved = inputs.at(name).clone();
      for (std::size_t k = 0; k < direction.size(); ++k)
        moved.as_mutable<double>()[k] += step * direction[k];
      inputs[name] = moved;
      return evaluate(forward_.graph, inputs, {});
    };
    const TensorMap above = at(kStep), below = at(-kStep);
    double sum = 0;
    for (const auto& [output, cotangent] : cotangents_) {
      for (std::int64_t k = 0; k < cotangent.element_count(); ++k) {
        sum += cotangent.at(k) * (above.at(output).at(k) - below.at(output).at(k));
      }
    }
    return sum / (2 * kStep);
  }

  void compare(std::size_t i, const HostTensor& analytic) {
    SCOPED_TRACE(
        fmt::format("operand {} ({})", i,
                    op_.signature.operands[std::min(i, op_.signature.operands.size() - 1)]));
    const auto count = static_cast<std::size_t>(analytic.element_count());
    ASSERT_EQ(count, static_cast<std::size_t>(inputs_.at(fmt::format("x{}", i)).element_count()));
    double largest = 0, norm = 0;
    for (const double g : analytic.to_doubles()) {
      largest = std::max(largest, std::fabs(g));
      norm += g * g;
    }
    if (is_zero_by_definition(op_.name, i, sample_)) {
      EXPECT_EQ(largest, 0);
    } else if (largest == 0) {
      zeros_.insert(i);
    }
    const double scale = std::max(largest, 1e-3);
    const HostTensor places =
        testing::uniform("places", {kElements}, 0, static_cast<double>(count));
    for (std::int64_t k = 0;
         k < std::min<std::int64_t>(kElements, static_cast<std::int64_t>(count)); ++k) {
      const std::size_t place =
          count <= kElements ? static_cast<std::size_t>(k) : static_cast<std::size_t>(places.at(k));
      std::vector<double> direction(count, 0);
      direction[place] = 1;
      EXPECT_LE(std::fabs(difference(i, direction) - analytic.at(static_cast<std::int64_t>(place))),
                kTolerance * scale)
          << "element " << place;
    }
    std::vector<double> direction(count);
    double expected = 0;
    const HostTensor signs = testing::uniform("signs", {static_cast<std::int64_t>(count)}, -1, 1);
    for (std::size_t k = 0; k < count; ++k) {
      direction[k] = signs.at(static_cast<std::int64_t>(k)) < 0 ? -1 : 1;
      expected += direction[k] * analytic.at(static_cast<std::int64_t>(k));
    }
    EXPECT_LE(std::fabs(difference(i, direction) - expected),
              kTolerance * std::max(std::sqrt(norm), 1e-3))
        << "along a random direction";
  }

  const OpDef& op_;
  const Sample& sample_;
  SampleCase forward_;
  TensorMap inputs_;
  TensorMap cotangents_;
  std::set<std::size_t> zeros_;
};

class GradientCheck : public ::testing::TestWithParam<const OpDef*> {};

/// Where a gradient is zero for these values (a relu that is off), other values are drawn: in one
/// of the draws it must not be zero, since two zeros that agree check nothing.
TEST_P(GradientCheck, AgreesWithCentralDifferences) {
  const OpDef& op = *GetParam();
  for (const Sample& sample : op.samples.make()) {
    SCOPED_TRACE(testing::describe(op, sample));
    std::set<std::size_t> zeros = Check(op, sample, 0).run();
    for (int draw = 1; draw < 5 && !zeros.empty(); ++draw) {
      const std::set<std::size_t> again = Check(op, sample, draw).run();
      std::erase_if(zeros, [&](std::size_t operand) { return !again.contains(operand); });
    }
    for (const std::size_t operand : zeros)
      ADD_FAILURE() << "operand " << operand << " has no gradient";
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, GradientCheck, ::testing::ValuesIn(differentiable_ops()),
                         [](const auto& test) { return std::string(test.param->name); });

}  // namespace
}  // namespace facet
