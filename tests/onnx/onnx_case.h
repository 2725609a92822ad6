#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "ir/error.h"
#include "ir/graph.h"
#include "ir/text.h"
#include "passes/pass.h"
#include "runtime/formats/onnx/onnx_export.h"
#include "runtime/formats/onnx/onnx_import.h"
#include "runtime/formats/onnx/recompose.h"

/// What the tests of ONNX files share.
namespace facet::testing {

/// A folder that is gone with its test.
class Folder {
 public:
  Folder() {
    std::string pattern =
        (std::filesystem::path(::testing::TempDir()) / "facet_onnx_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw failure("cannot make a folder for a test");
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  std::vector<std::string> files() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      names.insert(entry.path().filename().string());
    }
    return {names.begin(), names.end()};
  }

 private:
  std::filesystem::path path_;
};

/// The message of the Error that `work` throws; empty if it throws none.
inline std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// Nodes in the order in which the outputs ask for them, operands in their order.
inline void order_by_demand(Graph& graph) {
  std::vector<Node*> order;
  std::set<const Node*> seen;
  const std::function<void(Node*)> visit = [&](Node* node) {
    if (!seen.insert(node).second) return;
    for (const Value& operand : node->operands()) visit(operand.node);
    order.push_back(node);
  };
  for (Node* input : graph.inputs()) visit(input);
  for (const Output& output : graph.outputs()) visit(output.value.node);
  for (std::size_t i = order.size(); i-- > 1;) graph.move_before(order[i - 1], order[i]);
}

/// One spelling of what a graph computes: as the importer composes it, canonical, without
/// repetitions and dead nodes, in one order.
inline Graph normal_form(const Graph& given) {
  Graph graph = given.clone();
  graph.taps().clear();
  PassContext context;
  for (int i = 0; i < 2; ++i) {
    recompose(graph);
    canonicalize(graph, context);
    eliminate_common_subexpressions(graph, context);
    eliminate_dead_code(graph, context);
  }
  order_by_demand(graph);
  verify(graph);
  return graph;
}

/// The lines of a graph's nodes in the text form, without scopes.
inline std::vector<std::string> node_lines(const Graph& graph) {
  std::vector<std::string> lines;
  std::istringstream text(to_text(graph));
  for (std::string line; std::getline(text, line);) {
    if (line.find("  %") == 0 || line.find("  return") == 0)
      lines.push_back(line.substr(0, line.find(" @ \"")));
  }
  return lines;
}

/// Whether both graphs are the same but for names; says where they part.
inline ::testing::AssertionResult same_network(const Graph& declared, const Graph& imported) {
  const Graph a = normal_form(declared);
  const Graph b = normal_form(imported);
  if (fingerprint(a) == fingerprint(b)) return ::testing::AssertionSuccess();
  const std::vector<std::string> left = node_lines(a);
  const std::vector<std::string> right = node_lines(b);
  for (std::size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
    const std::string l = i < left.size() ? left[i] : "nothing";
    const std::string r = i < right.size() ? right[i] : "nothing";
    if (l != r) return ::testing::AssertionFailure() << "declared " << l << "\nimported " << r;
  }
  return ::testing::AssertionFailure() << "the fingerprints differ, the texts do not";
}

}  // namespace facet::testing
