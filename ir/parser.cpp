#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <type_traits>

#include "ir/error.h"
#include "ir/index_table.h"
#include "ir/op.h"
#include "ir/text.h"
#include "ir/text_names.h"

namespace facet {
namespace {

Type type_of(const HostTensor& tensor) {
  return {tensor.dtype(), Shape(tensor.shape().begin(), tensor.shape().end()), {}};
}

/// Of all different tables in a text together: each is one line, whatever its size.
constexpr std::int64_t kMostTableElements = std::int64_t{1} << 22;

/// Recursive descent over the text form. Every failure names line and column.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Graph parse() {
    expect("graph");
    Graph graph(quoted());
    expect("{");
    while (peek_word("param")) parse_parameter(graph);
    while (!peek_word("return") && !peek_word("update")) parse_node(graph);
    while (peek_word("update")) parse_update(graph);
    expect("return");
    sequence("}", [&] { parse_output(graph); });
    skip_space();
    if (at_ != text_.size()) fail("the end of the text");
    located(0, [&] { verify(graph); });
    return graph;
  }

 private:
  std::string place(std::size_t at) const {
    const std::string_view before = text_.substr(0, at);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const std::size_t newline = before.rfind('\n');
    const std::size_t column =
        before.size() - (newline == std::string_view::npos ? 0 : newline + 1);
    return fmt::format("line {}, column {}", line, column + 1);
  }
  [[noreturn]] void fail_at(std::size_t at, const std::string& expected) const {
    std::string_view found = text_.substr(at, 20);
    found = found.substr(0, found.find('\n'));
    throw usage_error(fmt::format("{}: expected {}, found {}", place(at), expected,
                                  at == text_.size() ? "the end of the text"
                                  : found.empty()    ? "the end of the line"
                                                     : fmt::format("'{}'", found)));
  }
  [[noreturn]] void fail(const std::string& expected) const { fail_at(at_, expected); }
  /// Runs what knows nothing of the text; its errors get the place `at`.
  template <class Work>
  std::invoke_result_t<Work> located(std::size_t at, Work&& work) const {
    try {
      return work();
    } catch (const Error& error) {
      throw usage_error(fmt::format("{}: {}", place(at), error.what()));
    }
  }

  /// Skips to the next token and returns where it begins.
  std::size_t skip_space() {
    at_ = std::min(text_.find_first_not_of(" \n\t\r", at_), text_.size());
    return at_;
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
    const std::size_t start = skip_space();
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    if (at_ == start) fail("a name");
    return std::string(text_.substr(start, at_ - start));
  }
  std::string quoted() {
    expect("\"");
    std::string result;
    while (at_ < text_.size() && text_[at_] != '"') {
      const bool escaped = text_[at_] == '\\' && at_ + 1 < text_.size();
      if (escaped) ++at_;
      result += escaped && text_[at_] == 'n' ? '\n' : text_[at_];
      ++at_;
    }
    expect("\"");
    return result;
  }
  /// Items between commas up to `close`.
  template <class Item>
  void sequence(std::string_view close, Item&& item) {
    if (accept(close)) return;
    do item();
    while (accept(","));
    expect(close);
  }
  template <class T>
  T number() {
    skip_space();
    T result{};
    const auto [end, error] =
        std::from_chars(text_.data() + at_, text_.data() + text_.size(), result);
    if (error != std::errc()) fail("a number");
    at_ = static_cast<std::size_t>(end - text_.data());
    return result;
  }

  Type type() {
    skip_space();
    std::size_t end = text_.find(']', at_);
    if (end == std::string_view::npos) fail("a type such as f32[N, 3, 8, 8]");
    ++end;
    if (end < text_.size() && text_[end] == '@') {
      do ++end;
      while (end < text_.size() && is_word(text_[end]));
    }
    const std::string_view spelt = text_.substr(at_, end - at_);
    if (spelt.find('\n') != std::string_view::npos) fail("a type such as f32[N, 3, 8, 8]");
    Type result = located(at_, [&] { return parse_type(spelt); });
    at_ = end;
    return result;
  }

  Value value() {
    const std::size_t start = skip_space();
    expect("%");
    const auto id = number<std::size_t>();
    if (id >= nodes_.size()) fail_at(start, "a value defined above");
    const int index = accept(".") ? number<int>() : 0;
    if (index < 0 || index >= nodes_[id]->result_count()) fail_at(start, "a result of that node");
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
    if (std::holds_alternative<Doubles>(like))
      return list<double>([&] { return number<double>(); });
    if (std::holds_alternative<Strings>(like)) return list<std::string>([&] { return quoted(); });
    return tensor();
  }

  template <class T, class F>
  std::vector<T> list(F&& item) {
    std::vector<T> items;
    expect("[");
    sequence("]", [&] { items.push_back(item()); });
    return items;
  }

  HostTensor tensor() {
    const std::size_t start = skip_space();
    expect("tensor<");
    const Type declared = type();
    expect(";");
    if (peek("hash")) fail("values: a constant printed as a hash cannot be read back");
    if (accept("table")) return index_table(start, declared);
    const auto values = list<double>([&] { return number<double>(); });
    expect(">");
    return located(start, [&] {
      return HostTensor::from_doubles(static_extents(declared.shape), values).cast(declared.dtype);
    });
  }

  /// The rest of "table START [COUNTS] [STEPS]>".
  HostTensor index_table(std::size_t start, const Type& declared) {
    IndexTable table;
    table.start = number<std::int64_t>();
    table.counts = list<std::int64_t>([&] { return number<std::int64_t>(); });
    table.steps = list<std::int64_t>([&] { return number<std::int64_t>(); });
    expect(">");
    const std::string_view spelt = text_.substr(start, at_ - start);
    if (const auto known = tables_.find(spelt); known != tables_.end()) return known->second;
    return located(start, [&] {
      std::vector<std::int64_t> shape = static_extents(declared.shape);
      if ((table_elements_ += element_count(shape)) > kMostTableElements) {
        throw usage_error(
            fmt::format("the tables of a text may have {} elements in all", kMostTableElements));
      }
      HostTensor expanded = expand(table, declared.dtype, std::move(shape));
      return tables_.emplace(spelt, std::move(expanded)).first->second;
    });
  }

  template <std::size_t N>
  std::size_t one_of(const std::array<std::string_view, N>& names) {
    const std::size_t start = skip_space();
    const std::string found = word();
    const auto it = std::find(names.begin(), names.end(), found);
    if (it == names.end()) fail_at(start, fmt::format("one of {}", fmt::join(names, ", ")));
    return static_cast<std::size_t>(it - names.begin());
  }

  void parse_parameter(Graph& graph) {
    expect("param");
    Parameter parameter;
    const std::size_t start = skip_space();
    parameter.key = quoted();
    expect(":");
    parameter.type = type();
    if (!parameters_.emplace(parameter.key, parameter.type).second) {
      fail_at(start, "a key that is not declared yet");
    }
    parameter.role = static_cast<ParameterRole>(one_of(text_names::kRoles));
    if (accept("fixed")) {
      const std::size_t values = skip_space();
      parameter.fixed = tensor();
      if (!(type_of(parameter.fixed) == parameter.type)) {
        fail_at(values, "values of type " + to_string(parameter.type));
      }
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
    const std::size_t start = skip_space();
    expect("%");
    if (number<std::size_t>() != nodes_.size()) {
      fail_at(start, fmt::format("the next value, %{}", nodes_.size()));
    }
    const int results = accept(":") ? number<int>() : 1;
    expect("=");
    const std::size_t op_start = skip_space();
    const std::string op_name = word();
    const OpDef& op = located(op_start, [&]() -> const OpDef& { return find_op(op_name); });
    expect("(");
    std::vector<Value> operands;
    sequence(")", [&] { operands.push_back(value()); });
    Attributes attributes;
    if (accept("{")) sequence("}", [&] { parse_attribute(op, attributes); });
    expect(":");
    const std::size_t types_start = skip_space();
    const std::vector<Type> types = result_types(results);
    Provenance provenance;
    if (accept("@")) provenance.scope = quoted();
    Node* node = located(op_start, [&] {
      return graph.create(op, std::move(operands), std::move(attributes), std::move(provenance));
    });
    if (node->result_count() != results) {
      fail_at(start, fmt::format("{} results", node->result_count()));
    }
    for (int i = 0; i < results; ++i) {
      set_type(node, i, types[static_cast<std::size_t>(i)], types_start);
    }
    if (node->is("parameter")) check_declared(*node, op_start);
    nodes_.push_back(node);
  }

  std::vector<Type> result_types(int count) {
    std::vector<Type> types;
    if (count > 1) expect("(");
    for (int i = 0; i < count; ++i) {
      if (i != 0) expect(",");
      types.push_back(type());
    }
    if (count > 1) expect(")");
    return types;
  }

  /// Lowered graphs carry layouts that inference does not know; the rest must be what it says.
  void set_type(Node* node, int i, const Type& written, std::size_t at) const {
    Type inferred = node->result(i).type();
    if (inferred.layout.empty()) inferred.layout = written.layout;
    if (!(written == inferred)) fail_at(at, to_string(inferred) + ", the type of the result");
    node->set_result_type(i, written);
  }

  void check_declared(const Node& node, std::size_t at) const {
    const auto found = parameters_.find(node.attributes().text("key"));
    Type read = node.result_types()[0];
    // State lies as the target wants.
    if (node.attributes().boolean("mutable")) read.layout.clear();
    if (found == parameters_.end() || !(found->second == read)) {
      fail_at(at, "a parameter that a param line declares with this type");
    }
  }

  void parse_attribute(const OpDef& op, Attributes& attributes) {
    const std::size_t start = skip_space();
    const std::string name = word();
    const auto spec = std::find_if(op.attributes.begin(), op.attributes.end(),
                                   [&](const AttributeSpec& s) { return s.name == name; });
    if (spec == op.attributes.end())
      fail_at(start, fmt::format("an attribute of op '{}'", op.name));
    if (attributes.has(name)) fail_at(start, "an attribute that is not set yet");
    expect("=");
    attributes.set(name, attribute(spec->default_value));
  }

  void parse_update(Graph& graph) {
    expect("update");
    const std::size_t start = skip_space();
    std::string key = quoted();
    expect("=");
    for (const Output& update : graph.updates()) {
      if (update.name == key) fail_at(start, "a key that is not updated yet");
    }
    graph.updates().push_back({std::move(key), value()});
  }

  void parse_output(Graph& graph) {
    const std::size_t start = skip_space();
    std::string name = quoted();
    expect("=");
    for (const Output& output : graph.outputs()) {
      if (output.name == name) fail_at(start, "a name that no other output has");
    }
    graph.outputs().push_back({std::move(name), value()});
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<Node*> nodes_;
  std::map<std::string, Type> parameters_;  // as their param lines declare them
  std::map<std::string_view, HostTensor>
      tables_;  // as they are spelt: equal ones share their bytes
  std::int64_t table_elements_ = 0;
};

}  // namespace

Graph parse_graph(std::string_view text) { return Parser(text).parse(); }

}  // namespace facet
