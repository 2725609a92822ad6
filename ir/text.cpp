#include "ir/text.h"

#include <fmt/format.h>

#include <array>
#include <map>

#include "ir/hash.h"
#include "ir/op.h"
#include "ir/text_names.h"

namespace facet {
namespace {

using Numbers = std::map<const Node*, int>;

Numbers number_nodes(const Graph& graph) {
  Numbers numbers;
  for (const auto& node : graph.nodes()) numbers.emplace(node.get(), static_cast<int>(numbers.size()));
  return numbers;
}

std::string value_name(const Numbers& numbers, Value value) {
  std::string name = fmt::format("%{}", numbers.at(value.node));
  if (value.node->result_count() > 1) name += fmt::format(".{}", value.index);
  return name;
}

/// Attributes that differ from the op's default, "{a = 1, b = [2]}"; empty if there are none.
std::string attribute_text(const Node& node) {
  std::string text;
  for (const auto& [name, value] : node.attributes()) {
    bool is_default = false;
    for (const AttributeSpec& spec : node.op().attributes) {
      is_default |= spec.name == name && !spec.required && equal(spec.default_value, value);
    }
    if (is_default) continue;
    text += text.empty() ? " {" : ", ";
    text += fmt::format("{} = {}", name, to_string(value));
  }
  return text.empty() ? text : text + "}";
}

std::string node_line(const Node& node, const Numbers& numbers, const TextOptions& options) {
  std::string text = fmt::format("%{}", numbers.at(&node));
  if (node.result_count() > 1) text += fmt::format(":{}", node.result_count());
  text += fmt::format(" = {}(", node.kind());
  for (int i = 0; i < node.operand_count(); ++i) {
    text += (i != 0 ? ", " : "") + value_name(numbers, node.operand(i));
  }
  text += ")";
  if (options.attributes) text += attribute_text(node);
  text += " : ";
  if (node.result_count() > 1) text += "(";
  for (std::size_t i = 0; i < node.result_types().size(); ++i) {
    text += (i != 0 ? ", " : "") + to_string(node.result_types()[i]);
  }
  if (node.result_count() > 1) text += ")";
  if (options.scopes && !node.provenance().scope.empty()) {
    text += " @ " + to_string(Attribute(node.provenance().scope));
  }
  return text;
}

std::string parameter_line(const Parameter& parameter) {
  const auto role = static_cast<std::size_t>(parameter.role);
  std::string text = fmt::format("param {} : {} {}", to_string(Attribute(parameter.key)),
                                 to_string(parameter.type), text_names::kRoles[role]);
  if (!parameter.fixed.empty()) {
    text += " fixed " + to_string(Attribute(parameter.fixed));
  } else {
    const auto kind = static_cast<std::size_t>(parameter.init.kind);
    text += fmt::format(" {}({}, {})", text_names::kInitializers[kind],
                        to_string(Attribute(parameter.init.a)),
                        to_string(Attribute(parameter.init.b)));
  }
  return parameter.trainable ? text : text + " frozen";
}

std::string escape_label(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

std::string json_quote(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      result += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      result += c;
    }
  }
  return result + "\"";
}

}  // namespace

std::string to_text(const Graph& graph, const TextOptions& options) {
  const Numbers numbers = number_nodes(graph);
  std::string text = fmt::format("graph {} {{\n", to_string(Attribute(graph.name())));
  if (options.parameters) {
    for (const Parameter& parameter : graph.parameters()) text += "  " + parameter_line(parameter) + "\n";
  }
  for (const auto& node : graph.nodes()) text += "  " + node_line(*node, numbers, options) + "\n";
  for (const Output& update : graph.updates()) {
    text += fmt::format("  update {} = {}\n", to_string(Attribute(update.name)),
                        value_name(numbers, update.value));
  }
  text += "  return";
  for (std::size_t i = 0; i < graph.outputs().size(); ++i) {
    const Output& output = graph.outputs()[i];
    text += fmt::format("{} {} = {}", i != 0 ? "," : "", to_string(Attribute(output.name)),
                        value_name(numbers, output.value));
  }
  return text + "\n}\n";
}

std::string to_dot(const Graph& graph) {
  const Numbers numbers = number_nodes(graph);
  std::string text = fmt::format("digraph \"{}\" {{\n  node [shape=box, fontname=\"sans-serif\"];\n",
                                 escape_label(graph.name()));
  for (const auto& node : graph.nodes()) {
    text += fmt::format("  n{} [label=\"{}\\n{}\"];\n", numbers.at(node.get()), node->kind(),
                        escape_label(node->provenance().scope));
    for (const Value& value : node->operands()) {
      text += fmt::format("  n{} -> n{} [label=\"{}\"];\n", numbers.at(value.node),
                          numbers.at(node.get()), escape_label(to_string(value.type())));
    }
  }
  for (std::size_t i = 0; i < graph.outputs().size(); ++i) {
    const Output& output = graph.outputs()[i];
    text += fmt::format("  out{} [label=\"{}\", shape=oval];\n  n{} -> out{} [label=\"{}\"];\n", i,
                        escape_label(output.name), numbers.at(output.value.node), i,
                        escape_label(to_string(output.value.type())));
  }
  return text + "}\n";
}

std::string to_json(const Graph& graph) {
  const Numbers numbers = number_nodes(graph);
  const auto list = [](const auto& items, auto&& print) {
    std::string text = "[";
    bool first = true;
    for (const auto& item : items) {
      text += (first ? "" : ", ") + print(item);
      first = false;
    }
    return text + "]";
  };
  std::string text = fmt::format("{{\"name\": {},\n \"parameters\": ", json_quote(graph.name()));
  text += list(graph.parameters(), [](const Parameter& parameter) {
    return fmt::format("{{\"key\": {}, \"type\": {}}}", json_quote(parameter.key),
                       json_quote(to_string(parameter.type)));
  });
  text += ",\n \"inputs\": ";
  text += list(graph.inputs(), [](const Node* input) {
    return fmt::format("{{\"name\": {}, \"type\": {}}}",
                       json_quote(input->attributes().text("name")),
                       json_quote(to_string(input->result_types()[0])));
  });
  text += ",\n \"nodes\": [\n";
  bool first = true;
  for (const auto& node : graph.nodes()) {
    text += first ? "  " : ",\n  ";
    first = false;
    text += fmt::format("{{\"id\": {}, \"op\": {}, \"scope\": {}", numbers.at(node.get()),
                        json_quote(node->kind()), json_quote(node->provenance().scope));
    text += ", \"operands\": " + list(node->operands(), [&](const Value& value) {
      return json_quote(value_name(numbers, value));
    });
    text += ", \"types\": " + list(node->result_types(), [](const Type& type) {
      return json_quote(to_string(type));
    });
    text += ", \"attributes\": {";
    bool first_attribute = true;
    for (const auto& [name, value] : node->attributes()) {
      text += fmt::format("{}{}: {}", first_attribute ? "" : ", ", json_quote(name),
                          json_quote(to_string(value)));
      first_attribute = false;
    }
    text += "}}";
  }
  text += "\n ],\n \"outputs\": ";
  text += list(graph.outputs(), [&](const Output& output) {
    return fmt::format("{{\"name\": {}, \"value\": {}}}", json_quote(output.name),
                       json_quote(value_name(numbers, output.value)));
  });
  return text + "}\n";
}

std::uint64_t fingerprint(const Graph& graph) {
  const Numbers numbers = number_nodes(graph);
  Hasher hasher;
  for (const auto& node : graph.nodes()) {
    hasher.text(node->kind());
    hasher.number(static_cast<std::uint64_t>(node->operand_count()));
    for (const Value& value : node->operands()) {
      hasher.number(static_cast<std::uint64_t>(numbers.at(value.node)));
      hasher.number(static_cast<std::uint64_t>(value.index));
    }
    for (const auto& [name, value] : node->attributes()) {
      hasher.text(name);
      if (const auto* tensor = std::get_if<HostTensor>(&value)) {
        hasher.number(hash(*tensor));
      } else {
        hasher.text(to_string(value));
      }
    }
    hasher.number(static_cast<std::uint64_t>(node->result_count()));
    for (const Type& type : node->result_types()) hasher.text(to_string(type));
  }
  for (const Output& output : graph.outputs()) {
    hasher.text(output.name);
    hasher.number(static_cast<std::uint64_t>(numbers.at(output.value.node)));
    hasher.number(static_cast<std::uint64_t>(output.value.index));
  }
  for (const Output& update : graph.updates()) {
    hasher.text(update.name);
    hasher.number(static_cast<std::uint64_t>(numbers.at(update.value.node)));
    hasher.number(static_cast<std::uint64_t>(update.value.index));
  }
  return hasher.value();
}

}  // namespace facet
