#pragma once

#include <map>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/dsl.h"

/// What the two halves of the DSL share: dsl.cpp (module tree, layers) and dsl_functions.cpp
/// (functions without parameters). Networks include ir/dsl.h only.
namespace facet {

/// A place in the module tree: its own parameters first, then its children, as a state_dict goes.
struct ModulePlace {
  std::string path;
  std::vector<std::string> own;  // parameter keys
  std::vector<std::pair<std::string, int>> children;
};

struct NetworkState {
  Graph graph;
  std::vector<ModulePlace> places;
  std::map<std::string, Parameter> parameters;
  std::map<std::string, Value> values;  // parameter nodes by key
  std::vector<Output> updates;          // of state, by key
  std::vector<Parameter> given;         // of the graph that a Network goes on with
  std::map<const Node*, int> position;  // creation order, to name nodes after their latest operand
};

namespace dsl {

/// "net.cpp:12": without the folder, which differs from machine to machine.
std::string location(const std::source_location& at);
/// A node of one result at the end of the graph.
Tensor make(NetworkState* state, std::string_view op, std::vector<Value> operands,
            Attributes attributes, std::string scope, const std::source_location& at);
Attributes conv_attributes(const ConvOptions& options, Strings epilogue);

}  // namespace dsl
}  // namespace facet
