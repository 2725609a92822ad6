#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "backends/reference/reference.h"
#include "ir/text.h"
#include "passes/pass.h"
#include "tests/support/fill.h"
#include "tests/support/op_samples.h"

/// Golden tests of single passes. A test writes the body of a graph in the text form: the lines of
/// the nodes and of `return`, with a newline in front; the `param` lines follow from the parameters
/// that are read.
namespace facet::testing {

/// The state_dict role that a key's last part stands for, as the text form spells it.
inline std::string role_of_key(const std::string& key) {
  const std::string name = key.substr(key.rfind('.') + 1);
  static const std::map<std::string, std::string> roles = {
      {"weight", "weight"},   {"bias", "bias"},        {"gamma", "bn_weight"},
      {"beta", "bn_bias"},    {"mean", "running_mean"}, {"var", "running_var"},
      {"slope", "prelu_slope"}};
  const auto found = roles.find(name);
  return found != roles.end() ? found->second : "other";
}

/// The whole text of a graph with this body.
inline std::string graph_text(std::string_view body) {
  std::string text = "graph \"g\" {\n";
  std::set<std::string> keys;
  const std::string_view head = "parameter() {key = \"";
  for (std::size_t at = body.find(head); at != std::string_view::npos; at = body.find(head, at + 1)) {
    const std::string_view rest = body.substr(at + head.size());
    const std::string key(rest.substr(0, rest.find('"')));
    const std::size_t type = rest.find("} : ") + 4;
    const std::string_view tail = rest.substr(type, rest.find('\n') - type);
    if (!keys.insert(key).second) continue;
    text += "  param \"" + key + "\" : " + std::string(tail.substr(0, tail.find(']') + 1)) + " " +
            role_of_key(key) + " constant(0.0, 0.0)\n";
  }
  return text + std::string(body.substr(1)) + "}\n";
}

/// The body of a graph, in the form tests write it.
inline std::string body_of(const Graph& graph) {
  const std::string text = to_text(graph, {.parameters = false});
  const std::size_t first = text.find('\n');
  return text.substr(first, text.size() - first - 2);
}

/// The body with the first `from` replaced; empty if there is none.
inline std::string changed(std::string_view body, std::string_view from, std::string_view to) {
  std::string text(body);
  const std::size_t at = text.find(from);
  return at == std::string::npos ? std::string() : text.replace(at, from.size(), to);
}

inline Graph parse_body(std::string_view body) { return parse_graph(graph_text(body)); }

/// Largest difference of two outputs as a share of the first one's largest element; infinite when
/// shapes differ.
inline double relative_difference(const HostTensor& expected, const HostTensor& found) {
  double scale = std::numeric_limits<double>::min();
  for (const double value : expected.to_doubles()) scale = std::max(scale, std::fabs(value));
  return max_difference(expected, found) / scale;
}

/// Largest relative difference over all outputs, which must have the same names.
inline double worst_difference(const TensorMap& expected, const TensorMap& found) {
  double worst = expected.size() == found.size() ? 0 : std::numeric_limits<double>::infinity();
  for (const auto& [name, tensor] : expected) {
    const auto other = found.find(name);
    if (other == found.end()) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, relative_difference(tensor, other->second));
  }
  return worst;
}

inline TensorMap evaluate_filled(const Graph& graph, std::int64_t batch = 2) {
  return evaluate(graph, fill_inputs(graph, batch), fill_parameters(graph));
}

/// The reference computing one node: what constant folding asks for.
inline Evaluator reference_evaluator() {
  return [](const Node& node, std::span<const HostTensor> operands) {
    Graph graph("fold");
    std::vector<Value> values;
    for (const HostTensor& operand : operands) {
      values.push_back(graph.create("constant", {}, {{"value", operand}})->result());
    }
    Node* copy = graph.create(node.op(), values, node.attributes());
    std::vector<HostTensor> results;
    for (int i = 0; i < copy->result_count(); ++i) {
      graph.outputs() = {{"y", copy->result(i)}};
      results.push_back(evaluate(graph, {}, {}).at("y"));
    }
    return results;
  };
}

/// What a pass made of a graph.
struct Outcome {
  bool changed = false;
  std::string body;
  std::vector<Remark> remarks;
};

/// Runs one pass on the graph with this body under the manager, so that its claim and the result
/// are checked. Checks besides that the body is canonical text, that the result reads back, and that
/// the outputs are what they were (bf16 is not rounded by the reference).
inline Outcome run_pass(std::string_view pass, std::string_view body, PassContext context = {}) {
  Graph graph = parse_body(body);
  EXPECT_EQ(body_of(graph), body) << "the case is not written in canonical text";
  const Graph before = graph.clone();
  const std::vector<Pass> passes = {find_pass(pass)};
  Outcome outcome;
  outcome.changed = run_pipeline(graph, passes, context).at(0).changed;
  outcome.body = body_of(graph);
  outcome.remarks = context.remarks;
  const std::string text = to_text(graph);
  const Graph read_back = parse_graph(text);
  EXPECT_EQ(to_text(read_back), text);
  EXPECT_EQ(fingerprint(read_back), fingerprint(graph));
  EXPECT_LE(worst_difference(evaluate_filled(before), evaluate_filled(graph)), 1e-12);
  return outcome;
}

/// The pass turns `before` into `after`; the remarks are returned.
inline std::vector<Remark> expect_rewrite(std::string_view pass, std::string_view before,
                                          std::string_view after, PassContext context = {}) {
  const Outcome outcome = run_pass(pass, before, std::move(context));
  EXPECT_TRUE(outcome.changed);
  EXPECT_EQ(outcome.body, after);
  return outcome.remarks;
}

/// The pass leaves the graph as it is; the remarks are returned.
inline std::vector<Remark> expect_refusal(std::string_view pass, std::string_view body,
                                          PassContext context = {}) {
  const Outcome outcome = run_pass(pass, body, std::move(context));
  EXPECT_FALSE(outcome.changed);
  EXPECT_EQ(outcome.body, body);
  return outcome.remarks;
}

/// "missed fold-batch-norm @ bn1: conv+batch_norm: why", one line per remark.
inline std::string to_lines(const std::vector<Remark>& remarks) {
  std::string text;
  for (const Remark& remark : remarks) {
    text += remark.kind == Remark::Kind::applied ? "applied " : "missed ";
    text += remark.pass + " @ " + remark.scope + ": " + remark.pattern;
    text += remark.reason.empty() ? "\n" : ": " + remark.reason + "\n";
  }
  return text;
}

}  // namespace facet::testing
