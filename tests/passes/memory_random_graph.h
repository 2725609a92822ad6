#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "tests/passes/memory_case.h"

namespace facet::testing {

/// Random networks of small images and matrices in random layouts that exercise every relation of
/// the memory plan, and a target with random abilities.
class RandomGraph {
 public:
  RandomGraph(MemoryCase& c, unsigned seed) : case_(c), random_(seed) {
    static const std::vector<Layout> layouts = {"", "acdb", "acdb", "aBcd8b"};
    batch_ = static_cast<std::int64_t>(1 + draw(2));
    const Layout layout = layouts[draw(layouts.size())];
    for (std::size_t i = 0; i <= draw(2); ++i) {
      values_.push_back(c.input("x" + std::to_string(i), {batch_, 4, 2, 3}, layout));
    }
    const std::size_t count = 4 + draw(36);
    for (std::size_t tries = 0; c.steps.size() < count && tries < 20 * count; ++tries) grow();
    c.output(values_.back());
    for (std::size_t more = draw(3); more > 0; --more) {
      const Value value = values_[draw(values_.size())];
      if (!c.graph.is_output(value)) c.output(value);
    }
    choose_target();
  }

 private:
  std::size_t draw(std::size_t bound) { return random_() % bound; }
  /// Mostly one of the newest values, so that others die.
  Value pick() {
    const std::size_t reach =
        draw(4) == 0 ? values_.size() : std::min<std::size_t>(5, values_.size());
    return values_[values_.size() - 1 - draw(reach)];
  }
  Value remember(Value value) {
    values_.push_back(value);
    return value;
  }
  static bool is_image(Value v) { return v.type().rank() == 4; }

  void grow() {
    const Value x = pick();
    switch (draw(12)) {
      case 0:
      case 1:
        return grow_compute(x);
      case 2:
        remember(case_.relu(x));
        return;
      case 3:
      case 4:
        return grow_binary(x);
      case 5:
      case 6:
      case 7:
        return grow_concat(x);
      case 8:
        return grow_slice(x);
      case 9:
        return grow_reshape(x);
      case 10:
        return grow_reorder(x);
      default:
        return grow_gate(x);
    }
  }

  void grow_compute(Value x) {
    if (is_image(x) && x.shape()[1].factor <= 24 && x.dtype() == DType::f32) {
      remember(case_.conv(x, static_cast<std::int64_t>(1 + draw(8))));
    } else if (x.type().rank() == 2) {
      remember(case_.op("softmax", {x}));
    }
  }
  void grow_binary(Value x) {
    std::vector<Value> partners;
    for (const Value& v : values_) {
      if (v.type() == x.type()) partners.push_back(v);
    }
    const Value y = partners[partners.size() - 1 - draw(std::min<std::size_t>(3, partners.size()))];
    remember(case_.op(draw(2) == 0 ? "add" : "mul",
                      draw(2) == 0 ? std::vector{x, y} : std::vector{y, x}));
  }
  void grow_concat(Value x) {
    const auto rank = static_cast<std::size_t>(x.type().rank());
    const std::size_t axis = rank == 4 && draw(4) != 0 ? 1 : draw(rank);
    std::vector<Value> parts;
    std::int64_t extent = 0;
    for (std::size_t wanted = 2 + draw(2); wanted > 0; --wanted) {
      const Value v = parts.empty() ? x : pick();
      bool fits = v.type().rank() == x.type().rank() && v.dtype() == x.dtype() &&
                  v.type().layout == x.type().layout;
      for (std::size_t d = 0; fits && d < rank; ++d)
        fits = d == axis || v.shape()[d] == x.shape()[d];
      const bool again = std::count(parts.begin(), parts.end(), v) > 0;
      if (!fits || (again && draw(8) != 0)) continue;
      parts.push_back(v);
      extent += v.shape()[axis].factor;
    }
    if (extent > 40 || parts.empty()) return;
    std::rotate(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(draw(parts.size())),
                parts.end());
    remember(case_.concat(parts, static_cast<std::int64_t>(axis)));
  }
  void grow_slice(Value x) {
    const auto rank = static_cast<std::size_t>(x.type().rank());
    const std::size_t axis = rank == 4 && draw(3) != 0 ? 1 : draw(rank);
    const auto extent = static_cast<std::size_t>(x.shape()[axis].factor);
    const std::size_t start = draw(extent);
    const std::size_t end = start + 1 + draw(extent - start);
    remember(case_.slice(x, static_cast<std::int64_t>(axis), static_cast<std::int64_t>(start),
                         static_cast<std::int64_t>(end)));
  }
  void grow_reshape(Value x) {
    if (is_blocked(x.type().layout)) return;
    const std::int64_t rows = x.shape()[0].factor;
    std::vector<Ints> shapes = {{rows, -1}, {1, rows, -1}, {-1, rows}};
    const std::int64_t rest = element_count(x.shape()).factor / rows;
    if (rest % 6 == 0) shapes.insert(shapes.end(), 3, Ints{rows, -1, 2, 3});
    remember(case_.reshape(x, shapes[draw(shapes.size())]));
  }
  void grow_reorder(Value x) {
    if (!is_image(x)) return;
    static const std::vector<std::string> layouts = {"", "acdb", "aBcd8b"};
    remember(case_.op("reorder", {x}, {{"layout", layouts[draw(layouts.size())]}}));
  }
  /// A broadcast product as attention has it, or a change of dtype.
  void grow_gate(Value x) {
    if (!is_image(x) || draw(5) == 0) {
      const std::string dtype = x.dtype() == DType::f32 ? "bf16" : "f32";
      remember(case_.op("cast", {x}, {{"dtype", dtype}}));
      return;
    }
    const Value gate = remember(
        draw(2) == 0 ? case_.mean(x) : case_.slice(x, 1, 0, 1));  // [N, C, 1, 1] or [N, 1, H, W]
    remember(case_.op("elementwise", {x, gate}, {{"program", Strings{"sigmoid 1", "mul 0 2"}}}));
  }

  void choose_target() {
    const std::size_t strength = draw(4);  // 0: all slices, 3: none
    const unsigned salt = static_cast<unsigned>(random_());
    const auto answer = [this, strength, salt](const Node& node, int index) {
      const auto at = std::find(case_.steps.begin(), case_.steps.end(), &node);
      const auto step = static_cast<unsigned>(at - case_.steps.begin());
      const unsigned hash = (step * 2654435761u + static_cast<unsigned>(index) * 97u + salt) >> 7;
      return strength == 0 || (strength < 3 && hash % 4 >= strength);
    };
    case_.target.writes = answer;
    case_.target.reads = [answer](const Node& node, int index) { return answer(node, index + 1); };
  }

  MemoryCase& case_;
  std::mt19937 random_;
  std::int64_t batch_ = 1;
  std::vector<Value> values_;
};

}  // namespace facet::testing
