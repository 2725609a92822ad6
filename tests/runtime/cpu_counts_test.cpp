#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "backends/cpu/cpu_backend.h"
#include "runtime/compile.h"
#include "runtime/weights.h"
#include "tests/support/paths.h"
#include "zoo/zoo.h"

namespace facet {
namespace {

constexpr const char* kModels[] = {"lscnn", "dcr", "arcface_iresnet18", "mla_iresnet18"};

/// Steps, layout changes, concat slices and bytes of each model's program. They move only when
/// somebody means them to: run with FACET_UPDATE_GOLDEN=1 and read the difference.
nlohmann::json counts_of(const ProgramInfo& program) {
  return {{"steps", program.steps.size()},
          {"reorders", program.reorders},
          {"concat_slices", program.concat_slices},
          {"concat_copies", program.concat_copies},
          {"arena_bytes", program.arena_bytes}};
}

nlohmann::json compile_zoo() {
  nlohmann::json found;
  for (const char* model : kModels) {
    const Graph graph = zoo::build(model, {});
    const TensorMap weights = trial_weights(graph, 1);
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      CompileOptions options;
      options.precision = precision;
      const auto executable = compile(graph, weights, options, 1);
      for (const std::int64_t batch : {1, 4}) {
        const ProgramInfo& program = executable->program(batch);
        EXPECT_LE(static_cast<double>(program.arena_bytes),
                  1.15 * static_cast<double>(program.lower_bound_bytes))
            << model << " at batch " << batch;
        found[model][std::string(to_string(precision))][std::to_string(batch)] = counts_of(program);
      }
    }
  }
  return found;
}

TEST(CpuCounts, ZooProgramsAreGoldenAndNearTheMemoryLowerBound) {
  const nlohmann::json found = compile_zoo();
  const std::string path = (testing::test_data() / "golden/cpu_counts.json").string();
  if (std::getenv("FACET_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << found.dump(1) << "\n";
    return;
  }
  const CpuFeatures features = cpu_features();
  if (!features.avx512_bf16 || features.amx_bf16 || std::thread::hardware_concurrency() != 2) {
    GTEST_SKIP() << "the counts were taken on 2 cores with AVX-512 bf16 and no AMX; oneDNN's choices "
                    "and scratch sizes differ here";
  }
  EXPECT_EQ(found, nlohmann::json::parse(std::ifstream(path)));
}

}  // namespace
}  // namespace facet
