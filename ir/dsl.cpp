#include "ir/dsl.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "ir/dsl_state.h"
#include "ir/error.h"

namespace facet {
namespace dsl {

std::string location(const std::source_location& at) {
  const std::string_view file = at.file_name();
  return fmt::format("{}:{}", file.substr(file.rfind('/') + 1), at.line());
}

Tensor make(NetworkState* state, std::string_view op, std::vector<Value> operands,
            Attributes attributes, std::string scope, const std::source_location& at) {
  Node* node = state->graph.create(op, std::move(operands), std::move(attributes),
                                   Provenance{std::move(scope), location(at), {}});
  state->position[node] = static_cast<int>(state->position.size());
  return {state, node->result()};
}

Attributes conv_attributes(const ConvOptions& options, Strings epilogue) {
  const std::int64_t p = options.padding;
  return {{"strides", Ints{options.stride, options.stride}},
          {"pads", Ints{p, p, p, p}},
          {"dilations", Ints{options.dilation, options.dilation}},
          {"groups", options.groups},
          {"epilogue", std::move(epilogue)}};
}

}  // namespace dsl

namespace {

using dsl::conv_attributes;
using dsl::location;
using dsl::make;

/// The framework default for conv and linear: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
Initializer default_init(std::int64_t fan_in) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(std::max<std::int64_t>(fan_in, 1)));
  return {Initializer::Kind::uniform, -bound, bound};
}

std::int64_t require_out(std::int64_t out, std::string_view name, const std::source_location& at) {
  if (out < 1) {
    throw usage_error(fmt::format("layer '{}' at {} needs .out, the number of outputs",
                                  name, location(at)));
  }
  return out;
}

int child_place(NetworkState& state, int place, std::string_view name) {
  for (const auto& [known, index] : state.places[static_cast<std::size_t>(place)].children) {
    if (known == name) return index;
  }
  const int made = static_cast<int>(state.places.size());
  const std::string& base = state.places[static_cast<std::size_t>(place)].path;
  ModulePlace child;
  child.path = base.empty() ? std::string(name) : fmt::format("{}.{}", base, name);
  state.places[static_cast<std::size_t>(place)].children.emplace_back(name, made);
  state.places.push_back(std::move(child));
  return made;
}

void collect_parameters(const NetworkState& state, int place, std::vector<Parameter>& list) {
  const ModulePlace& at = state.places[static_cast<std::size_t>(place)];
  for (const std::string& key : at.own) list.push_back(state.parameters.at(key));
  for (const auto& [name, child] : at.children) collect_parameters(state, child, list);
}

/// Removes nodes that no output needs, and their taps.
void sweep(Graph& graph) {
  std::set<const Node*> outputs;
  for (const Output& output : graph.outputs()) outputs.insert(output.value.node);
  for (const Output& update : graph.updates()) outputs.insert(update.value.node);
  std::vector<Node*> nodes = graph.node_list();
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    if ((*it)->all_uses().empty() && !outputs.contains(*it) && !(*it)->is("input")) graph.erase(*it);
  }
}

/// Declares a parameter at `place`, or finds it again when `shared`.
Value declare(const Scope& scope, int place, bool shared, std::string_view name, Type type,
              ParameterRole role, Initializer init, const std::source_location& at,
              bool trainable = true, HostTensor fixed = {}) {
  NetworkState& state = *scope.state();
  ModulePlace& module = state.places[static_cast<std::size_t>(place)];
  const std::string key =
      module.path.empty() ? std::string(name) : fmt::format("{}.{}", module.path, name);
  const auto known = state.parameters.find(key);
  if (known != state.parameters.end()) {
    if (!shared) {
      throw usage_error(fmt::format("parameter '{}' is declared twice, again at {}; take "
                                    "scope.shared() if the layer is meant to be used again",
                                    key, location(at)));
    }
    if (!(known->second.type == type)) {
      throw usage_error(fmt::format("shared parameter '{}' is {} but was declared as {}, at {}", key,
                                    to_string(type), to_string(known->second.type), location(at)));
    }
    return state.values.at(key);
  }
  module.own.push_back(key);
  state.parameters.emplace(key, Parameter{key, type, role, init, trainable, std::move(fixed)});
  const Tensor tensor = make(&state, "parameter", {}, {{"key", key}, {"type", to_string(type)}},
                             module.path, at);
  state.values.emplace(key, tensor.value());
  return tensor.value();
}

}  // namespace

std::int64_t Tensor::extent(std::int64_t axis, std::source_location at) const {
  const std::int64_t i = axis < 0 ? axis + rank() : axis;
  if (i < 0 || i >= rank()) {
    throw usage_error(fmt::format("axis {} is outside {}, at {}", axis, to_string(value_.type()),
                                  location(at)));
  }
  const Dim& dim = shape()[static_cast<std::size_t>(i)];
  if (!dim.is_static()) {
    throw usage_error(fmt::format("axis {} of {} is symbolic where a number is needed, at {}", axis,
                                  to_string(value_.type()), location(at)));
  }
  return dim.factor;
}

std::int64_t Tensor::channels(std::source_location at) const { return extent(1, at); }

Scope Scope::operator/(std::string_view name) const {
  int place = place_;
  while (!name.empty()) {
    const std::size_t dot = name.find('.');
    place = child_place(*state_, place, name.substr(0, dot));
    name = dot == std::string_view::npos ? std::string_view{} : name.substr(dot + 1);
  }
  return {state_, place, shared_};
}

Scope Scope::shared() const { return {state_, place_, true}; }

void Scope::order(std::initializer_list<std::string_view> children) const {
  for (const std::string_view child : children) *this / child;
}

std::string Scope::path() const { return state_->places[static_cast<std::size_t>(place_)].path; }

Tensor Scope::output(Tensor x) const {
  const std::string name = path();
  const auto& taps = state_->graph.taps();
  const bool known = std::any_of(taps.begin(), taps.end(),
                                 [&](const Output& tap) { return tap.name == name; });
  if (!known && !name.empty()) state_->graph.taps().push_back({name, x.value()});
  return x;
}

Tensor Scope::conv(std::string_view name, Tensor x, ConvOptions options, At at) const {
  const Scope here = *this / name;
  const std::int64_t k = options.kernel;
  const std::int64_t out = require_out(options.out, here.path(), at);
  const std::int64_t in = x.channels(at) / std::max<std::int64_t>(options.groups, 1);
  const Initializer init = default_init(in * k * k);
  std::vector<Value> operands{
      x.value(), declare(here, here.place_, shared_, "weight", Type{DType::f32, {out, in, k, k}, {}},
                         ParameterRole::weight, options.init.value_or(init), at)};
  Strings epilogue;
  if (options.bias) {
    operands.push_back(declare(here, here.place_, shared_, "bias", Type{DType::f32, {out}, {}},
                               ParameterRole::bias, init, at));
    epilogue.push_back("bias");
  }
  return here.output(make(state_, "conv", std::move(operands),
                          conv_attributes(options, std::move(epilogue)),
                          here.path(), at));
}

Tensor Scope::linear(std::string_view name, Tensor x, LinearOptions options, At at) const {
  const Scope here = *this / name;
  const std::int64_t out = require_out(options.out, here.path(), at);
  const std::int64_t in = x.extent(-1, at);
  const Initializer init = default_init(in);
  std::vector<Value> operands{
      x.value(), declare(here, here.place_, shared_, "weight", Type{DType::f32, {out, in}, {}},
                         ParameterRole::weight, options.init.value_or(init), at)};
  Strings epilogue;
  if (options.bias) {
    operands.push_back(declare(here, here.place_, shared_, "bias", Type{DType::f32, {out}, {}},
                               ParameterRole::bias, init, at));
    epilogue.push_back("bias");
  }
  return here.output(make(state_, "linear", std::move(operands),
                          {{"epilogue", std::move(epilogue)}}, here.path(), at));
}

Tensor Scope::batch_norm(std::string_view name, Tensor x, BatchNormOptions options, At at) const {
  const Scope here = *this / name;
  const Type channels{DType::f32, {x.channels(at)}, {}};
  const auto part = [&](std::string_view part_name, const Type& type, ParameterRole role,
                        double value, bool trainable) {
    return declare(here, here.place_, shared_, part_name, type, role,
                   {Initializer::Kind::constant, value, 0}, at, trainable);
  };
  const Value weight =
      part("weight", channels, ParameterRole::bn_weight, 1, options.trainable_weight);
  const Value bias = part("bias", channels, ParameterRole::bn_bias, 0, true);
  const Value mean = part("running_mean", channels, ParameterRole::running_mean, 0, false);
  const Value var = part("running_var", channels, ParameterRole::running_var, 1, false);
  part("num_batches_tracked", Type{DType::i64, {}, {}}, ParameterRole::batches_tracked, 0, false);
  return here.output(make(state_, "batch_norm", {x.value(), weight, bias, mean, var},
                          {{"epsilon", options.epsilon}, {"momentum", options.momentum}},
                          here.path(), at));
}

Tensor Scope::prelu(std::string_view name, Tensor x, PReluOptions options, At at) const {
  const Scope here = *this / name;
  const Type type{DType::f32, {options.shared ? 1 : x.channels(at)}, {}};
  const Value slope = declare(here, here.place_, shared_, "weight", type, ParameterRole::prelu_slope,
                              {Initializer::Kind::constant, options.init, 0}, at);
  return here.output(make(state_, "prelu", {x.value(), slope}, {}, here.path(), at));
}

Tensor Scope::parameter(std::string_view name, std::vector<std::int64_t> shape, Initializer init,
                        ParameterRole role, At at) const {
  const Type type{DType::f32, Shape(shape.begin(), shape.end()), {}};
  return {state_, declare(*this, place_, shared_, name, type, role, init, at)};
}

Tensor Scope::state_parameter(std::string_view name, std::vector<std::int64_t> shape,
                              Initializer init, At at) const {
  const Type type{DType::f32, Shape(shape.begin(), shape.end()), {}};
  return {state_, declare(*this, place_, shared_, name, type, ParameterRole::other, init, at, false)};
}

Tensor Scope::buffer(std::string_view name, HostTensor values, At at) const {
  const Type type{values.dtype(), Shape(values.shape().begin(), values.shape().end()), {}};
  return {state_, declare(*this, place_, shared_, name, type, ParameterRole::other, {}, at, false,
                          std::move(values))};
}

Network::Network(std::string name) : state_(std::make_unique<NetworkState>()) {
  state_->graph.set_name(std::move(name));
  state_->places.emplace_back();
}
Network::Network(Graph graph) : state_(std::make_unique<NetworkState>()) {
  state_->given = std::move(graph.parameters());
  graph.parameters().clear();
  state_->graph = std::move(graph);
  state_->places.emplace_back();
  // What the graph reads is known by key, so that shared() finds it again.
  for (const Parameter& parameter : state_->given) state_->parameters.emplace(parameter.key, parameter);
  for (Node* node : state_->graph.node_list()) {
    state_->position[node] = static_cast<int>(state_->position.size());
    if (node->is("parameter")) state_->values.emplace(node->attributes().text("key"), node->result());
  }
}

Network::~Network() = default;
Network::Network(Network&&) noexcept = default;

Tensor Network::input(std::string name, Shape shape, DType dtype, std::source_location at) {
  for (const Node* input : state_->graph.inputs()) {
    if (input->attributes().text("name") != name) continue;
    throw usage_error(fmt::format("a second input '{}' at {}, the first is at {}", name, location(at),
                                  input->provenance().location));
  }
  const Type type{dtype, std::move(shape), {}};
  return make(state_.get(), "input", {}, {{"name", name}, {"type", to_string(type)}}, name, at);
}

Scope Network::root() { return {state_.get(), 0, false}; }

Tensor Network::result(std::string_view output_name) {
  std::vector<std::string> names;
  for (const Output& output : state_->graph.outputs()) {
    if (output.name == output_name) return {state_.get(), output.value};
    names.push_back(output.name);
  }
  const std::string hint = did_you_mean(output_name, names);
  throw usage_error(fmt::format("network '{}' has no output '{}'; {}", state_->graph.name(),
                                output_name, hint.empty() ? fmt::format("it has {}", fmt::join(names, ", "))
                                                          : hint));
}

void Network::update(Tensor state, Tensor value, std::source_location at) {
  if (!state.value().node->is("parameter")) {
    throw usage_error(fmt::format("update at {} takes a state that Scope::state_parameter gave",
                                  location(at)));
  }
  state_->updates.push_back({state.value().node->attributes().text("key"), value.value()});
}

void Network::output(std::string name, Tensor value, std::source_location at) {
  for (const Output& output : state_->graph.outputs()) {
    if (output.name != name) continue;
    throw usage_error(fmt::format("a second output '{}' at {}", name, location(at)));
  }
  state_->graph.outputs().push_back({std::move(name), value.value()});
}

Graph Network::finish() {
  Graph graph = std::move(state_->graph);
  graph.parameters() = std::move(state_->given);
  collect_parameters(*state_, 0, graph.parameters());
  for (const Output& update : state_->updates) graph.add_update(update.name, update.value);
  sweep(graph);
  verify(graph);
  return graph;
}

}  // namespace facet
