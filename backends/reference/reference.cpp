#include "backends/reference/reference.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdint>

#include "backends/reference/evaluators.h"
#include "ir/error.h"

namespace facet {
namespace {

using reference::Call;
using reference::Extents;
using Symbols = std::map<std::string, std::int64_t>;

std::string text(const Extents& extents) { return fmt::format("[{}]", fmt::join(extents, ", ")); }

std::int64_t resolve(const Dim& dim, const Symbols& symbols) {
  if (dim.is_static()) return dim.factor;
  const auto found = symbols.find(dim.symbol);
  if (found == symbols.end()) {
    throw usage_error(fmt::format("no input gives the symbol {} an extent", dim.symbol));
  }
  return dim.factor * found->second;
}

Extents resolve(const Shape& shape, const Symbols& symbols) {
  Extents extents;
  for (const Dim& dim : shape) extents.push_back(resolve(dim, symbols));
  return extents;
}

/// Whether `extents` fit `shape`; symbols seen for the first time take their extent from it.
bool match(const Shape& shape, const Extents& extents, Symbols& symbols) {
  if (shape.size() != extents.size()) return false;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const Dim& dim = shape[i];
    std::int64_t expected = dim.factor;
    if (!dim.is_static()) {
      expected *= symbols.emplace(dim.symbol, extents[i] / dim.factor).first->second;
    }
    if (extents[i] != expected) return false;
  }
  return true;
}

/// Checks `tensors` against the leaves of one kind and appends a line to `problems` for each
/// misfit.
void check_leaves(const Graph& graph, std::string_view kind, std::string_view name_attribute,
                  const TensorMap& tensors, Symbols& symbols, std::vector<std::string>& problems) {
  for (const auto& node : graph.nodes()) {
    if (!node->is(kind)) continue;
    const std::string& name = node->attributes().text(name_attribute);
    const Shape& shape = node->result_types()[0].shape;
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      problems.push_back(fmt::format("{} '{}' {} is missing", kind, name, to_string(shape)));
    } else if (!match(shape, found->second.shape(), symbols)) {
      problems.push_back(fmt::format("{} '{}' has shape {}, expected {}", kind, name,
                                     text(found->second.shape()), to_string(shape)));
    }
  }
}

Symbols check(const Graph& graph, const TensorMap& inputs, const TensorMap& parameters) {
  Symbols symbols;
  std::vector<std::string> problems;
  check_leaves(graph, "input", "name", inputs, symbols, problems);
  check_leaves(graph, "parameter", "key", parameters, symbols, problems);
  if (!problems.empty()) {
    throw usage_error(fmt::format("graph '{}' cannot be evaluated:\n  {}", graph.name(),
                                  fmt::join(problems, "\n  ")));
  }
  return symbols;
}

class Evaluation {
 public:
  Evaluation(const TensorMap& inputs, const TensorMap& parameters, Symbols symbols)
      : inputs_(inputs), parameters_(parameters), symbols_(std::move(symbols)) {}

  EvaluatedStep run(const Graph& graph) {
    for (const auto& node : graph.nodes()) {
      for (int i = 0; i < node->result_count(); ++i) {
        const Value value = node->result(i);
        if (const int readers = graph.use_count(value); readers > 0) readers_left_[value] = readers;
      }
    }
    for (const auto& node : graph.nodes()) step(*node);
    EvaluatedStep result;
    for (const Output& output : graph.outputs()) result.outputs[output.name] = values_.at(output.value);
    for (const Output& update : graph.updates()) result.updates[update.name] = values_.at(update.value);
    return result;
  }

 private:
  void step(Node& node) {
    Call call{node, {}, {}, inputs_, parameters_};
    for (const Value operand : node.operands()) call.operands.push_back(read(operand));
    std::vector<HostTensor> results;
    try {
      for (const Type& type : node.result_types()) {
        call.result_shapes.push_back(resolve(type.shape, symbols_));
      }
      results = evaluator(node)(call);
    } catch (Error& error) {
      throw error.add_context(
          fmt::format("evaluating {} \"{}\"", node.kind(), node.provenance().scope));
    }
    keep(node, call, std::move(results));
  }

  static reference::Evaluator evaluator(const Node& node) {
    const auto found = reference::evaluators().find(node.kind());
    if (found == reference::evaluators().end()) {
      throw failure(fmt::format("the reference has no evaluator for '{}'", node.kind()));
    }
    return found->second;
  }

  /// The value, which is forgotten here if this was its last reader.
  HostTensor read(Value value) {
    HostTensor tensor = values_.at(value);
    if (--readers_left_.at(value) == 0) values_.erase(value);
    return tensor;
  }

  void keep(Node& node, const Call& call, std::vector<HostTensor> results) {
    for (int i = 0; i < node.result_count(); ++i) {
      HostTensor& result = results.at(static_cast<std::size_t>(i));
      const Extents& expected = call.result_shapes[static_cast<std::size_t>(i)];
      if (result.dtype() != DType::f64 || result.shape() != expected) {
        throw failure(fmt::format("the reference evaluated {} \"{}\" to {}[{}], expected f64{}",
                                  node.kind(), node.provenance().scope, to_string(result.dtype()),
                                  fmt::join(result.shape(), ", "), text(expected)));
      }
      const Value value = node.result(i);
      if (readers_left_.count(value) != 0) values_[value] = std::move(result);
    }
  }

  const TensorMap& inputs_;
  const TensorMap& parameters_;
  Symbols symbols_;
  std::map<Value, HostTensor> values_;
  std::map<Value, int> readers_left_;
};

}  // namespace

std::map<std::string, HostTensor> evaluate(const Graph& graph, const TensorMap& inputs,
                                           const TensorMap& parameters) {
  return evaluate_step(graph, inputs, parameters).outputs;
}

EvaluatedStep evaluate_step(const Graph& graph, const TensorMap& inputs, const TensorMap& parameters) {
  Symbols symbols = check(graph, inputs, parameters);
  return Evaluation(inputs, parameters, std::move(symbols)).run(graph);
}

}  // namespace facet
