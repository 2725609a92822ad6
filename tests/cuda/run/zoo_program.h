#pragma once

#include <utility>

#include "passes/pass.h"
#include "runtime/compile.h"
#include "tests/passes/pass_case.h"

namespace facet::test {

/// The steps that the runtime runs of a network on `target`: behind all passes, with `batch` in
/// place of its symbol.
inline Graph program_of(Graph graph, Precision precision, std::int64_t batch,
                        const Target& target) {
  PassContext context;
  context.target = &target;
  context.evaluate = testing::reference_evaluator();
  PipelineOptions options;
  options.verify = options.check_claims = false;  // the passes have tests of their own
  run_pipeline(graph, optimization_pipeline(), context, options);
  if (precision == Precision::bf16 || precision == Precision::f16) {
    find_pass(precision == Precision::bf16 ? "lower-to-bf16" : "lower-to-f16").run(graph, context);
    find_pass("eliminate-common-subexpressions").run(graph, context);
  }
  if (!graph.symbols().empty()) graph = graph.with_symbol(graph.symbols().front(), batch);
  run_pipeline(graph, layout_pipeline(), context, options);
  return graph;
}

}  // namespace facet::test
