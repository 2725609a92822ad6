#include "passes/sampled_rows.h"

#include <fmt/format.h>

#include "ir/error.h"
#include "ir/op.h"

namespace facet {

Node* sampled_rows(Graph& graph, const std::string& key) {
  const Node* table = graph.read_parameter(key);
  const std::vector<Use> readers = table->uses(0);
  if (readers.size() == 1 && readers[0].operand == 0 &&
      (readers[0].node->is("gather_rows") || readers[0].node->is("owed_rows"))) {
    return readers[0].node;
  }
  throw usage_error(
      fmt::format("parameter '{}' of graph '{}' has {} readers; a table whose rows are "
                  "sampled is read by one gather_rows alone",
                  key, graph.name(), readers.size()));
}

void owe_missed_steps(Graph& graph, const std::string& key) {
  Node* gather = sampled_rows(graph, key);
  const Value table = gather->operand(0), rows = gather->operand(1);
  const std::string velocity = "optimizer." + key + ".velocity";
  if (graph.find_parameter(velocity) != nullptr) {
    throw usage_error(fmt::format("graph '{}' has state '{}' already", graph.name(), velocity));
  }
  graph.parameters().push_back({velocity, table.type(), ParameterRole::other, {}, false, {}});
  Builder build(graph, gather, gather->provenance());
  const Type owed{DType::f32, {rows.shape()[0].factor * 4}, {}};
  const Value missed =
      build("input", {}, {{"name", std::string("owed")}, {"type", to_string(owed)}});
  const Value now =
      build("owed_rows", {table, graph.read_parameter(velocity)->result(), rows, missed});
  graph.replace_uses(gather->result(), now);
  graph.erase(gather);
}

}  // namespace facet
