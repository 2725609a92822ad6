#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "runtime/formats/onnx/import_math.h"

// Einsum: sums over what only one operand has, then products of two operands at a time. Labels are
// letters; the axes of an ellipsis are -1 (the last), -2, ...

namespace facet::onnx_import {
namespace {

using Labels = std::vector<int>;

bool contains(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

struct Term {
  Value value;
  Labels labels;  ///< of its axes
};

struct Equation {
  std::vector<std::string> operands;
  std::string result;
  bool is_explicit = false;
};

Equation parse(std::string text) {
  text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
  Equation equation;
  const std::size_t arrow = text.find("->");
  equation.is_explicit = arrow != std::string::npos;
  if (equation.is_explicit) equation.result = text.substr(arrow + 2);
  std::string left = text.substr(0, arrow);
  for (std::size_t comma; (comma = left.find(',')) != std::string::npos;) {
    equation.operands.push_back(left.substr(0, comma));
    left.erase(0, comma + 1);
  }
  equation.operands.push_back(left);
  return equation;
}

class Einsum {
 public:
  explicit Einsum(NodeReader& node) : node_(node) {}

  Value run() {
    const Equation equation = parse(node_.text("equation", ""));
    if (static_cast<int>(equation.operands.size()) != node_.input_count()) {
      node_.unsupported("its equation has another number of operands");
    }
    for (int i = 0; i < node_.input_count(); ++i) {
      const Value value = node_.input(i);
      const std::string& text = equation.operands[static_cast<std::size_t>(i)];
      terms_.push_back({value, labels_of(text, static_cast<int>(value.type().rank()))});
    }
    result_ = equation.is_explicit ? labels_of(equation.result, -1) : implicit_result();
    check_result();
    for (Term& term : terms_) take_diagonals(term);
    for (std::size_t i = 0; i < terms_.size(); ++i) sum_out(i);
    while (terms_.size() > 1) multiply_first_two();
    return arrange(terms_[0], result_);
  }

 private:
  /// `rank` says how many axes an ellipsis has; -1: as many as the operands' longest.
  Labels labels_of(const std::string& text, int rank) {
    Labels labels;
    const std::size_t dots = text.find("...");
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (i == dots) {
        const int axes = rank < 0 ? ellipsis_ : rank - static_cast<int>(text.size()) + 3;
        for (int axis = axes; axis > 0; --axis) labels.push_back(-axis);
        ellipsis_ = std::max(ellipsis_, axes);
        i += 2;
      } else if (std::isalpha(static_cast<unsigned char>(text[i])) != 0) {
        labels.push_back(text[i]);
      } else {
        node_.unsupported(fmt::format("its equation has '{}' in it", text[i]));
      }
    }
    if (rank >= 0 && static_cast<int>(labels.size()) != rank) {
      node_.unsupported(
          fmt::format("'{}' does not name the axes of a value of rank {}", text, rank));
    }
    return labels;
  }

  void check_result() const {
    std::map<int, int> count;
    for (const int label : result_) {
      const bool known = std::any_of(terms_.begin(), terms_.end(), [&](const Term& term) {
        return contains(term.labels, label);
      });
      if (!known || ++count[label] > 1) {
        node_.unsupported("its result has a label twice, or one that no operand has");
      }
    }
  }

  /// The axes of the ellipsis, then the letters that occur once, in alphabetical order.
  Labels implicit_result() const {
    std::map<int, int> count;
    for (const Term& term : terms_) {
      for (const int label : term.labels) ++count[label];
    }
    Labels result;
    for (const auto& [label, times] : count) {
      if (label < 0 || times == 1) result.push_back(label);
    }
    return result;
  }

  /// A label twice: only the elements where both axes agree are left, along the first of them.
  void take_diagonals(Term& term) {
    for (std::size_t i = 0; i < term.labels.size(); ++i) {
      for (std::size_t j = term.labels.size(); --j > i;) {
        if (term.labels[i] != term.labels[j]) continue;
        const Dim extent = term.value.shape()[i];
        if (!extent.is_static() || !(term.value.shape()[j] == extent)) {
          node_.unsupported("a diagonal of a matrix that is not square");
        }
        if (extent.factor > 4096) node_.unsupported("a diagonal of more than 4096 elements");
        Shape shape(term.labels.size(), Dim(1));
        shape[i] = shape[j] = extent;
        const Value mask = node_.reshape(node_.constant(identity(extent.factor)), shape);
        const Value zero = node_.scalar(0, term.value);
        const Value kept =
            node_.make("where", {node_.cast(mask, term.value.dtype()), term.value, zero});
        term.value = sum(kept, {static_cast<std::int64_t>(j)});
        term.labels.erase(term.labels.begin() + static_cast<std::ptrdiff_t>(j));
      }
    }
  }

  static HostTensor identity(std::int64_t n) {
    HostTensor eye(DType::u8, {n, n});
    for (std::int64_t i = 0; i < n; ++i) eye.as_mutable<std::uint8_t>()[i * n + i] = 1;
    return eye;
  }

  Value sum(Value x, Ints axes) {
    if (axes.empty()) return x;
    return node_.make("reduce_sum", {x}, {{"axes", std::move(axes)}, {"keepdims", false}});
  }

  /// Whether the result or a term other than i and j has the label.
  bool is_needed(int label, std::size_t i, std::size_t j) const {
    if (contains(result_, label)) return true;
    for (std::size_t t = 0; t < terms_.size(); ++t) {
      if (t != i && t != j && contains(terms_[t].labels, label)) return true;
    }
    return false;
  }

  void sum_out(std::size_t i) {
    Ints axes;
    Labels left;
    for (std::size_t axis = 0; axis < terms_[i].labels.size(); ++axis) {
      const int label = terms_[i].labels[axis];
      if (is_needed(label, i, i)) {
        left.push_back(label);
      } else {
        axes.push_back(static_cast<std::int64_t>(axis));
      }
    }
    terms_[i] = {sum(terms_[i].value, std::move(axes)), std::move(left)};
  }

  /// The term with axes in the order of `labels`; those it has not get the extent 1.
  Value arrange(const Term& term, const Labels& labels) {
    Ints permutation;
    Shape shape;
    for (const int label : labels) {
      const auto found = std::find(term.labels.begin(), term.labels.end(), label);
      if (found == term.labels.end()) {
        shape.emplace_back(1);
        continue;
      }
      permutation.push_back(found - term.labels.begin());
      shape.push_back(term.value.shape()[static_cast<std::size_t>(permutation.back())]);
    }
    if (permutation.size() != term.labels.size()) node_.unsupported("its result repeats a label");
    return node_.reshape(node_.transpose(term.value, permutation), shape);
  }

  static Dim extents(const Term& term, const Labels& labels) {
    Shape shape;
    for (std::size_t axis = 0; axis < term.labels.size(); ++axis) {
      if (contains(labels, term.labels[axis])) shape.push_back(term.value.shape()[axis]);
    }
    return element_count(shape);
  }

  /// [batch..., own, shared], the axes of own and shared flattened.
  Value as_matrices(const Term& term, const Labels& batch, const Labels& own,
                    const Labels& shared) {
    Labels order = batch;
    order.insert(order.end(), own.begin(), own.end());
    order.insert(order.end(), shared.begin(), shared.end());
    const Value arranged = arrange(term, order);
    Shape shape(arranged.shape().begin(),
                arranged.shape().begin() + static_cast<std::ptrdiff_t>(batch.size()));
    shape.push_back(extents(term, own));
    shape.push_back(extents(term, shared));
    return node_.reshape(arranged, shape);
  }

  void multiply_first_two() {
    const Term a = terms_[0], b = terms_[1];
    Labels batch, shared, own_a, own_b;
    for (const int label : a.labels) {
      if (!contains(b.labels, label)) {
        own_a.push_back(label);
      } else {
        (is_needed(label, 0, 1) ? batch : shared).push_back(label);
      }
    }
    for (const int label : b.labels) {
      if (!contains(a.labels, label)) own_b.push_back(label);
    }
    Labels labels = batch;
    labels.insert(labels.end(), own_a.begin(), own_a.end());
    labels.insert(labels.end(), own_b.begin(), own_b.end());
    Value product;
    if (shared.empty()) {
      product = node_.make("mul", {arrange(a, labels), arrange(b, labels)});
    } else {
      product = node_.make(
          "matmul", {as_matrices(a, batch, own_a, shared), as_matrices(b, batch, own_b, shared)},
          {{"transpose_b", true}});
      Shape shape(product.shape().begin(), product.shape().end() - 2);
      for (const auto& [term, own] : {std::pair(&a, &own_a), std::pair(&b, &own_b)}) {
        for (const int label : *own) shape.push_back(extents(*term, {label}));
      }
      product = node_.reshape(product, shape);
    }
    terms_.erase(terms_.begin());
    terms_[0] = {product, labels};
    // Labels of the two that only their product has now.
    sum_out(0);
  }

  NodeReader& node_;
  std::vector<Term> terms_;
  Labels result_;
  int ellipsis_ = 0;
};

void import_einsum(NodeReader& node) { node.set(Einsum(node).run()); }

}  // namespace

void add_einsum_handlers(HandlerTable& table) { table.add("Einsum", import_einsum); }

}  // namespace facet::onnx_import
