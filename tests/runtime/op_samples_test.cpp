#include "tests/support/op_samples.h"

#include <gmock/gmock.h>

#include <cmath>
#include <set>
#include <string>

#include "backends/reference/reference.h"
#include "ir/error.h"
#include "runtime/compile.h"
#include "tests/support/device.h"

// Every op on its own samples through compile(), on the device under test: passes, lowering, memory
// and kernels together, against the float64 oracle.
namespace facet::testing {
namespace {

double relative_error(const HostTensor& actual, const HostTensor& expected) {
  double difference = 0;
  double size = 0;
  for (std::int64_t i = 0; i < expected.element_count(); ++i) {
    const double d = actual.at(i) - expected.at(i);
    difference += std::isfinite(expected.at(i)) ? d * d : (std::isnan(d) || d == 0 ? 0 : d);
    size += std::isfinite(expected.at(i)) ? expected.at(i) * expected.at(i) : 0;
  }
  return std::sqrt(difference) / std::max(std::sqrt(size), 1e-3);
}

/// What a result is rounded to decides.
double tolerance(DType dtype) {
  return dtype == DType::bf16 ? 1e-2 : dtype == DType::f16 ? 2e-3 : 1e-5;
}

TEST(OpSamples, EqualTheOracleOnTheDevice) {
  int samples = 0;
  std::set<std::string> refused;
  for (const OpDef* op : all_ops()) {
    for (const Sample& sample : op->samples.make()) {
      SCOPED_TRACE(describe(*op, sample));
      const SampleCase test = make_case(*op, sample);
      const TensorMap expected = evaluate(test.graph, test.inputs, {});
      try {
        const auto context = compile(test.graph, {}, device_options())->make_context();
        // A second and a third run are replays where the device has them.
        for (int run = 0; run < 3; ++run) {
          const TensorMap actual = context->run(test.inputs);
          for (const Output& output : test.graph.outputs()) {
            const double error = relative_error(actual.at(output.name), expected.at(output.name));
            EXPECT_LE(error, tolerance(output.value.dtype())) << output.name << " of run " << run;
          }
        }
        ++samples;
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), ::testing::HasSubstr("cannot run"));
        refused.insert(std::string(op->name));
      }
    }
  }
  RecordProperty("samples", samples);
  EXPECT_GT(samples, 500);
  for (const std::string& name : refused) RecordProperty("refused_" + name, 1);
}

}  // namespace
}  // namespace facet::testing
