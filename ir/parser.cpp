#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "ir/error.h"
#include "ir/op.h"
#include "ir/text.h"
#include "ir/text_names.h"

namespace facet {
namespace {

/// Recursive descent over the text form. Every failure names line and column.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Graph parse() {
    expect("graph");
    Graph graph(quoted());
    expect("{");
    while (peek_word("param")) parse_parameter(graph);
    while (!peek_word("return")) parse_node(graph);
    expect("return");
    while (!peek("}")) {
      std::string name = quoted();
      expect("=");
      graph.outputs().push_back({std::move(name), value()});
      if (!accept(",")) break;
    }
    expect("}");
    skip_space();
    if (at_ != text_.size()) fail("the end of the text");
    verify(graph);
    return graph;
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const {
    const std::string_view before = text_.substr(0, std::min(at_, text_.size()));
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const std::size_t newline = before.rfind('\n');
    const std::size_t column = before.size() - (newline == std::string_view::npos ? 0 : newline + 1);
    throw usage_error(fmt::format("line {}, column {}: expected {}, found '{}'", line, column + 1,
                                  expected, text_.substr(before.size(), 20)));
  }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool peek(std::string_view token) {
    skip_space();
    return text_.substr(at_).starts_with(token);
  }
  bool peek_word(std::string_view word) {
    if (!peek(word)) return false;
    const std::size_t end = at_ + word.size();
    return end >= text_.size() || !is_word(text_[end]);
  }
  bool accept(std::string_view token) {
    if (!peek(token)) return false;
    at_ += token.size();
    return true;
  }
  void expect(std::string_view token) {
    if (!accept(token)) fail(fmt::format("'{}'", token));
  }
  static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  }
  std::string word() {
    skip_space();
    const std::size_t start = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    if (at_ == start) fail("a name");
    return std::string(text_.substr(start, at_ - start));
  }
  std::string quoted() {
    expect("\"");
    std::string result;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;
      result += text_[at_++];
    }
    expect("\"");
    return result;
  }
  template <class T>
  T number() {
    skip_space();
    T result{};
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), result);
    if (error != std::errc()) fail("a number");
    at_ = static_cast<std::size_t>(end - text_.data());
    return result;
  }

  Type type() {
    skip_space();
    std::size_t end = text_.find(']', at_);
    if (end == std::string_view::npos) fail("a type");
    ++end;
    if (end < text_.size() && text_[end] == '@') {
      do ++end;
      while (end < text_.size() && is_word(text_[end]));
    }
    try {
      const Type result = parse_type(text_.substr(at_, end - at_));
      at_ = end;
      return result;
    } catch (const Error&) {
      fail("a type such as f32[N, 3, 8, 8]");
    }
  }

  Value value() {
    expect("%");
    const auto id = number<std::size_t>();
    if (id >= nodes_.size()) fail("a value defined above");
    const int index = accept(".") ? number<int>() : 0;
    if (index < 0 || index >= nodes_[id]->result_count()) fail("a result of that node");
    return nodes_[id]->result(index);
  }

  /// The op's default attribute tells the kind that is expected.
  Attribute attribute(const Attribute& like) {
    if (std::holds_alternative<bool>(like)) {
      if (accept("true")) return true;
      expect("false");
      return false;
    }
    if (std::holds_alternative<std::int64_t>(like)) return number<std::int64_t>();
    if (std::holds_alternative<double>(like)) return number<double>();
    if (std::holds_alternative<std::string>(like)) return quoted();
    if (std::holds_alternative<Ints>(like)) {
      return list<std::int64_t>([&] { return number<std::int64_t>(); });
    }
    if (std::holds_alternative<Doubles>(like)) return list<double>([&] { return number<double>(); });
    if (std::holds_alternative<Strings>(like)) return list<std::string>([&] { return quoted(); });
    return tensor();
  }

  template <class T, class F>
  std::vector<T> list(F&& item) {
    std::vector<T> items;
    expect("[");
    while (!peek("]")) {
      items.push_back(item());
      if (!accept(",")) break;
    }
    expect("]");
    return items;
  }

  HostTensor tensor() {
    expect("tensor<");
    const Type declared = type();
    expect(";");
    if (peek("hash")) fail("values: a constant printed as a hash cannot be read back");
    const auto values = list<double>([&] { return number<double>(); });
    HostTensor wide = HostTensor::from_doubles(static_extents(declared.shape), values);
    expect(">");
    return wide.cast(declared.dtype);
  }

  template <std::size_t N>
  std::size_t one_of(const std::array<std::string_view, N>& names) {
    const std::string found = word();
    const auto it = std::find(names.begin(), names.end(), found);
    if (it == names.end()) fail(fmt::format("one of the known names, not '{}'", found));
    return static_cast<std::size_t>(it - names.begin());
  }

  void parse_parameter(Graph& graph) {
    expect("param");
    Parameter parameter;
    parameter.key = quoted();
    expect(":");
    parameter.type = type();
    parameter.role = static_cast<ParameterRole>(one_of(text_names::kRoles));
    if (accept("fixed")) {
      parameter.fixed = tensor();
    } else {
      parameter.init.kind = static_cast<Initializer::Kind>(one_of(text_names::kInitializers));
      expect("(");
      parameter.init.a = number<double>();
      expect(",");
      parameter.init.b = number<double>();
      expect(")");
    }
    parameter.trainable = !accept("frozen");
    graph.parameters().push_back(std::move(parameter));
  }

  void parse_node(Graph& graph) {
    expect("%");
    if (number<std::size_t>() != nodes_.size()) fail("the next value number");
    const int results = accept(":") ? number<int>() : 1;
    expect("=");
    const OpDef& op = find_op(word());
    expect("(");
    std::vector<Value> operands;
    while (!peek(")")) {
      operands.push_back(value());
      if (!accept(",")) break;
    }
    expect(")");
    Attributes attributes;
    if (accept("{")) parse_attributes(op, attributes);
    expect(":");
    std::vector<Type> types;
    if (results > 1) expect("(");
    for (int i = 0; i < results; ++i) {
      if (i != 0) expect(",");
      types.push_back(type());
    }
    if (results > 1) expect(")");
    Provenance provenance;
    if (accept("@")) provenance.scope = quoted();
    Node* node = graph.create(op, std::move(operands), std::move(attributes), std::move(provenance));
    if (node->result_count() != results) fail(fmt::format("{} results", node->result_count()));
    for (int i = 0; i < results; ++i) node->set_result_type(i, types[static_cast<std::size_t>(i)]);
    nodes_.push_back(node);
  }

  void parse_attributes(const OpDef& op, Attributes& attributes) {
    while (!peek("}")) {
      const std::string name = word();
      const auto spec = std::find_if(op.attributes.begin(), op.attributes.end(),
                                     [&](const AttributeSpec& s) { return s.name == name; });
      if (spec == op.attributes.end()) fail(fmt::format("an attribute of op '{}'", op.name));
      expect("=");
      attributes.set(name, attribute(spec->default_value));
      if (!accept(",")) break;
    }
    expect("}");
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<Node*> nodes_;
};

}  // namespace

Graph parse_graph(std::string_view text) { return Parser(text).parse(); }

}  // namespace facet
