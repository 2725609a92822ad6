#include <map>

#include "ir/epilogue.h"
#include "ir/op.h"
#include "passes/pass.h"
#include "passes/prepared.h"

// lower-to-bf16: convolutions and matrix products read bf16 and accumulate in f32; activations are
// stored in bf16; biases, slopes and other per-channel parameters stay f32; graph outputs are f32.
//
//   before   %2 = conv(%x, %w, %b) : f32        return y = %2
//   after    %2 = conv(cast(%x), cast(%w), %b) : bf16   return y = cast(%2) : f32
//
// Casts of weights are prepared values: they run once, when weights are bound. Ops of policy
// `follow` compute in f32 inside and round once at their result.

namespace facet {
namespace {

class Bf16Lowering {
 public:
  explicit Bf16Lowering(Graph& graph) : graph_(graph), prepared_(graph) {}

  bool run() {
    for (Node* node : graph_.node_list()) lower(node);
    if (!changed_) return false;
    graph_.infer_types();
    for (Output& output : graph_.outputs()) {
      if (output.value.dtype() != DType::bf16) continue;
      Builder build(graph_, nullptr, output.value.node->provenance());
      output.value = build("cast", {output.value}, {{"dtype", std::string("f32")}});
    }
    return true;
  }

 private:
  void lower(Node* node) {
    if (node->is("input") && node->result_types()[0].dtype == DType::f32) return lower_input(node);
    if (node->op().precision != PrecisionPolicy::low || prepared_.contains(node)) return;
    for (int i = 0; i < kEpilogueStart; ++i) {
      const Value value = node->operand(i);
      if (prepared_.contains(value) && value.dtype() == DType::f32) node->set_operand(i, cast(value, node));
    }
    changed_ = true;
  }

  /// Every activation descends from an input, so casting inputs makes all of them bf16.
  void lower_input(Node* input) {
    const Value value = input->result();
    if (value.node->all_uses().empty()) return;
    const std::vector<Use> readers = input->uses(0);
    const auto& nodes = graph_.nodes();
    Node* second = nullptr;  // directly behind the input
    for (auto it = nodes.begin(); it != nodes.end(); ++it) {
      if (it->get() == input && std::next(it) != nodes.end()) second = std::next(it)->get();
    }
    Builder build(graph_, second, input->provenance());
    const Value low = build("cast", {value}, {{"dtype", std::string("bf16")}});
    for (const Use& use : readers) use.node->set_operand(use.operand, low);
    changed_ = true;
  }

  Value cast(Value value, Node* before) {
    Value& made = casts_[value];
    if (!made) {
      Builder build(graph_, before, value.node->provenance());
      made = build("cast", {value}, {{"dtype", std::string("bf16")}});
    }
    return made;
  }

  Graph& graph_;
  PreparedSet prepared_;
  std::map<Value, Value> casts_;
  bool changed_ = false;
};

}  // namespace

bool lower_to_bf16(Graph& graph, PassContext&) { return Bf16Lowering(graph).run(); }

}  // namespace facet
