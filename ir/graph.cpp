#include "ir/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "ir/error.h"
#include "ir/op.h"

namespace facet {
namespace {

/// " in layer1.conv1 at net.cpp:12", as far as it is known.
std::string place_of(const Provenance& from) {
  std::string text;
  if (!from.scope.empty()) text += " in " + from.scope;
  if (!from.location.empty()) text += " at " + from.location;
  return text;
}

/// "conv(f32[N, 3, 8, 8], f32[8, 4, 3, 3]) in layer1.conv1 at net.cpp:12".
std::string describe(const OpDef& op, std::span<const Type> operands, const Provenance& from) {
  std::string text(op.name);
  text += "(";
  for (std::size_t i = 0; i < operands.size(); ++i) {
    text += (i != 0 ? ", " : "") + to_string(operands[i]);
  }
  return text + ")" + place_of(from);
}

void complete_attributes(const OpDef& op, Attributes& attributes) {
  for (const AttributeSpec& spec : op.attributes) {
    if (!spec.required && !attributes.has(spec.name)) {
      attributes.set(std::string(spec.name), spec.default_value);
    }
  }
  check_attributes(op, attributes);
}

void check_arity(const OpDef& op, std::size_t count) {
  const auto [least, most] = op.signature.arity();
  if (static_cast<int>(count) < least || (most >= 0 && static_cast<int>(count) > most)) {
    throw usage_error(fmt::format("op '{}' takes {}{} operands, not {}", op.name, least,
                                  most < 0          ? " or more"
                                  : most == least ? ""
                                                    : fmt::format(" to {}", most),
                                  count));
  }
}

/// Completes `attributes` and infers the result types; an error says which node it is about.
std::vector<Type> infer(const OpDef& op, std::span<const Type> operands, Attributes& attributes,
                        const Provenance& provenance) {
  try {
    check_arity(op, operands.size());
    complete_attributes(op, attributes);
    return op.infer(InferContext{op, operands, attributes});
  } catch (const Error& error) {
    throw Error(error.kind(),
                fmt::format("{}\n  in {}", error.what(), describe(op, operands, provenance)));
  }
}

Error unknown_name(std::string_view what, const std::string& name,
                   const std::vector<Output>& known) {
  std::vector<std::string> names;
  for (const Output& output : known) names.push_back(output.name);
  std::string hint = did_you_mean(name, names);
  if (hint.empty()) hint = fmt::format("the graph has {} of them", names.size());
  return usage_error(fmt::format("there is no {} '{}'; {}", what, name, hint));
}

const Output* find_named(const std::vector<Output>& outputs, const std::string& name) {
  for (const Output& output : outputs) {
    if (output.name == name) return &output;
  }
  return nullptr;
}

}  // namespace

std::string_view Node::kind() const { return op_->name; }

void Node::set_operand(int i, Value value) {
  Value& slot = operands_.at(static_cast<std::size_t>(i));
  if (slot == value) return;
  if (slot.node != nullptr) {
    std::erase(slot.node->uses_, std::pair(slot.index, Use{this, i}));
  }
  slot = value;
  if (value.node != nullptr) value.node->uses_.emplace_back(value.index, Use{this, i});
}

std::vector<Use> Node::uses(int i) const {
  std::vector<Use> result;
  for (const auto& [index, use] : uses_) {
    if (index == i) result.push_back(use);
  }
  return result;
}

Graph::~Graph() = default;

Graph::Graph(Graph&& other) noexcept
    : name_(std::move(other.name_)),
      nodes_(std::move(other.nodes_)),
      outputs_(std::move(other.outputs_)),
      updates_(std::move(other.updates_)),
      taps_(std::move(other.taps_)),
      parameters_(std::move(other.parameters_)) {
  adopt();
}

Graph& Graph::operator=(Graph&& other) noexcept {
  name_ = std::move(other.name_);
  nodes_ = std::move(other.nodes_);
  outputs_ = std::move(other.outputs_);
  updates_ = std::move(other.updates_);
  taps_ = std::move(other.taps_);
  parameters_ = std::move(other.parameters_);
  adopt();
  return *this;
}

void Graph::adopt() {
  for (auto& node : nodes_) node->graph_ = this;
}

Node* Graph::create(const OpDef& op, std::vector<Value> operands, Attributes attributes,
                    Provenance provenance, Node* before) {
  std::vector<Type> types;
  for (const Value& value : operands) {
    if (!value || value.index < 0 || value.index >= value.node->result_count()) {
      throw failure(fmt::format("op '{}' got an operand that does not exist", op.name));
    }
    if (value.node->graph_ != this) {
      throw usage_error(fmt::format("op '{}' got an operand of another graph, '{}'{}", op.name,
                                    value.node->graph_->name(), place_of(provenance)));
    }
    types.push_back(value.type());
    types.back().layout.clear();  // inference is about logical types
  }
  std::vector<Type> results = infer(op, types, attributes, provenance);
  const auto place = before != nullptr ? before->position_ : nodes_.end();
  auto owned = std::unique_ptr<Node>(new Node());
  Node* node = owned.get();
  node->graph_ = this;
  node->op_ = &op;
  node->types_ = std::move(results);
  node->attributes_ = std::move(attributes);
  node->provenance_ = std::move(provenance);
  node->operands_.resize(operands.size());
  node->position_ = nodes_.insert(place, std::move(owned));
  for (std::size_t i = 0; i < operands.size(); ++i) node->set_operand(static_cast<int>(i), operands[i]);
  return node;
}

Node* Graph::create(std::string_view op, std::vector<Value> operands, Attributes attributes,
                    Provenance provenance, Node* before) {
  return create(find_op(op), std::move(operands), std::move(attributes), std::move(provenance),
                before);
}

void Graph::replace_uses(Value from, Value to) {
  for (const Use& use : from.node->uses(from.index)) use.node->set_operand(use.operand, to);
  for (std::vector<Output>* list : {&outputs_, &updates_, &taps_}) {
    for (Output& output : *list) {
      if (output.value == from) output.value = to;
    }
  }
}

void Graph::erase(Node* node) {
  const auto reads_it = [&](const Output& output) { return output.value.node == node; };
  const bool is_read = std::any_of(outputs_.begin(), outputs_.end(), reads_it) ||
                       std::any_of(updates_.begin(), updates_.end(), reads_it);
  if (!node->uses_.empty() || is_read) {
    throw failure(fmt::format("cannot erase '{}' ({}): its result is still read", node->kind(),
                              node->provenance().scope));
  }
  std::erase_if(taps_, [&](const Output& tap) { return tap.value.node == node; });
  for (int i = 0; i < node->operand_count(); ++i) node->set_operand(i, Value{});
  nodes_.erase(node->position_);
}

void Graph::move_before(Node* node, Node* at) {
  nodes_.splice(at->position_, nodes_, node->position_);
}

void Graph::sort_topologically() {
  std::map<const Node*, int> missing;
  std::vector<Node*> order;
  std::map<const Node*, std::size_t> rank;
  for (const auto& node : nodes_) rank.emplace(node.get(), rank.size());
  const auto later = [&](const Node* a, const Node* b) { return rank[a] < rank[b]; };
  std::set<Node*, decltype(later)> ready(later);
  for (const auto& node : nodes_) {
    missing[node.get()] = node->operand_count();
    if (node->operand_count() == 0) ready.insert(node.get());
  }
  while (!ready.empty()) {
    Node* node = *ready.begin();
    ready.erase(ready.begin());
    order.push_back(node);
    for (const auto& [index, use] : node->uses_) {
      if (--missing[use.node] == 0) ready.insert(use.node);
    }
  }
  if (order.size() != nodes_.size()) throw failure("the graph has a cycle");
  for (Node* node : order) nodes_.splice(nodes_.end(), nodes_, node->position_);
}

void Graph::infer_types() {
  for (const auto& node : nodes_) {
    std::vector<Type> operands;
    for (const Value& value : node->operands_) {
      operands.push_back(value.type());
      operands.back().layout.clear();
    }
    std::vector<Type> types = infer(*node->op_, operands, node->attributes_, node->provenance_);
    for (std::size_t i = 0; i < types.size(); ++i) {
      if (types[i].layout.empty()) types[i].layout = node->types_[i].layout;
    }
    node->types_ = std::move(types);
  }
}

std::vector<Node*> Graph::node_list() const {
  std::vector<Node*> list;
  list.reserve(nodes_.size());
  for (const auto& node : nodes_) list.push_back(node.get());
  return list;
}

std::vector<Node*> Graph::inputs() const {
  std::vector<Node*> list;
  for (const auto& node : nodes_) {
    if (node->is("input")) list.push_back(node.get());
  }
  return list;
}

bool Graph::is_output(Value value) const {
  const auto names_it = [&](const Output& output) { return output.value == value; };
  return std::any_of(outputs_.begin(), outputs_.end(), names_it) ||
         std::any_of(updates_.begin(), updates_.end(), names_it);
}

int Graph::use_count(Value value) const {
  int count = 0;
  for (const auto& [index, use] : value.node->all_uses()) count += index == value.index ? 1 : 0;
  for (const Output& output : outputs_) count += output.value == value ? 1 : 0;
  for (const Output& update : updates_) count += update.value == value ? 1 : 0;
  return count;
}

const Parameter* Graph::find_parameter(std::string_view key) const {
  for (const Parameter& parameter : parameters_) {
    if (parameter.key == key) return &parameter;
  }
  return nullptr;
}

Node* Graph::read_parameter(const std::string& key) {
  for (const auto& node : nodes_) {
    if (node->is("parameter") && node->attributes().text("key") == key) return node.get();
  }
  const Parameter* parameter = find_parameter(key);
  if (parameter == nullptr) {
    throw usage_error(fmt::format("graph '{}' has no parameter '{}'", name_, key));
  }
  return create("parameter", {}, {{"key", key}, {"type", to_string(parameter->type)}}, {key, {}, {}},
                nodes_.empty() ? nullptr : nodes_.front().get());
}

void Graph::add_update(const std::string& key, Value value) {
  Node* node = read_parameter(key);
  if (!(node->result().type() == value.type())) {
    throw usage_error(fmt::format("state '{}' is {} and cannot become {}", key,
                                  to_string(node->result().type()), to_string(value.type())));
  }
  node->attributes().set("mutable", true);
  for (Output& update : updates_) {
    if (update.name == key) {
      update.value = value;
      return;
    }
  }
  updates_.push_back({key, value});
}

void Graph::promote_taps(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (find_named(outputs_, name) != nullptr) continue;
    const Output* tap = find_named(taps_, name);
    if (tap == nullptr) throw unknown_name("tap", name, taps_);
    outputs_.push_back(*tap);
  }
  taps_.clear();
}

void Graph::select_outputs(const std::vector<std::string>& names) {
  std::vector<Output> kept;
  for (const std::string& name : names) {
    const Output* output = find_named(outputs_, name);
    if (output == nullptr) throw unknown_name("output", name, outputs_);
    if (find_named(kept, name) == nullptr) kept.push_back(*output);
  }
  outputs_ = std::move(kept);
}

Graph Graph::clone() const {
  Graph copy(name_);
  copy.parameters_ = parameters_;
  std::map<const Node*, Node*> twins;
  const auto twin = [&](Value value) { return Value{twins.at(value.node), value.index}; };
  for (const auto& node : nodes_) {
    auto owned = std::unique_ptr<Node>(new Node());
    Node* made = owned.get();
    made->graph_ = &copy;
    made->op_ = node->op_;
    made->types_ = node->types_;
    made->attributes_ = node->attributes_;
    made->provenance_ = node->provenance_;
    made->operands_.resize(node->operands_.size());
    made->position_ = copy.nodes_.insert(copy.nodes_.end(), std::move(owned));
    for (int i = 0; i < node->operand_count(); ++i) made->set_operand(i, twin(node->operand(i)));
    twins[node.get()] = made;
  }
  for (const Output& output : outputs_) copy.outputs_.push_back({output.name, twin(output.value)});
  for (const Output& update : updates_) copy.updates_.push_back({update.name, twin(update.value)});
  for (const Output& tap : taps_) copy.taps_.push_back({tap.name, twin(tap.value)});
  return copy;
}

Graph Graph::with_symbol(std::string_view symbol, std::int64_t extent) const {
  Graph copy = clone();
  for (Node* input : copy.inputs()) {
    Type type = parse_type(input->attributes().text("type"));
    for (Dim& dim : type.shape) {
      if (dim.symbol == symbol) dim = Dim(dim.factor * extent);
    }
    input->attributes().set("type", to_string(type));
  }
  copy.infer_types();
  return copy;
}

std::vector<std::string> Graph::symbols() const {
  std::vector<std::string> found;
  for (const Node* input : inputs()) {
    for (const Dim& dim : input->result_types()[0].shape) {
      const bool is_new = std::find(found.begin(), found.end(), dim.symbol) == found.end();
      if (!dim.is_static() && is_new) found.push_back(dim.symbol);
    }
  }
  return found;
}

}  // namespace facet
