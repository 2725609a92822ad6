#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "passes/recompute_policy.h"
#include "passes/target.h"

namespace facet {

/// What a pass did, or why it did not: the material of `facet explain`.
struct Remark {
  enum class Kind { applied, missed } kind = Kind::applied;
  std::string pass;
  std::string scope;    ///< where: a DSL scope
  std::string pattern;  ///< what: "conv+bias+relu", "concat slice"
  std::string reason;   ///< missed: why not
  /// applied: the scopes of the nodes that what was made stands for.
  std::vector<std::string> origins = {};
};

/// Computes one node on given operands (constant folding). One tensor per result.
using Evaluator =
    std::function<std::vector<HostTensor>(const Node& node, std::span<const HostTensor> operands)>;

/// What passes share in one compilation. `target` may be null for passes that do not ask it.
struct PassContext {
  const Target* target = nullptr;
  Evaluator evaluate;
  /// Constant folding refuses results that need more bytes than their operands plus this.
  std::int64_t fold_budget_bytes = 1 << 20;
  RecomputePolicy recompute;
  /// Bytes of a recompute budget for what its estimate does not see: gaps between buffers.
  std::int64_t recompute_reserve = 0;
  RecomputeReport recomputed;  ///< set by `recompute`
  /// Temporary bytes of the node's kernel, for memory budgets; may be empty.
  std::function<std::int64_t(const Node&)> scratch_bytes;
  std::vector<Remark> remarks;
  std::string_view pass;  ///< the running pass, set by the manager

  /// `node` is what the pass made; its provenance names the place and the origins.
  void applied(const Node& node, std::string pattern) {
    const Provenance& from = node.provenance();
    std::vector<std::string> origins = from.origins;
    if (origins.empty() && !from.scope.empty()) origins.push_back(from.scope);
    applied(node, std::move(pattern), std::move(origins));
  }
  /// For a pass that makes several nodes of several.
  void applied(const Node& node, std::string pattern, std::vector<std::string> origins) {
    remarks.push_back({Remark::Kind::applied, std::string(pass), node.provenance().scope,
                       std::move(pattern), {}, std::move(origins)});
  }
  void missed(const Node& node, std::string pattern, std::string reason) {
    remarks.push_back({Remark::Kind::missed, std::string(pass), node.provenance().scope,
                       std::move(pattern), std::move(reason), {}});
  }
};

/// Graph to graph. `run` returns whether it changed anything; the manager checks the claim.
struct Pass {
  std::string_view name;
  std::string_view doc;
  bool (*run)(Graph& graph, PassContext& context);
};

struct PassReport {
  std::string name;
  bool changed = false;
  double milliseconds = 0;
  std::size_t nodes_before = 0;
  std::size_t nodes_after = 0;
};

struct PipelineOptions {
  bool verify = true;                  ///< after every changing pass
  bool check_claims = true;            ///< fingerprints before and after
  std::vector<std::string> disabled;   ///< pass names to skip; an unknown one is Error(usage)
  int stop_after = -1;                 ///< run only the first N passes
  std::function<void(std::string_view pass, const Graph& graph)> after_pass;  ///< dumps
};

/// Runs the passes in order. Errors carry "while <pass>".
std::vector<PassReport> run_pipeline(Graph& graph, std::span<const Pass> passes,
                                     PassContext& context, const PipelineOptions& options = {});

/// All passes by name, for tests, `show --after` and `--disable`.
const std::vector<Pass>& all_passes();
const Pass& find_pass(std::string_view name);

/// Target-independent and fusing passes on symbolic shapes, in order.
std::vector<Pass> optimization_pipeline();
/// Passes on static shapes that need the target's answers: layouts and reorders.
std::vector<Pass> layout_pipeline();

/// Whether a value depends on parameters and constants only, so that it is computed once when
/// weights are bound and never while the program runs.
bool is_prepared(Value value);

// The passes; each is described at the top of its file.
bool canonicalize(Graph& graph, PassContext& context);
bool eliminate_common_subexpressions(Graph& graph, PassContext& context);
bool eliminate_dead_code(Graph& graph, PassContext& context);
bool fold_constants(Graph& graph, PassContext& context);
bool split_term_sums(Graph& graph, PassContext& context);
bool fuse_attention(Graph& graph, PassContext& context);
bool fold_batch_norm(Graph& graph, PassContext& context);
bool lower_batch_norm(Graph& graph, PassContext& context);
bool lower_score_moments(Graph& graph, PassContext& context);
bool fuse_gate(Graph& graph, PassContext& context);
bool fuse_epilogue(Graph& graph, PassContext& context);
bool merge_branches(Graph& graph, PassContext& context);
bool fuse_cotangents(Graph& graph, PassContext& context);
bool move_slices(Graph& graph, PassContext& context);
bool fuse_elementwise(Graph& graph, PassContext& context);
bool lower_to_bf16(Graph& graph, PassContext& context);
bool lower_to_f16(Graph& graph, PassContext& context);
bool decompose_unsupported(Graph& graph, PassContext& context);
bool keep_weights(Graph& graph, PassContext& context);
bool move_reversals(Graph& graph, PassContext& context);
bool assign_layouts(Graph& graph, PassContext& context);
bool eliminate_reorders(Graph& graph, PassContext& context);
bool recompute(Graph& graph, PassContext& context);
bool sink_updates(Graph& graph, PassContext& context);

}  // namespace facet
