#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>

#include "ir/error.h"
#include "passes/pass.h"

namespace facet {
namespace {

/// Order is the order of a full compilation; `find_pass` and the pipelines refer to it by name.
const std::vector<Pass>& table() {
  static const std::vector<Pass> passes{
      {"canonicalize", "One spelling for each meaning; identities vanish.", canonicalize},
      {"fold-constants", "Nodes on constants become constants, within a byte budget.",
       fold_constants},
      {"eliminate-common-subexpressions", "Equal nodes become one.",
       eliminate_common_subexpressions},
      {"eliminate-dead-code", "Nodes that no output needs vanish.", eliminate_dead_code},
      {"split-term-sums", "A sum over the parts of a concat becomes a sum of the parts.",
       split_term_sums},
      {"fuse-attention", "Scores, softmax and weighted values become one sdpa.", fuse_attention},
      {"fold-batch-norm", "Inference batch norms fold into the weights of conv and linear.",
       fold_batch_norm},
      {"lower-batch-norm", "Other inference batch norms become one scale and one shift.",
       lower_batch_norm},
      {"lower-score-moments",
       "Moments of attention scores become plain ops where the target needs it.",
       lower_score_moments},
      {"fuse-gate", "A map and the gates computed from it become one step.", fuse_gate},
      {"fuse-epilogue", "Bias, residual, activation and gate move into conv and linear.",
       fuse_epilogue},
      {"merge-branches", "Convolutions of one value become one wide convolution.", merge_branches},
      {"fuse-cotangents", "Two cotangents are added where a batch norm's gradient reads them.",
       fuse_cotangents},
      {"move-slices", "What is cut apart is computed part by part.", move_slices},
      {"fuse-elementwise", "Chains of scalar functions become one pass over memory.",
       fuse_elementwise},
      {"lower-to-bf16", "Compute on bf16 operands; activations in bf16.", lower_to_bf16},
      {"lower-to-f16", "Compute on f16 operands; activations in f16.", lower_to_f16},
      {"keep-weights", "Attention's weights are kept for its gradient.", keep_weights},
      {"decompose-unsupported", "What the target lacks becomes plainer ops.",
       decompose_unsupported},
      {"move-reversals", "Reversed matrices become reversed tables that they are multiplied with.",
       move_reversals},
      {"assign-layouts",
       "Layouts by the target's wish and the ops' roles; reorders where they "
       "disagree.",
       assign_layouts},
      {"eliminate-reorders", "Reorders that change no byte, cancel or repeat vanish.",
       eliminate_reorders},
      {"recompute", "What the backward pass reads is made again there instead of kept, by policy.",
       recompute},
      {"sink-updates", "An update runs behind all other readers of what it overwrites.",
       sink_updates}};
  return passes;
}

void check_names(const std::vector<std::string>& names) {
  std::vector<std::string> known;
  for (const Pass& pass : table()) known.emplace_back(pass.name);
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      std::string hint = did_you_mean(name, known);
      if (hint.empty()) hint = fmt::format("the passes are {}", fmt::join(known, ", "));
      throw usage_error(fmt::format("there is no pass '{}'; {}", name, hint));
    }
  }
}

/// Runs one pass; a claim that does not match the fingerprints is a defect of the pass.
PassReport run_pass(Graph& graph, const Pass& pass, PassContext& context,
                    const PipelineOptions& options) {
  PassReport report{std::string(pass.name), false, 0, graph.size(), 0};
  const std::uint64_t before = options.check_claims ? fingerprint(graph) : 0;
  const auto start = std::chrono::steady_clock::now();
  context.pass = pass.name;
  report.changed = pass.run(graph, context);
  report.milliseconds =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  report.nodes_after = graph.size();
  if (report.changed && options.verify) verify(graph);  // before a broken graph is walked
  if (options.check_claims && report.changed != (before != fingerprint(graph))) {
    throw failure(fmt::format("pass '{}' says it {} the graph, but it {}", pass.name,
                              report.changed ? "changed" : "did not change",
                              report.changed ? "is the same" : "is another"));
  }
  return report;
}

}  // namespace

const std::vector<Pass>& all_passes() { return table(); }

const Pass& find_pass(std::string_view name) {
  check_names({std::string(name)});
  return *std::find_if(table().begin(), table().end(),
                       [&](const Pass& pass) { return pass.name == name; });
}

std::vector<PassReport> run_pipeline(Graph& graph, std::span<const Pass> passes,
                                     PassContext& context, const PipelineOptions& options) {
  check_names(options.disabled);
  std::vector<PassReport> reports;
  int count = 0;
  for (const Pass& pass : passes) {
    if (options.stop_after >= 0 && count++ >= options.stop_after) break;
    if (std::find(options.disabled.begin(), options.disabled.end(), pass.name) !=
        options.disabled.end()) {
      continue;
    }
    const std::string where = fmt::format("running pass '{}' on '{}'", pass.name, graph.name());
    try {
      reports.push_back(run_pass(graph, pass, context, options));
    } catch (Error& error) {
      error.add_context(where);
      throw;
    } catch (const std::exception& error) {  // a defect of the pass, or no memory
      throw failure(error.what()).add_context(where);
    }
    if (options.after_pass) options.after_pass(pass.name, graph);
  }
  return reports;
}

std::vector<Pass> optimization_pipeline() {
  std::vector<Pass> passes;
  for (const std::string_view name :
       {"eliminate-dead-code", "fold-constants", "canonicalize", "eliminate-common-subexpressions",
        "split-term-sums", "fuse-attention", "fold-batch-norm", "lower-batch-norm",
        "lower-score-moments", "fuse-gate", "fuse-epilogue", "merge-branches", "fuse-cotangents",
        "move-slices", "fuse-elementwise", "fold-constants", "eliminate-common-subexpressions",
        "eliminate-dead-code"}) {
    passes.push_back(find_pass(name));
  }
  return passes;
}

std::vector<Pass> layout_pipeline() {
  std::vector<Pass> passes;
  for (const std::string_view name :
       {"move-reversals", "keep-weights", "decompose-unsupported", "eliminate-dead-code",
        "assign-layouts", "eliminate-reorders", "eliminate-common-subexpressions",
        "eliminate-dead-code", "recompute", "sink-updates"}) {
    passes.push_back(find_pass(name));
  }
  return passes;
}

}  // namespace facet
