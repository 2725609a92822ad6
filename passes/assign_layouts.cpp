#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "ir/error.h"
#include "ir/layout.h"
#include "ir/op.h"
#include "passes/pass.h"
#include "passes/prepared.h"

// assign-layouts: on a graph with static shapes, gives every value a memory layout.
//
//   compute      the target names the layouts it wants of operands and result;
//   follow       the layout of most full-size operands, none row-major in a tie; the others are
//                brought to it, broadcast ones stay as they are (kernels read them by strides).
//                Where all are broadcast, the layout beside which the result is read;
//   axis_aware   the layout of the first operand that is no prepared value;
//   plain        row-major in and out, but transpose reads any unblocked layout, and a reshape
//                that splits or joins axes which lie side by side keeps their order in memory,
//                where its readers take it: [N, 2C, H, W]@acdb is [N, C, 2, H * W]@adbc.
//
//   before   %1 = conv(%x, %w) : f32[1, 64, 56, 56]        %2 = relu(%1)
//   after    %3 = reorder(%x) {acdb}   %4 = reorder(%w) {Acdb64a}
//            %1 = conv(%3, %4) : f32[1, 64, 56, 56]@acdb   %2 = relu(%1) : ...@acdb
//
// Where a value has another layout than its reader wants, a `reorder` is inserted, once per layout.
// Reorders of prepared values (weights) run once, when weights are bound: that is prepacking.
// Graph inputs and outputs are row-major; state (what a step updates: weights, gradients' sums,
// moments) lies as the target wants it, so that a training step converts no weight. Illegal on
// symbolic shapes.

namespace facet {
namespace {

class LayoutAssignment {
 public:
  LayoutAssignment(Graph& graph, const Target& target)
      : graph_(graph), target_(target), prepared_(graph) {}

  bool run() {
    const std::vector<Node*> nodes = graph_.node_list();
    for (Node* node : nodes) {
      if (!is_static(node->result_types()[0].shape)) {
        throw failure(fmt::format("layouts need static shapes, but {} ({}) is {}", node->kind(),
                                  node->provenance().scope, to_string(node->result_types()[0])));
      }
    }
    for (Node* node : nodes) assign(node);
    for (Output& output : graph_.outputs()) output.value = as(output.value, Layout{}, nullptr);
    for (Output& update : graph_.updates()) {
      update.value = as(update.value, target_.state_layout(update.value.type()), nullptr);
    }
    return changed_;
  }

 private:
  void assign(Node* node) {
    if (is_state(*node)) {
      set_layout(node, 0, target_.state_layout(node->result_types()[0]));
      return;
    }
    if (prepared_.contains(node)) return;  // weights are computed row-major, then reordered
    if (node->is("reorder") || node->operand_count() == 0) return;
    switch (node->op().layout) {
      case LayoutRole::compute:
        return assign_compute(node);
      case LayoutRole::follow:
        return assign_follow(node);
      case LayoutRole::axis_aware:
        return assign_axis_aware(node);
      case LayoutRole::plain:
        return assign_plain(node);
    }
  }

  void assign_compute(Node* node) {
    const LayoutChoice choice = target_.choose_layouts(*node);
    for (int i = 0; i < node->operand_count(); ++i) {
      read_as(node, i, choice.operands.at(static_cast<std::size_t>(i)));
    }
    for (int i = 0; i < node->result_count(); ++i) {
      set_layout(node, i, choice.results.at(static_cast<std::size_t>(i)));
    }
  }

  /// That of most of the operands that have the result's shape, as it saves most reorders. In a tie
  /// one that is not row-major leads, as convolutions read it.
  Layout leading_layout(Node* node) const {
    const Type& result = node->result_types()[0];
    std::map<Layout, int> votes;
    Layout fallback;
    for (const Value& value : node->operands()) {
      if (prepared_.contains(value)) continue;
      if (value.shape() == result.shape) ++votes[value.type().layout];
      if (value.type().rank() == result.rank() && fallback.empty()) fallback = value.type().layout;
    }
    if (votes.empty()) return is_blocked(fallback) ? Layout{} : beside(node->result(), fallback);
    const auto most =
        std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) {
          return std::pair(a.second, !a.first.empty()) < std::pair(b.second, !b.first.empty());
        });
    return most->first;
  }

  /// The layout, not row-major, of a value of the same shape that a follower reads beside `value`;
  /// without one, `otherwise`. Values whose node comes later are still row-major.
  Layout beside(const Value& value, const Layout& otherwise) const {
    for (const Use& use : value.node->uses(value.index)) {
      if (use.node->op().layout != LayoutRole::follow) continue;
      for (const Value& other : use.node->operands()) {
        const Layout& layout = other.type().layout;
        if (other.shape() == value.shape() && !layout.empty() && !is_blocked(layout)) return layout;
      }
    }
    return otherwise;
  }

  void assign_follow(Node* node) {
    const Layout layout = leading_layout(node);
    const Type& result = node->result_types()[0];
    for (int i = 0; i < node->operand_count(); ++i) {
      const Type& type = node->operand(i).type();
      if (type.shape == result.shape) {
        read_as(node, i, layout);
      } else if (is_blocked(type.layout)) {
        read_as(node, i, Layout{});
      }
    }
    // So do further results of that shape.
    for (int i = 0; i < node->result_count(); ++i) {
      if (node->result_types()[static_cast<std::size_t>(i)].shape == result.shape) {
        set_layout(node, i, layout);
      }
    }
  }

  void assign_axis_aware(Node* node) {
    Layout layout;
    for (const Value& value : node->operands()) {
      if (!prepared_.contains(value)) {
        layout = value.type().layout;
        break;
      }
    }
    if (is_blocked(layout)) layout.clear();
    for (int i = 0; i < node->operand_count(); ++i) read_as(node, i, layout);
    const bool same_rank = node->result_types()[0].rank() == node->operand(0).type().rank();
    set_layout(node, 0, same_rank ? layout : Layout{});
  }

  /// Whether the reader takes the value in a layout that is not row-major.
  bool takes(const Use& use, const Layout& layout) const {
    const Node& reader = *use.node;
    if (reader.is("transpose") || reader.is("reshape")) return true;
    switch (reader.op().layout) {
      case LayoutRole::compute:
        return target_.choose_layouts(reader).operands.at(static_cast<std::size_t>(use.operand)) ==
               layout;
      case LayoutRole::follow:
        return reader.result_types()[0].rank() == static_cast<std::int64_t>(layout.size());
      case LayoutRole::axis_aware:
        return true;
      case LayoutRole::plain:
        return false;
    }
    return false;
  }

  /// Bytes that need not move do not, where all readers of the result take them as they lie.
  void assign_reshape(Node* node) {
    const Type& result = node->result_types()[0];
    const std::optional<Layout> layout = reshaped_layout(node->operand(0).type(), result.shape);
    const std::vector<Use>& uses = node->uses();
    const bool stays =
        layout && !layout->empty() && !graph_.is_output(node->result()) &&
        std::ranges::all_of(uses, [&](const Use& use) { return takes(use, *layout); });
    if (!stays) read_as(node, 0, Layout{});
    set_layout(node, 0, stays ? *layout : Layout{});
  }

  void assign_plain(Node* node) {
    if (node->is("reshape")) return assign_reshape(node);
    for (int i = 0; i < node->operand_count(); ++i) {
      const bool any = node->is("transpose") && !is_blocked(node->operand(i).type().layout);
      if (!any) read_as(node, i, Layout{});
    }
    set_layout(node, 0, Layout{});
  }

  void set_layout(Node* node, int index, const Layout& layout) {
    Type type = node->result_types()[static_cast<std::size_t>(index)];
    if (type.layout == layout) return;
    type.layout = layout;
    node->set_result_type(index, type);
    changed_ = true;
  }

  void read_as(Node* node, int operand, const Layout& layout) {
    const Value value = node->operand(operand);
    node->set_operand(operand, as(value, layout, node));
  }

  /// The value in this layout; a reorder before `reader` (null: at the end) when it has another.
  Value as(Value value, const Layout& layout, Node* reader) {
    if (value.type().layout == layout) return value;
    Value& made = reordered_[{value, layout}];
    if (!made) {
      Builder build(graph_, reader, value.node->provenance());
      made = build("reorder", {value}, {{"layout", layout}});
      if (prepared_.contains(value)) prepared_.insert(made.node);
      changed_ = true;
    }
    return made;
  }

  Graph& graph_;
  const Target& target_;
  PreparedSet prepared_;
  std::map<std::pair<Value, Layout>, Value> reordered_;
  bool changed_ = false;
};

}  // namespace

bool assign_layouts(Graph& graph, PassContext& context) {
  if (context.target == nullptr) return false;
  return LayoutAssignment(graph, *context.target).run();
}

}  // namespace facet
