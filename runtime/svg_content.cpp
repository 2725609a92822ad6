#include "runtime/svg_content.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include "ir/gate.h"
#include "ir/layout.h"
#include "ir/op.h"
#include "passes/prepared.h"
#include "runtime/remark_groups.h"

namespace facet::drawing {
namespace {

struct Family {
  std::string_view name;
  std::string_view colour;
  std::vector<std::string_view> ops;
};

const std::vector<Family>& families() {
  static const std::vector<Family> list = {
      {"input, output", "#d9d9d9", {"input"}},
      {"parameter", "#f2f2f2", {"parameter", "constant"}},
      {"convolution, matrix product", "#a6cee3", {"conv", "conv_branches", "linear", "matmul"}},
      {"fused attention", "#8dd3c7", {"sdpa"}},
      {"fused gate", "#e7a5c9", {"gate"}},
      {"normalisation", "#cab2d6", {"batch_norm", "softmax"}},
      {"activation", "#fdd49e",
       {"relu", "sigmoid", "tanh", "exp", "log", "sqrt", "rsqrt", "reciprocal", "neg", "abs",
        "square", "erf", "clamp", "prelu"}},
      {"arithmetic", "#fb9a99",
       {"add", "sub", "mul", "div", "maximum", "minimum", "pow"}},
      {"fused elementwise", "#fdbf6f", {"elementwise"}},
      {"pooling, reduction", "#b2df8a",
       {"reduce_mean", "reduce_sum", "reduce_max", "max_pool", "avg_pool"}},
      {"shape", "#e8e0d0", {"reshape", "transpose", "concat", "slice", "pad", "reverse", "skew", "unskew"}},
      {"conversion", "#ffff99", {"cast", "reorder"}},
  };
  return list;
}

const Family& family_of(std::string_view op) {
  static const Family other = {"other", "#ffffff", {}};
  for (const Family& family : families()) {
    if (std::ranges::find(family.ops, op) != family.ops.end()) return family;
  }
  return other;
}

std::string conv_title(const Node& node) {
  const Shape& weight = node.operand(1).shape();
  const Attributes& a = node.attributes();
  std::string title = fmt::format("conv {}x{}", to_string(weight.at(2)), to_string(weight.at(3)));
  if (node.is("conv_branches")) {
    title = fmt::format("{} x {}", node.result_count(), title);
  }
  const Ints& strides = a.ints("strides");
  if (strides != Ints{1, 1}) {
    title += strides[0] == strides[1] ? fmt::format(" /{}", strides[0])
                                      : fmt::format(" /{}x{}", strides[0], strides[1]);
  }
  if (a.ints("dilations") != Ints{1, 1}) {
    title += fmt::format(" dilated {}", fmt::join(a.ints("dilations"), "x"));
  }
  if (a.integer("groups") != 1) title += fmt::format(" groups {}", a.integer("groups"));
  return title;
}

/// The op names of a fused chain in order, "mul, sigmoid, add".
std::string program_title(const Strings& program) {
  std::vector<std::string> names;
  for (const std::string& line : program) names.push_back(line.substr(0, line.find(' ')));
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string gate_title(const Node& node) {
  const Attributes& a = node.attributes();
  std::string title = fmt::format("gate {}", fmt::join(a.strings("stages"), ", "));
  if (gate_of(node).residual >= 0) title += " + add";
  return a.boolean("relu") ? title + " + relu" : title;
}

std::string title_of(const Node& node) {
  const Attributes& a = node.attributes();
  const std::string_view kind = node.kind();
  if (kind == "input") return a.text("name");
  if (kind == "parameter") return a.text("key");
  if (kind == "constant") return "constant";
  if (kind == "elementwise") return program_title(a.strings("program"));
  if (kind == "max_pool" || kind == "avg_pool") {
    return fmt::format("{} {} /{}", kind, fmt::join(a.ints("kernel"), "x"), a.ints("strides")[0]);
  }
  if (kind.starts_with("reduce_")) return fmt::format("{} {}", kind, fmt::join(a.ints("axes"), ","));
  if (kind == "clamp") return fmt::format("clamp {} to {}", a.number("min"), a.number("max"));
  if (kind == "cast") return "cast to " + a.text("dtype");
  if (kind == "reorder") return "reorder to " + (a.text("layout").empty() ? "plain" : a.text("layout"));
  if (kind == "concat" || kind == "softmax") return fmt::format("{} axis {}", kind, a.integer("axis"));
  if (kind == "gate") return gate_title(node);
  if (kind == "sdpa") {
    return fmt::format("sdpa, {} head{}", a.integer("heads"), a.integer("heads") == 1 ? "" : "s");
  }
  const bool is_conv = kind == "conv" || kind == "conv_branches";
  std::string title = is_conv ? conv_title(node) : std::string(kind);
  if (a.has("epilogue")) {
    for (const std::string& entry : a.strings("epilogue")) title += " + " + entry;
  }
  return title;
}

std::string last_component(const std::string& path) {
  return path.substr(path.rfind('.') + 1);  // npos + 1 is 0: the whole path
}

/// The operand as a box names it when it has no box of its own.
std::string name_of_hidden(Value value, std::string_view operand_name) {
  const Node& node = *value.node;
  if (node.is("parameter")) return last_component(node.attributes().text("key"));
  if (node.is("constant")) {
    const HostTensor& tensor = node.attributes().tensor("value");
    if (tensor.element_count() == 1) return fmt::format("{:g}", tensor.at(0));
    return "constant";
  }
  return std::string(operand_name);  // prepared from parameters: the reader knows it as this
}

/// Operands behind the named ones have their names in an attribute, or are the epilogue's.
std::string operand_name(const Node& node, std::size_t i) {
  const auto& names = node.op().signature.operands;
  const std::size_t fixed = names.size() - (names.back().ends_with("...") ? 1 : 0);
  if (i < fixed) return std::string(names[i]);
  if (node.attributes().has("extras")) {
    const Strings& extras = node.attributes().strings("extras");
    if (i - fixed < extras.size()) return extras[i - fixed];
  }
  const std::string_view rest = names.back();
  return std::string(rest.ends_with("...") ? rest.substr(0, rest.size() - 3) : rest);
}

std::string note_of(const Node& node, const std::set<const Node*>& hidden) {
  std::vector<std::string> texts;
  for (int i = 0; i < node.operand_count(); ++i) {
    const Value value = node.operand(i);
    if (!hidden.contains(value.node)) continue;
    const bool single = value.node->is("constant") && value.shape().empty();
    const std::string name = name_of_hidden(value, operand_name(node, static_cast<std::size_t>(i)));
    texts.push_back(single ? name : name + " " + to_string(value.shape()));
  }
  if (texts.empty()) return {};
  if (texts.size() == 1) return texts[0];
  return fmt::format("{} + {} more", texts[0], texts.size() - 1);
}

std::string tooltip_of(const Node& node) {
  std::string text(node.kind());
  if (!node.provenance().scope.empty()) text += "\nscope: " + node.provenance().scope;
  for (const std::string& origin : node.provenance().origins) text += "\nstands for: " + origin;
  for (int i = 0; i < node.operand_count(); ++i) {
    const Value value = node.operand(i);
    text += "\noperand: " + to_string(value.type());
    if (value.node->is("parameter")) text += " " + value.node->attributes().text("key");
  }
  for (const Type& type : node.result_types()) text += "\nresult: " + to_string(type);
  for (const auto& [name, value] : node.attributes()) {
    text += fmt::format("\n{} = {}", name, shorten(to_string(value), 200));
  }
  return text;
}

/// The names that `scopes` have in common from the outside, with a '.' behind them.
std::string common_path(const std::vector<std::string>& scopes) {
  std::string common = scopes[0];
  for (const std::string& scope : scopes) {
    const auto differ = std::ranges::mismatch(common, scope).in1;
    common.resize(static_cast<std::size_t>(differ - common.begin()));
  }
  const std::size_t dot = common.rfind('.');
  common.resize(dot == std::string::npos ? 0 : dot + 1);
  return common;
}

/// What is behind the common path; a name that says nothing alone keeps the one before it, "conv.1".
std::string without_path(const std::string& scope, const std::string& path) {
  if (path.empty() || std::isdigit(static_cast<unsigned char>(scope[path.size()])) == 0) {
    return scope.substr(path.size());
  }
  const std::size_t dot = path.rfind('.', path.size() - 2);
  return dot == std::string::npos ? scope : scope.substr(dot + 1);
}

/// "fused: " and as many of the names as fit into two lines.
std::vector<std::string> lines_of(const std::vector<std::string>& names) {
  constexpr std::size_t kLines = 2;
  std::vector<std::string> lines{"fused: "};
  for (std::size_t i = 0; i < names.size(); ++i) {
    const bool last = i + 1 == names.size();
    // Each fits behind "fused: ", with the comma.
    const std::string name = shorten_scope(names[i], kLineCharacters - 9) + (last ? "" : ", ");
    const std::string rest = fmt::format("... {} more", names.size() - i);
    const bool is_first = i == 0;
    // The last line keeps room to say how many there are besides.
    const bool ends = lines.size() == kLines && !last;
    const std::size_t room = kLineCharacters - (ends ? rest.size() : 0);
    if (is_first || lines.back().size() + name.size() <= room) {
      lines.back() += name;
    } else if (lines.size() < kLines && (last || name.size() + rest.size() <= kLineCharacters)) {
      lines.push_back(name);
    } else {
      lines.back() += rest;
      break;
    }
  }
  return lines;
}

/// Branches all are named; other nodes have their own scope above.
std::vector<std::string> fused_lines(const Node& node) {
  const Provenance& from = node.provenance();
  std::vector<std::string> names;
  if (node.result_count() > 1 && !from.scope.empty()) names.push_back(from.scope);
  for (const std::string& origin : from.origins) {
    if (origin != from.scope && !origin.empty()) names.push_back(origin);
  }
  if (names.empty()) return {};
  std::vector<std::string> scopes = names;
  if (!from.scope.empty()) scopes.push_back(from.scope + ".");
  const std::string path = common_path(scopes);
  for (std::string& name : names) name = without_path(name, path);
  return lines_of(compact_scopes(names));
}

Box box_of(const Node& node, const std::set<const Node*>& hidden, const SvgOptions& options) {
  const Family& family = family_of(node.kind());
  return {title_of(node),   node.provenance().scope,
          note_of(node, hidden), options.origins ? fused_lines(node) : std::vector<std::string>(),
          tooltip_of(node), family.colour,
          family.name,      node.is("input")};
}

std::set<const Node*> hidden_nodes(const Graph& graph, bool parameters) {
  std::set<const Node*> hidden;
  if (parameters) return hidden;
  const PreparedSet prepared(graph);
  for (const auto& node : graph.nodes()) {
    if (prepared.contains(node.get())) hidden.insert(node.get());
  }
  return hidden;
}

}  // namespace

std::string shorten(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  const std::size_t tail = (limit - 3) / 2;
  return fmt::format("{}...{}", text.substr(0, limit - 3 - tail), text.substr(text.size() - tail));
}

std::string shorten_scope(std::string_view scope, std::size_t limit) {
  if (scope.size() <= limit) return std::string(scope);
  const std::string_view tail = scope.substr(scope.size() - (limit - 3));
  const std::size_t dot = tail.find('.');
  // Whole names read better, unless that leaves next to nothing.
  const bool whole = dot != std::string_view::npos && dot < tail.size() / 2;
  return fmt::format("...{}", whole ? tail.substr(dot + 1) : tail);
}

std::string escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '&') {
      result += "&amp;";
    } else if (c == '<') {
      result += "&lt;";
    } else if (c == '>') {
      result += "&gt;";
    } else if (c == '"') {
      result += "&quot;";
    } else if (c == '\n' || (c >= ' ' && c <= '~')) {
      result += c;
    } else {
      result += '?';
    }
  }
  return result;
}

std::string size_in_words(std::int64_t bytes) {
  if (bytes < 1000) return fmt::format("{} bytes", bytes);
  double size = static_cast<double>(bytes);
  const char* unit = "";
  for (const char* next : {"KB", "MB", "GB", "TB"}) {
    size /= 1e3;
    unit = next;
    if (size < 999.5) break;
  }
  return fmt::format("{:.{}f} {}", size, size < 9.95 ? 1 : 0, unit);
}

std::string type_in_words(const Type& type) {
  std::string text = fmt::format("{} {}", to_string(type.dtype), to_string(type.shape));
  if (!type.layout.empty()) text += " " + (type.layout == "acdb" ? "NHWC" : type.layout);
  return is_static(type.shape) ? text + ", " + size_in_words(byte_size(type)) : text;
}

Content describe(const Graph& graph, const SvgOptions& options) {
  Content content;
  const std::set<const Node*> hidden = hidden_nodes(graph, options.parameters);
  const auto words = [&](const Type& type) {
    return options.bytes ? type_in_words(type) : to_string(type);
  };
  content.hidden = static_cast<int>(hidden.size());
  std::map<const Node*, int> numbers;
  std::map<Value, int> nets;
  std::set<std::pair<int, int>> drawn;  // net and reader: a node that reads a value twice has one line
  const auto connect = [&](Value value, int to) {
    if (hidden.contains(value.node)) return;
    const auto [net, is_new] = nets.try_emplace(value, static_cast<int>(content.nets.size()));
    const int from = numbers.at(value.node);
    if (is_new) content.nets.push_back({from, words(value.type())});
    if (drawn.emplace(net->second, to).second) content.wiring.wires.push_back({from, to, net->second});
  };
  for (const auto& node : graph.nodes()) {
    if (hidden.contains(node.get())) continue;
    const int number = static_cast<int>(content.boxes.size());
    numbers.emplace(node.get(), number);
    content.boxes.push_back(box_of(*node, hidden, options));
    content.wiring.late.push_back(node->operand_count() == 0 && !node->is("input"));
    for (const Value& value : node->operands()) connect(value, number);
  }
  const Family& ports = family_of("input");
  for (const Output& output : graph.outputs()) {
    const int number = static_cast<int>(content.boxes.size());
    content.boxes.push_back({output.name, {}, {}, {}, "output\n" + words(output.value.type()), ports.colour,
                             ports.name, true});
    content.wiring.late.push_back(false);
    connect(output.value, number);
  }
  content.wiring.boxes = static_cast<int>(content.boxes.size());
  return content;
}

}  // namespace facet::drawing
